from __future__ import annotations

import shutil

import pytest

from tests import needs


def test_the_first_that_is_installed_is_given() -> None:
    assert needs.program("no-such-program", "sh", "env", package="dash") == shutil.which("sh")


def test_what_is_missing_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no-such-program .* \(apt-get install a-package\)"):
        needs.program("no-such-program", package="a-package")


def test_and_skips_it_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        needs.program("no-such-program", package="a-package")
