"""The files of the page about access are right, and sign in whom they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from realtime.actors.access import Access
from realtime.actors.credentials import NotAuthenticated
from realtime.policy.access import ANONYMOUS
from realtime.settings import load

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "access"


@pytest.fixture
def access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    folder = shutil.copytree(EXAMPLE, tmp_path / "access", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "admin.token").write_text("correct horse battery staple\n")
    monkeypatch.syspath_prepend(str(folder))
    return Access.from_settings(load(folder / "realtime.toml", {}))


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Authorization": "Bearer v4T8Qm0w3n9yXk5Zr1Jd7A"}, "ann"),
        ({"Authorization": "Bearer Wk3uJ8s0fY2hQp6Rz9Lx4B"}, "reporting"),
        ({"Authorization": "Bearer correct horse battery staple"}, "admin"),
        ({"Cookie": "other=1; session=5f0c2d77"}, "cleo"),
        ({"Cookie": "session=wrong"}, None),
        ({"Cookie": "nonsense"}, None),
        ({}, None),
    ],
)
async def test_who_is_who(access, headers, name):
    assert (await access.identify(headers)).name == name


async def test_who_may_what(access):
    ann = await access.identify({"Authorization": "Bearer v4T8Qm0w3n9yXk5Zr1Jd7A"})
    cleo = await access.identify({"Cookie": "session=5f0c2d77"})
    reporting = await access.identify({"Authorization": "Bearer Wk3uJ8s0fY2hQp6Rz9Lx4B"})
    for principal, allowed in ((ann, True), (cleo, True), (reporting, False), (ANONYMOUS, False)):
        assert access.may(principal, "publish", "room/1") is allowed
        assert access.may(principal, "create_event") is allowed
        assert access.may(principal, "subscribe", "room/1")
        assert not access.may(principal, "operate")
    with pytest.raises(NotAuthenticated):
        await access.identify({"Authorization": "Bearer v4T8Qm0w3n9yXk5Zr1Jd7B"})
