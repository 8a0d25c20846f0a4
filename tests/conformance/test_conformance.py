"""Every recorded Erlang/OTP scenario, run on this package's supervisors and compared with what OTP did."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .adapter import run_scenario

CORPUS = Path(__file__).parent / "corpus"
SCENARIOS = sorted((CORPUS / "scenarios").glob("*.json"))
KNOWN = 306
"""Scenarios that were recorded; fewer means that some got lost on the way, not that all is well."""


def load_checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_check", CORPUS / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load_checker()


def test_no_scenario_is_missing() -> None:
    assert len(SCENARIOS) >= KNOWN
    assert {path.name for path in (CORPUS / "traces").glob("*.json")} == {path.name for path in SCENARIOS}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_does_what_otp_did(path: Path, tmp_path: Path) -> None:
    (tmp_path / path.name).write_text(json.dumps(run_scenario(json.loads(path.read_text()))))
    checker.compare(path, CORPUS / "traces", tmp_path, verbose=True)


def test_a_different_trace_is_noticed(tmp_path: Path) -> None:
    """The comparison can fail: an adapter that swallows the last event does not pass."""
    path = SCENARIOS[0]
    result = run_scenario(json.loads(path.read_text()))
    result["trace"][0]["events"].pop()
    (tmp_path / path.name).write_text(json.dumps(result))
    with pytest.raises(checker.Difference):
        checker.compare(path, CORPUS / "traces", tmp_path, verbose=False)


def test_as_a_program(tmp_path: Path) -> None:
    """``python -m tests.conformance`` writes a result for each scenario, and ``check.py`` compares them all."""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "tests.conformance", CORPUS / "scenarios", tmp_path], cwd=root, check=True, timeout=300
    )
    done = subprocess.run(
        [sys.executable, CORPUS / "check.py", CORPUS / "scenarios", CORPUS / "traces", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f"{len(SCENARIOS)} passed, 0 failed"
