import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors import Exit
from supervisors.policy.restart import ends_supervisor, should_restart
from supervisors.spec import AutoShutdown
from tests import strategies

CRASH = Exit("crashed", RuntimeError())

TABLE = {
    "permanent": {"normal": True, "shutdown": True, "killed": True, "crashed": True},
    "transient": {"normal": False, "shutdown": False, "killed": True, "crashed": True},
    "temporary": {"normal": False, "shutdown": False, "killed": False, "crashed": False},
}


@pytest.mark.parametrize("restart", TABLE)
@pytest.mark.parametrize("exit", [Exit("normal"), Exit("shutdown"), Exit("killed"), CRASH], ids=lambda e: e.reason)
def test_restarts_by_type_and_reason(restart: str, exit: Exit) -> None:
    assert should_restart(restart, exit) is TABLE[restart][exit.reason]  # type: ignore[arg-type]


@given(strategies.auto_shutdowns, st.booleans(), st.booleans())
def test_only_a_significant_child_ends_its_supervisor(auto: AutoShutdown, significant: bool, others: bool) -> None:
    ends = ends_supervisor(auto, significant=significant, others_active=others)
    expected = {"never": False, "any_significant": significant, "all_significant": significant and not others}
    assert ends is expected[auto]


@given(strategies.exits)
def test_an_error_comes_with_a_crash_and_only_then(exit: Exit) -> None:
    assert (exit.error is not None) == (exit.reason == "crashed")
    assert exit.failed == (exit.reason in ("crashed", "killed"))
