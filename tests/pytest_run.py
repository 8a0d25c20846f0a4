"""Tests that stand elsewhere: those of a plugin, and those that a new module begins with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.realtime.server_process import PATIENCE


def run_tests(folder: Path, python: Path | str = sys.executable) -> str:
    """Run all tests of *folder* with *python*, where a warning is an error; what pytest says once they have passed."""
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout
