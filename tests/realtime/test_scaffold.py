"""``realtime new-module``: what it writes, and what it refuses."""

import re

import pytest
from click.testing import CliRunner

from realtime import scaffold
from realtime.cli import main
from tests.pytest_run import run_tests


def new_module(name, folder):
    return CliRunner().invoke(main, ["new-module", name, "--in", str(folder)])


@pytest.mark.parametrize("name", ["level-meter", "meter"])
def test_the_test_of_what_it_writes_passes(tmp_path, name):
    answer = new_module(name, tmp_path)
    assert answer.exit_code == 0, answer.output
    assert str(tmp_path / name) in answer.output
    assert re.search(r"^2 passed in", run_tests(tmp_path / name), re.MULTILINE)


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
