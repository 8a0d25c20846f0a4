"""``realtime modules``: what is configured, and from where it comes."""

import sys
from importlib.metadata import EntryPoint

import pytest
from click.testing import CliRunner

from realtime import inventory, sources
from realtime.cli import main

METERED = """
from pathlib import Path

from realtime.actors.declared import periodic
from realtime.actors.tasks import job


@periodic(every=2.0, topic="meter")
async def meter():
    return 7


@job("calibrate")
async def calibrate(progress, *, to: int = 0): ...
"""

SETTINGS = """
[store]
path = ":memory:"

[actors.system]
enabled = false

[actors.meter]
use = "metered_module"

[actors.wrong]
use = "no_such_module"
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    (tmp_path / "metered_module.py").write_text(METERED)
    (tmp_path / "realtime.toml").write_text(SETTINGS)
    point = EntryPoint("dice", "dice_package.dice", sources.ENTRY_POINTS)
    for where in (sources, inventory):
        monkeypatch.setattr(where, "entry_points", lambda group, name=None: [point] if name in (None, "dice") else [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    answer = CliRunner().invoke(main, ["modules", "--config", str(tmp_path / "realtime.toml")])
    sys.modules.pop("metered_module", None)
    assert answer.exit_code == 0, answer.output
    return answer.output.splitlines()


def test_each_module_is_told_with_what_it_brings(lines, tmp_path):
    at = lines.index("meter (enabled)")
    assert lines[at + 1 : at + 7] == [
        "  from     module metered_module",
        f"  file     {tmp_path / 'metered_module.py'}",
        "  hooks    children",
        "  options  interval",
        "  topics   meter",
        "  jobs     calibrate",
    ]
    assert lines[0] == "clock (enabled)"


def test_one_that_is_disabled_is_not_looked_into(lines):
    at = lines.index("system (disabled)")
    assert lines[at + 1] == "  from     module realtime.actors.system"
    assert lines[at + 2] == "meter (enabled)"


def test_one_that_cannot_be_used_says_why_and_keeps_nothing_from_the_others(lines):
    at = lines.index("wrong (enabled)")
    assert lines[at + 2].startswith("  WRONG    [actors.wrong] (module 'no_such_module') cannot be imported")


def test_what_is_installed_and_not_configured_is_told_with_its_section(lines):
    assert lines[-2:] == [
        "installed, but not configured:",
        "  dice: entry point 'dice', module dice_package.dice; [actors.dice] enables it",
    ]
