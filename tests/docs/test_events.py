"""What the page about events shows: the example prints it, the settings are taken, the signature is accepted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from realtime.policy.signatures import Scheme, verify
from realtime.settings import load
from realtime.tree import build

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "events.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_prints_what_the_page_shows_and_goes_on_from_there(tmp_path: Path) -> None:
    def run() -> str:
        return subprocess.run(
            [sys.executable, ROOT / "docs" / "examples" / "events_alone.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout

    (shown,) = blocks("text")
    assert run() == shown
    # The second life finds the offsets where the first has left them.
    assert run() == re.sub(r"^\d", lambda match: str(int(match[0]) + 3), shown, flags=re.MULTILINE)


def test_the_settings_are_taken(tmp_path: Path) -> None:
    (tmp_path / "forge.secret").write_text("a secret of the tests")
    path = tmp_path / "realtime.toml"
    path.write_text("\n".join(blocks("toml")))
    system = build(load(path, {}))
    assert {"event_log", "event_text", "hook"} <= {child.id for child in system.actors}
    assert system.backend.webhooks.get("forge") is not None


@pytest.mark.parametrize("body", ['{"ref":"main"}'])
def test_the_signature_of_the_shell_is_accepted(tmp_path: Path, body: str) -> None:
    (tmp_path / "forge.secret").write_text("a secret of the tests\n")
    (shell,) = blocks("console")
    command = re.search(r"\$\((printf .*)\)\"$", shell, re.MULTILINE)
    assert command is not None
    signed = subprocess.run(
        ["bash", "-c", command[1]],
        cwd=tmp_path,
        env={**os.environ, "body": body},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.strip()
    headers = {Scheme().header: f"sha256={signed}"}
    assert verify(Scheme(), [b"a secret of the tests"], headers, body.encode(), 0) is None


def test_the_page_names_the_figures_of_the_code() -> None:
    from realtime.actors import webhook
    from realtime.policy.attempts import Patience
    from realtime.storage import database, deliveries, threads

    patience = Patience()
    for figure in (
        f"{database.MAX_LOOKED_AT:,}".replace(",", " "),
        f"`timeout` ({webhook.TIMEOUT:g} s)",
        f"`attempts` ({patience.attempts})",
        f"`retry_maximum` ({patience.maximum:g} s)",
        f"{deliveries.MAX_LETTERS:,}".replace(",", " "),
        f"{threads.MAX_FROM_THREADS} events",
    ):
        assert figure in PAGE
