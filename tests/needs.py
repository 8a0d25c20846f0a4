"""What tests need of the machine: where it is missing they are skipped with the reason, in CI they fail."""

from __future__ import annotations

import os
import shutil

import pytest


def program(*names: str, package: str) -> str:
    """The path of the first of *names* that is installed; *package* is Debian's that brings it.

    Where there is none the test, or every test of the fixture that asks, ends here: failed if the environment
    variable CI is set, else skipped.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    reason = f"there is no {names[0]} on this machine (apt-get install {package})"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
