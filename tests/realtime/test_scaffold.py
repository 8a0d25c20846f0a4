"""``realtime new-module``: what it writes, and what it refuses."""

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from realtime import scaffold
from realtime.cli import main

from .server_process import PATIENCE


def new_module(name, folder):
    return CliRunner().invoke(main, ["new-module", name, "--in", str(folder)])


@pytest.mark.parametrize("name", ["level-meter", "meter"])
def test_the_test_of_what_it_writes_passes(tmp_path, name):
    answer = new_module(name, tmp_path)
    assert answer.exit_code == 0, answer.output
    assert str(tmp_path / name) in answer.output
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path / name,
        env={key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^2 passed in", ran.stdout, re.MULTILINE)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "meter").mkdir()
    answer = new_module("meter", tmp_path)
    assert (answer.exit_code, list((tmp_path / "meter").iterdir())) == (1, [])
    assert "is there already; nothing was written" in answer.output


@pytest.mark.parametrize(
    "name", ["", "Meter", "a b", "1st", "a--b", "a-", "../a", "class", "json", "realtime", "x" * 65]
)
def test_what_is_no_name_of_a_new_package_is_refused(tmp_path, name):
    answer = new_module(name, tmp_path)
    assert answer.exit_code == 2
    assert "name must be" in answer.output
    assert list(tmp_path.iterdir()) == []


def test_its_module_is_offered_under_its_name():
    (pyproject,) = (text for path, text in scaffold.files("level-meter").items() if path.name == "pyproject.toml")
    assert 'level-meter = "level_meter.actors"' in pyproject
