"""Random trees to which things happen at any moment, one on top of the other: the rules of the auditor hold.

What is asked for, told and killed overlaps with starts, stops and restarts under way; trees are stopped, cut at a
deadline, killed and cancelled in the middle of it.
"""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from trio.testing import wait_all_tasks_blocked

from supervisors import Node, SupervisorError, Tree, open_tree

from .auditor import Auditor
from .plans import Garden, SupervisorPlan, WorkerPlan, supervisors, workers
from .stage import Stage, run_machine

PICK = st.integers(min_value=0, max_value=1000)
PAUSES = st.sampled_from([None, None, 0, 1, 2, 3, 0.5, 1.0, 1.5, 4.0])
"""What passes after a thing has happened: until all is blocked (None), this many turns, or this many seconds."""


class WildMachine(RuleBasedStateMachine):
    """Makes things happen and lets the auditor look."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.tree: Tree | None = None
        self.up = False

    @initialize(plan=supervisors())
    def plant(self, plan: SupervisorPlan) -> None:
        self.garden = Garden()
        self.auditor = Auditor(plan, self.garden)
        self.asked = self.answered = self.things = 0
        self.errors: list[BaseException] = []
        self.up = True
        self.stage.run(self.open, plan)
        self.look()

    @precondition(lambda self: not self.up)
    @rule(plan=supervisors())
    def plant_again(self, plan: SupervisorPlan) -> None:
        self.plant(plan)

    async def open(self, plan: SupervisorPlan) -> None:
        await self.stage.nursery.start(self.keep, plan)

    async def keep(self, plan: SupervisorPlan, *, task_status: Any) -> None:
        spec = self.garden.supervisor(plan, "")
        self.scope = trio.CancelScope()
        try:
            with self.scope:
                async with open_tree(spec, on_event=self.auditor) as self.tree:
                    task_status.started()
                    await trio.sleep_forever()
        except* SupervisorError:
            pass  # it gave up, as it may
        self.up = False

    def look(self) -> None:
        """All that must be true whenever no task has anything to do."""
        self.stage.run(wait_all_tasks_blocked)
        assert self.tree is not None
        self.auditor.look(self.tree.snapshot())
        self.check()

    def check(self) -> None:
        faults = [*self.auditor.faults, *self.garden.faults, *self.errors]
        assert not faults, faults

    # ------------------------------------------------------------------- things

    def pass_time(self, pause: float | None) -> None:
        self.things += 1
        self.stage.run(self.wait, pause)
        self.check()

    async def wait(self, pause: float | None) -> None:
        if pause is None:
            await wait_all_tasks_blocked()
        elif isinstance(pause, int):
            for _ in range(pause):
                await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(pause)

    def nodes(self) -> list[Node]:
        assert self.tree is not None
        return list(self.tree.snapshot().walk())

    def some(self, pick: int, kind: str | None = None) -> str:
        """The path of any node, up or not, perhaps of a kind."""
        paths = [node.path for node in self.nodes() if kind in (None, node.kind)]
        path = paths[pick % len(paths)] if paths else ""
        note(f"at {path or 'root'}")
        return path

    async def do(self, function: Any, *args: Any) -> None:
        try:
            function(*args)
        except (SupervisorError, trio.WouldBlock):
            pass  # refused, which is an answer

    async def ask(self, function: Any, *args: Any) -> None:
        try:
            await function(*args)
        except SupervisorError:
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            self.answered += 1

    def begin(self, function: Any, *args: Any) -> None:
        """Ask for something and do not wait for the answer."""
        self.asked += 1
        self.stage.run(self.do, self.stage.nursery.start_soon, self.ask, function, *args)

    running = precondition(lambda self: self.up)

    @running
    @rule(pick=PICK, how=st.sampled_from(["crash", "crash", "return", "shutdown"]), pause=PAUSES)
    def a_worker_ends(self, pick: int, how: str, pause: float | None) -> None:
        path = self.some(pick, "worker")
        if path in self.garden.tell:
            self.stage.run(self.do, self.garden.tell[path], how)
        self.pass_time(pause)

    @running
    @rule(pick=PICK, pause=PAUSES)
    def kill(self, pick: int, pause: float | None) -> None:
        assert self.tree is not None
        self.stage.run(self.do, self.tree.kill, self.some(pick))
        self.pass_time(pause)

    @running
    @rule(pick=PICK, pause=PAUSES)
    def crash(self, pick: int, pause: float | None) -> None:
        assert self.tree is not None
        path = self.some(pick)
        if path:
            self.stage.run(self.do, self.tree.crash, path, RuntimeError("on purpose"))
        self.pass_time(pause)

    @running
    @rule(
        pick=PICK,
        pause=PAUSES,
        method=st.sampled_from(
            [
                *("stop_child", "restart_child", "start_again"),
                *("stop_child_soon", "restart_child_soon", "start_again_soon"),
            ]
        ),
    )
    def operate(self, pick: int, method: str, pause: float | None) -> None:
        assert self.tree is not None
        begin = self.begin if not method.endswith("_soon") else lambda *args: self.stage.run(self.do, *args)
        begin(getattr(self.tree, method), self.some(pick))
        self.pass_time(pause)

    @running
    @rule(pick=PICK, pause=PAUSES)
    def reload(self, pick: int, pause: float | None) -> None:
        assert self.tree is not None
        paths = [n.path for n in self.nodes() if getattr(self.auditor.plans[n.path], "named", False)]
        if paths:
            self.begin(self.tree.reload_child, paths[pick % len(paths)])
        self.pass_time(pause)

    @running
    @rule(
        pick=PICK,
        id=st.sampled_from(["a", "b", "c", "x", "y"]),
        pause=PAUSES,
        method=st.sampled_from(["terminate_child", "restart_child", "delete_child"]),
    )
    def administer(self, pick: int, id: str, method: str, pause: float | None) -> None:
        assert self.tree is not None
        supervisor = self.tree.supervisor(self.some(pick, "supervisor"))

        async def request() -> None:
            await getattr(supervisor, method)(id)

        self.begin(request)
        self.pass_time(pause)

    @running
    @rule(pick=PICK, data=st.data(), id=st.sampled_from(["x", "y", "z"]), nowait=st.booleans(), pause=PAUSES)
    def start_child(self, pick: int, data: st.DataObject, id: str, nowait: bool, pause: float | None) -> None:
        assert self.tree is not None
        above = self.some(pick, "supervisor")
        path = f"{above}/{id}" if above else id
        if path not in self.auditor.plans:  # what once is planned for a path stays so, that the auditor may know
            self.auditor.learn(data.draw(workers(id, first_fails=True)), path)
        plan = self.auditor.plans[path]
        assert isinstance(plan, WorkerPlan)
        supervisor, spec = self.tree.supervisor(above), self.garden.child(plan, above)

        async def request() -> None:
            await supervisor.start_child(spec)

        if nowait:
            self.stage.run(self.do, supervisor.start_child_nowait, spec)
        else:
            self.begin(request)
        self.pass_time(pause)

    @running
    @rule(pick=PICK, pause=PAUSES, seconds=st.sampled_from([0.0, 0.5, 1.0]))
    def ask_impatiently(self, pick: int, pause: float | None, seconds: float) -> None:
        """The caller is cancelled while its command waits or is performed."""
        assert self.tree is not None
        tree, path = self.tree, self.some(pick)

        async def request() -> None:
            with trio.move_on_after(seconds):
                await tree.restart_child(path)

        self.begin(request)
        self.pass_time(pause)

    @running
    @rule()
    def look_now(self) -> None:
        self.look()

    @running
    @rule(seconds=st.sampled_from([1.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.look()

    @running
    @rule()
    def left_alone_it_comes_to_rest(self) -> None:
        """No start, stop or delay lasts for ever, every command is answered, and restarts come to an end.

        How long that takes is the plan's affair: a group stops and starts anew for each attempt that is to fail, and
        can be busy with that for an hour.
        """
        patience = self.auditor.longest()
        for _ in range(self.auditor.planned_failures() + self.things + 2):
            begun = self.garden.attempts.total()
            self.pass_time(patience)
            if self.garden.attempts.total() == begun:
                break
        else:
            raise AssertionError("it starts children without end")
        self.look()
        for node in self.nodes():
            assert node.state in ("running", "stopped", "failed"), node
            assert node.health != "degraded" or self.troubled_below(node), node
        assert self.asked == self.answered

    def troubled_below(self, node: Node) -> bool:
        """Trouble that does not pass by itself.

        A child was given up; a supervisor waits in vain for the end of a significant child; or a child that failed is
        down, since its group was waiting for another one, which was then stopped by hand.
        """
        for supervisor in node.walk():
            grouped = supervisor.strategy in ("one_for_all", "rest_for_one") and supervisor.uptime is not None
            if supervisor.health == "failing" or any(r.startswith("cannot shut") for r in supervisor.reasons):
                return True
            if grouped and any(r.startswith("failed and is") for c in supervisor.children or () for r in c.reasons):
                return True
        return node.state == "stopped" and node.reasons[0].startswith("failed and is down")

    @running
    @rule(
        how=st.sampled_from(["stop", "deadline", "cancel", "kill", "stop and cancel"]),
        seconds=st.sampled_from([0.0, 2.0]),
    )
    def the_end(self, how: str, seconds: float) -> None:
        """However it ends, nothing is left, in good time, and all who asked are answered."""
        self.stage.run(self.end, how, seconds)
        assert not self.up
        self.look()
        assert self.garden.alive() == set()
        assert {node.state for node in self.nodes()} <= {"stopped", "failed"}
        assert self.asked == self.answered

    async def end(self, how: str, seconds: float) -> None:
        assert self.tree is not None
        tree, began = self.tree, trio.current_time()
        with trio.fail_after(self.auditor.longest() * (1 + self.things)):  # what was asked for before goes first
            if how == "kill":
                await self.do(tree.kill, "")
            elif how == "cancel":
                self.scope.cancel()
            elif how == "deadline":
                await tree.stop(deadline=began + seconds)
            else:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(tree.stop)
                    if how == "stop and cancel":
                        await trio.sleep(seconds)
                        self.scope.cancel()
            await tree.wait_stopped()
        if how in ("deadline", "cancel"):
            assert trio.current_time() - began <= seconds + 32.0  # the longest cleanup that nothing can cut
        await wait_all_tasks_blocked()

    def teardown(self) -> None:
        try:
            if self.up:
                self.the_end("stop", 0.0)
        finally:
            self.stage.close()


def test_a_machine_of_many_steps() -> None:
    run_machine(WildMachine)
