"""Random trees, left alone until they are quiet after each thing that happens to them: all is as the model says.

What happened, in which order and at what exact time, what the answer was, and what the tree looks like afterwards.
"""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.testing import wait_all_tasks_blocked

from supervisors import Event, Exited, Node, Started, SupervisorError, Tree, open_tree
from supervisors.testing import assert_no_tasks_left

from .model import Model, Record
from .plans import Garden, SupervisorPlan, WorkerPlan, supervisors, workers
from .stage import Stage, run_machine

PICK = st.integers(min_value=0, max_value=1000)
IDS = st.sampled_from(["a", "b", "c", "x", "y"])


class ExactMachine(RuleBasedStateMachine):
    """Does everything twice, to a real tree and to the model, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.tree: Tree | None = None

    @initialize(plan=supervisors())
    def plant(self, plan: SupervisorPlan) -> None:
        self.garden = Garden()
        self.happened: list[tuple[str, str, int, float]] = []
        self.model = Model(plan, self.stage.run(self.time))
        assert self.model.started
        self.stage.run(self.open, plan)
        self.settle()

    async def time(self) -> float:
        return trio.current_time()

    async def open(self, plan: SupervisorPlan) -> None:
        await self.stage.nursery.start(self.keep, plan)

    async def keep(self, plan: SupervisorPlan, *, task_status: Any) -> None:
        spec = self.garden.supervisor(plan, "")
        with assert_no_tasks_left():
            try:
                async with open_tree(spec, on_event=self.hook, random=lambda: 0.5) as self.tree:
                    task_status.started()
                    await trio.sleep_forever()
            except* SupervisorError:
                pass  # it gave up; the model knows whether it had to

    def hook(self, event: Event) -> None:
        if isinstance(event, Started | Exited):
            kind = "started" if isinstance(event, Started) else "exited"
            self.happened.append((kind, event.path, event.generation, event.at))

    # ------------------------------------------------------------------ compare

    def settle(self, *, ordered: bool = True) -> None:
        """Wait until the model says that it is quiet, and compare."""
        self.stage.run(self.wait_for_the_model)
        expected, self.model.events = self.model.events, []
        happened, self.happened = self.happened, []
        if not ordered:
            expected, happened = sorted(expected, key=when), sorted(happened, key=when)
        assert happened == expected
        assert self.tree is not None
        assert picture(self.tree.snapshot()) == expected_picture(self.model.root)
        up = {r.path for r in self.model.root.walk() if r.up and isinstance(r.plan, WorkerPlan)}
        assert self.garden.alive() == up
        assert self.garden.faults == []

    async def wait_for_the_model(self) -> None:
        await trio.sleep_until(self.model.now)
        await wait_all_tasks_blocked()

    def ask(self, method: str, *args: Any, on: str | None = None) -> str:
        """The outcome of a method of the tree, or of its supervisor at *on*, in one word."""
        return self.stage.run(self.perform, method, args, on)  # type: ignore[no-any-return]

    async def perform(self, method: str, args: Any, on: str | None) -> str:
        assert self.tree is not None
        try:
            await getattr(self.tree if on is None else self.tree.supervisor(on), method)(*args)
        except SupervisorError as error:
            return type(error).__name__
        return "ok"

    async def do(self, function: Any, *args: Any) -> None:
        function(*args)

    # -------------------------------------------------------------------- rules

    def records(self, kind: type | None = None, *, up: bool = True) -> list[Record]:
        return [r for r in self.model.root.walk() if (not up or r.up) and (kind is None or isinstance(r.plan, kind))]

    def alive(self) -> bool:
        return self.model.root.up

    def some(self, pick: int, kind: type | None = None, *, up: bool = True) -> Record | None:
        candidates = self.records(kind, up=up)
        chosen = candidates[pick % len(candidates)] if candidates else None
        note(f"at {'nothing' if chosen is None else chosen.path or 'root'}")
        return chosen

    @precondition(lambda self: not self.alive())
    @rule(plan=supervisors())
    def plant_again(self, plan: SupervisorPlan) -> None:
        self.plant(plan)

    @precondition(alive)
    @rule(pick=PICK, how=st.sampled_from(["crash", "crash", "crash", "return", "shutdown"]))
    def a_worker_ends(self, pick: int, how: str) -> None:
        if (record := self.some(pick, WorkerPlan)) is not None:
            self.stage.run(self.do, self.garden.tell[record.path], how)
            actor = isinstance(record.plan, WorkerPlan) and record.plan.way == "actor"
            self.model.exit(record, "shutdown" if actor and how == "return" else how)
            self.settle(ordered=self.is_plain(record))

    @precondition(alive)
    @rule(pick=PICK)
    def kill(self, pick: int) -> None:
        if (record := self.some(pick)) is not None:
            assert self.tree is not None
            self.stage.run(self.do, self.tree.kill, record.path)
            self.model.kill(record)
            self.settle(ordered=False)

    @precondition(alive)
    @rule(pick=PICK)
    def crash(self, pick: int) -> None:
        if (record := self.some(pick)) is not None and record.path:
            assert self.tree is not None
            self.stage.run(self.do, self.tree.crash, record.path, RuntimeError("on purpose"))
            self.model.crash(record)
            self.settle(ordered=False)

    @precondition(alive)
    @rule(pick=PICK, id=IDS, method=st.sampled_from(["terminate_child", "restart_child", "delete_child"]))
    def administer(self, pick: int, id: str, method: str) -> None:
        if (record := self.some(pick, SupervisorPlan)) is not None:
            answer = self.ask(method, id, on=record.path)
            assert answer == getattr(self.model, method)(record, id)
            self.settle(ordered=False)

    @precondition(alive)
    @rule(pick=PICK, data=st.data(), id=IDS)
    def start_child(self, pick: int, data: st.DataObject, id: str) -> None:
        if (record := self.some(pick, SupervisorPlan)) is not None:
            plan = data.draw(workers(id, first_fails=True))
            answer = self.ask("start_child", self.garden.child(plan, record.path), on=record.path)
            assert answer == self.model.start_child(record, plan)
            self.settle()

    @precondition(alive)
    @rule(pick=PICK)
    def restart_by_hand(self, pick: int) -> None:
        record = self.some(pick, up=False)
        if record is not None and record.parent is not None and record.parent.up:
            answer = self.ask("restart_child", record.path)
            assert answer == self.model.stop_and_start(record.parent, record.plan.id)
            self.settle(ordered=False)

    @precondition(alive)
    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 8.0, 64.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.now += seconds
        self.settle()

    @precondition(alive)
    @rule()
    def stop(self) -> None:
        assert self.ask("stop") == "ok"
        self.model.stop(self.model.root)
        self.settle(ordered=False)

    def is_plain(self, record: Record) -> bool:
        """Whether all that follows is in one order: nothing dynamic above or beside it stops its children at once."""
        return not any(isinstance(r.plan, SupervisorPlan) and r.plan.dynamic for r in self.model.root.walk())

    @invariant()
    def the_clock_agrees(self) -> None:
        if self.tree is not None:
            assert self.stage.run(self.time) == self.model.now

    def teardown(self) -> None:
        try:
            if self.tree is not None and self.model.root.up:
                self.stop()
        finally:
            self.stage.close()


def when(event: tuple[str, str, int, float]) -> tuple[float, str, str, int]:
    kind, path, generation, at = event
    return at, path, kind, generation


def picture(node: Node) -> Any:
    """What of a snapshot the model knows, supervisors that are down without what was below."""
    below = None if node.kind == "worker" or node.state != "running" else [picture(n) for n in node.children or ()]
    return node.id, node.state, node.generation, below


def expected_picture(record: Record) -> Any:
    below = None
    if isinstance(record.plan, SupervisorPlan) and record.up:
        below = [expected_picture(child) for child in record.children]
    return record.plan.id, record.state, record.generation, below


def test_a_machine_of_many_steps() -> None:
    run_machine(ExactMachine)
