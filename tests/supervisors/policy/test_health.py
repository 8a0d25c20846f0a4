import pytest

from supervisors.policy.health import own_health, with_children
from supervisors.policy.lifecycle import State


@pytest.mark.parametrize("state", ["stopped", "starting", "running", "stopping"])
def test_without_a_failure_a_node_is_ok_in_any_state(state: State) -> None:
    assert own_health(state, recovering=False, stuck=False, error=None) == ("ok", [])


def test_a_child_that_was_given_up_is_failing_and_says_why() -> None:
    health, reasons = own_health("failed", recovering=True, stuck=False, error="ValueError: x")
    assert (health, reasons) == ("failing", ["given up: ValueError: x"])


@pytest.mark.parametrize(
    ("state", "recovering", "stuck", "reason"),
    [
        ("running", True, False, "failed a moment ago: E"),
        ("starting", True, False, "failed a moment ago: E"),
        ("stopping", True, False, "failed a moment ago: E"),
        ("stopped", True, False, "failed and is down: E"),
        ("backing_off", True, False, "waits to be started again: E"),
        ("stopping", False, True, "does not end, although it was cancelled"),
        ("stopping", True, True, "does not end, although it was cancelled"),
    ],
)
def test_trouble_degrades(state: State, recovering: bool, stuck: bool, reason: str) -> None:
    assert own_health(state, recovering=recovering, stuck=stuck, error="E") == ("degraded", [reason])


def test_an_unknown_cause_is_left_out() -> None:
    assert own_health("backing_off", recovering=True, stuck=False, error=None)[1] == ["waits to be started again"]


def test_a_troubled_child_degrades_its_supervisor() -> None:
    assert with_children("ok", [], ["a", "b"]) == ("degraded", ["a is not ok", "b is not ok"])


def test_a_supervisor_that_is_worse_itself_stays_so() -> None:
    assert with_children("failing", ["given up"], ["a"]) == ("failing", ["given up", "a is not ok"])


def test_healthy_children_change_nothing() -> None:
    assert with_children("degraded", ["x"], []) == ("degraded", ["x"])


def test_a_reason_of_its_own_degrades_a_supervisor() -> None:
    assert with_children("ok", ["x"], []) == ("degraded", ["x"])
