"""When the machine of random trees takes a tree for one that does not come to rest, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from supervisors import INFINITY

from .plans import SupervisorPlan, WorkerPlan
from .test_wild import WildMachine

SLOW = SupervisorPlan(
    "root",
    strategy="one_for_all",
    max_restarts=30,
    max_seconds=1.0,
    children=(
        WorkerPlan("a", way="cleanup", stop=32.0),
        WorkerPlan("b", stop=32.0, shutdown=INFINITY),
        SupervisorPlan("c", max_restarts=0, children=(WorkerPlan("a", start=2.0, stop=32.0, shutdown=INFINITY),)),
        WorkerPlan("d", start=1.0, fails=frozenset(range(2, 12))),
        WorkerPlan("e", start=1.0, fails=frozenset(range(2, 12))),
    ),
)
"""Each of twenty failed starts costs a stop of the others, 96 s, and their start."""


@pytest.fixture
def machine() -> Iterator[WildMachine]:
    machine = WildMachine()
    yield machine
    machine.teardown()


def crash(machine: WildMachine, path: str) -> None:
    assert machine.tree is not None
    machine.stage.run(machine.do, machine.tree.crash, path, RuntimeError("on purpose"))
    machine.pass_time(None)


def test_a_group_that_fails_slowly_again_and_again_is_at_work_until_the_last_failure(machine: WildMachine) -> None:
    machine.plant(SLOW)
    began = machine.stage.clock.current_time()
    crash(machine, "a")
    machine.pass_time(1024.0)
    assert "stopping" in {node.state for node in machine.nodes()}  # for the restart of its group, not for ever
    machine.left_alone_it_comes_to_rest()
    assert {node.state for node in machine.nodes()} == {"running"}
    assert machine.garden.attempts["e"] == 12
    up_since = machine.auditor.seen["e"].up_since
    # Each failed start of d comes after 3 s, each of e after 4 s, as the last one, which does not fail.
    assert up_since == began + 96 + 10 * (3 + 96) + 10 * (4 + 96) + 4
    machine.check()


def test_one_that_is_still_stopping_after_its_time_is_found(
    machine: WildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.plant(SLOW)
    monkeypatch.setattr(machine.auditor, "longest", lambda: 4.0)
    assert machine.tree is not None
    machine.begin(machine.tree.stop_child, "b")
    machine.pass_time(None)
    with pytest.raises(AssertionError, match="state='stopping'"):
        machine.left_alone_it_comes_to_rest()
    monkeypatch.undo()


def test_restarts_without_end_are_found(machine: WildMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.plant(SLOW)
    monkeypatch.setattr(machine.auditor, "planned_failures", lambda: 0)
    crash(machine, "a")
    with pytest.raises(AssertionError, match="without end"):
        machine.left_alone_it_comes_to_rest()
