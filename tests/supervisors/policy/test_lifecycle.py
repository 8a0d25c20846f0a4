from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from supervisors import IllegalTransition
from supervisors.policy.lifecycle import TRANSITIONS, LifecycleEvent, State, advance

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[LifecycleEvent, ...] = get_args(LifecycleEvent)


def test_the_table_knows_only_states_and_events_that_exist() -> None:
    for (state, event), then in TRANSITIONS.items():
        assert state in STATES
        assert event in EVENTS
        assert then in STATES


@given(st.sampled_from(STATES), st.sampled_from(EVENTS))
def test_what_the_table_does_not_allow_is_refused(state: State, event: LifecycleEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert advance(state, event) == TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=rf"that is {state} cannot take the event '{event}'"):
            advance(state, event)


def test_every_state_is_reached_from_the_first_and_leads_back_to_it() -> None:
    def reachable(begin: State) -> set[State]:
        seen: set[State] = {begin}
        while more := {then for (state, _), then in TRANSITIONS.items() if state in seen} - seen:
            seen |= more
        return seen

    assert reachable("stopped") == set(STATES)
    for state in STATES:
        assert "stopped" in reachable(state)


def test_a_stop_is_allowed_in_every_state() -> None:
    """Whoever stops a supervisor must not have to know what each child is doing."""
    for state in STATES:
        assert advance(state, "stop") in ("stopped", "stopping")


class ChildMachine(RuleBasedStateMachine):
    """A child as its supervisor drives it, with whether a task of it exists as the independent model."""

    def __init__(self) -> None:
        super().__init__()
        self.state: State = "stopped"
        self.task = False
        self.asked = False

    def take(self, event: LifecycleEvent) -> None:
        self.state = advance(self.state, event)
        assert (self.state in ("starting", "running", "stopping")) == self.task
        assert (self.state == "stopping") == (self.task and self.asked)

    @precondition(lambda self: not self.task)
    @rule()
    def start(self) -> None:
        self.task, self.asked = True, False
        self.take("start")

    @precondition(lambda self: self.state in ("starting", "stopping"))
    @rule()
    def comes_up(self) -> None:
        self.take("started")

    @precondition(lambda self: self.task)
    @rule()
    def ends(self) -> None:
        self.task = False
        self.take("ended")

    @rule()
    def stop(self) -> None:
        self.asked = self.task
        self.take("stop")

    @precondition(lambda self: self.state == "stopped")
    @rule(event=st.sampled_from(["delay", "give_up"]))
    def set_aside(self, event: LifecycleEvent) -> None:
        self.take(event)


TestChildMachine = ChildMachine.TestCase
