"""What the events say: enough to draw the tree from nothing, and of each failure what OTP reports."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    BRUTAL_KILL,
    Actor,
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    Exited,
    FailureReport,
    GaveUp,
    Ignore,
    Offender,
    RestartDelayed,
    Restarting,
    StartError,
    StartFailed,
    StateChanged,
    SupervisorError,
    SupervisorSpec,
    open_tree,
)
from supervisors.exits import crashed
from supervisors.testing import Recorder, RunningTree, describe, running, virtual_time
from tests.supervisors.actors import Crash, Lives, one
from tests.supervisors.drawing import Drawing

# ------------------------------------------------------------- drawn from nothing


class Worker(Actor[Any]):
    """Starts as chance has it."""

    def __init__(self, chance: random.Random, moody: bool) -> None:
        self.chance = chance
        self.moody = moody

    async def on_start(self) -> None:
        if not self.moody:
            return
        what = self.chance.random()
        await trio.sleep(self.chance.choice([0, 0, 1]))
        if what < 0.25:
            raise Crash("did not feel like it")
        if what < 0.3:
            raise Ignore

    async def on_stop(self) -> None:
        await trio.sleep(self.chance.choice([0, 0, 2]) if self.moody else 0)


class Garden:
    """Random specs, and random things to do to a tree of them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.moody = False

    def worker(self, id: str) -> ChildSpec:
        restart = self.chance.choice(["permanent", "permanent", "transient", "temporary"])
        backoff = None
        if restart != "temporary" and self.chance.random() < 0.4:
            backoff = Backoff(first=1, maximum=4, max_failures=self.chance.choice([None, 2, 3]))
        return ChildSpec(id, self.make, restart=restart, backoff=backoff, shutdown=self.chance.choice([1, 5]))

    async def make(self, *, task_status: Any, stopping: trio.Event) -> None:
        worker = Worker(self.chance, self.moody)
        await worker.on_start()
        task_status.started()
        await stopping.wait()
        await worker.on_stop()

    def supervisor(self, id: str, depth: int) -> ChildSpec:
        restart = self.chance.choice(["permanent", "transient", "temporary"])
        if depth == 0 or self.chance.random() < 0.3:
            concurrent = self.chance.random() < 0.7
            return ChildSpec(id, DynamicSupervisorSpec(concurrent=concurrent, max_restarts=5), restart=restart)
        return ChildSpec(id, self.spec(depth - 1), restart=restart)

    def spec(self, depth: int) -> SupervisorSpec:
        children = [self.worker(f"w{n}") for n in range(self.chance.randint(1, 3))]
        children += [self.supervisor(f"s{n}", depth) for n in range(self.chance.randint(0, 2))]
        self.chance.shuffle(children)
        strategy: Any = self.chance.choice(["one_for_one", "one_for_all", "rest_for_one"])
        return SupervisorSpec(children, strategy=strategy, max_restarts=self.chance.choice([2, 5]))

    async def operate(self, tree: RunningTree) -> None:
        nodes = list(tree.snapshot().walk())[1:]  # the root can only be stopped
        if not nodes:
            return
        node = self.chance.choice(nodes)
        what = self.chance.choice(["crash", "crash", "kill", "stop", "again", "restart", "add", "add", "delete"])
        parent, _, id = node.path.rpartition("/")
        with trio.move_on_after(3):  # whoever asks may lose patience
            match what:
                case "crash":
                    tree.crash(node.path, Crash("on purpose"))
                case "kill":
                    tree.kill(node.path)
                case "stop":
                    await tree.stop_child(node.path)
                case "again":
                    await tree.start_again(node.path)
                case "restart":
                    await tree.restart_child(node.path)
                case "add":
                    added = f"x{self.chance.randint(0, 4)}"
                    spec = self.worker(added) if self.chance.random() < 0.7 else self.supervisor(added, 1)
                    await tree.start_child(node.path, spec)
                case "delete":
                    await tree.supervisor(parent).delete_child(id)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_drawing_made_of_events_alone_equals_the_snapshot(seed: int) -> None:
    @virtual_time
    async def grow() -> None:
        garden = Garden(seed)
        drawing = Drawing("root")
        spec = SupervisorSpec([garden.supervisor("top", 2), *garden.spec(2).children], max_restarts=1000)
        try:
            async with running(spec, on_event=drawing, random=garden.chance.random) as tree:
                assert drawing.differences(tree.snapshot()) == []
                garden.moody = True
                for _ in range(25):
                    try:
                        await garden.operate(tree)
                    except SupervisorError:
                        pass  # refused, or it failed; either is for the events to tell
                    if garden.chance.random() < 0.7:
                        await wait_all_tasks_blocked()
                        assert drawing.differences(tree.snapshot()) == []
                    await trio.sleep(garden.chance.choice([0, 0, 0.5, 1, 3]))
                await trio.sleep(20)
                assert drawing.differences(tree.snapshot()) == []
        except SupervisorError:
            pass  # the root gave up, as it may
        assert drawing.differences(tree.snapshot()) == []

    grow()


@virtual_time
async def test_a_start_that_fails_tells_of_the_children_that_it_did_not_reach() -> None:
    lives = Lives()
    inner = SupervisorSpec([lives.spec("first"), lives.spec("second")])
    spec = SupervisorSpec([lives.spec("a"), lives.spec("b", fails={1}), ChildSpec("inner", inner), lives.spec("c")])
    recorder = Recorder()
    with pytest.raises(StartError):
        async with open_tree(spec, on_event=recorder):
            raise AssertionError("it did not start")
    told = [(event.path, event.state) for event in recorder.events if isinstance(event, StateChanged)]
    assert told == [(path, "stopped") for path in ("inner", "inner/first", "inner/second", "c")]


@virtual_time
async def test_a_child_that_nobody_will_start_any_more_is_told_as_stopped() -> None:
    lives = Lives()
    waiting = lives.spec("waiting", fails=range(2, 99), backoff=Backoff(first=60, maximum=60))
    lost = lives.spec("lost", backoff=Backoff(max_failures=1))
    async with running(SupervisorSpec([waiting, lost]), random=lambda: 0.5) as tree:
        tree.crash("waiting", Crash())
        tree.crash("lost", Crash())
        await tree.wait_for_state("waiting", "backing_off")
        await tree.wait_for_state("lost", "failed")
        tree.recorder.clear()
        for path in ("waiting", "lost"):
            await tree.stop_child(path)
        tree.assert_story("state_changed waiting", "state_changed lost")


@virtual_time
async def test_a_failed_restart_is_told_as_backing_off_until_its_turn_comes() -> None:
    lives = Lives()
    spec = SupervisorSpec([lives.spec("a", fails={2}), lives.spec("slow", stop=4)])
    async with running(spec) as tree:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop_child, "slow")  # which keeps the supervisor busy
            await wait_all_tasks_blocked()
            tree.crash("a", Crash())
        await tree.wait_for_generation("a", 2)
        told = [event for event in tree.events if isinstance(event, StateChanged)]
        assert [(event.path, event.state, event.generation) for event in told] == [("a", "backing_off", 1)]


# ------------------------------------------------------------------ OTP's reports


def reports(tree: RunningTree, kind: Any) -> list[FailureReport | None]:
    return [event.report for event in tree.events if isinstance(event, kind)]


@virtual_time
async def test_a_crash_is_reported_with_the_four_fields_and_what_comes_next() -> None:
    error = Crash("x")
    spec = Lives().spec("a", restart="transient", shutdown=7)
    async with running(one(ChildSpec("s", one(spec, max_restarts=2)))) as tree:
        await trio.sleep(3)
        await tree.crash_and_wait("s/a", error)
        await tree.wait_for_generation("s/a", 2)
        offender = Offender("s/a", "a", "worker", "transient", 7, significant=False)
        seen = FailureReport("s", "child_terminated", crashed(error), offender, 1, 3, budget_left=2, next_delay=None)
        decided = FailureReport("s", "child_terminated", crashed(error), offender, 1, 3, budget_left=1, next_delay=0)
        assert reports(tree, Exited) == [seen]
        assert reports(tree, Restarting) == [decided]


@virtual_time
async def test_an_attempt_is_a_start_of_the_child_whoever_asked_for_it_and_however_it_is_started_again() -> None:
    async with running(one(Lives().spec("a", backoff=Backoff(first=1, healthy_uptime=5))), random=lambda: 1.0) as tree:
        await tree.restart_child("a")
        for seconds in (9, 0, 9):
            await trio.sleep(seconds)
            await tree.wait_for_state("a", "running")
            await tree.crash_and_wait("a", Crash())
        await tree.wait_for_state("a", "running")
        told = [event for event in tree.events if isinstance(event, Restarting | RestartDelayed)]
        assert [type(event) for event in told] == [Restarting, RestartDelayed, Restarting]
        assert [event.report.attempt for event in told if event.report is not None] == [2, 3, 4]
        assert [event.attempt for event in told if isinstance(event, Restarting)] == [2, 4]


@virtual_time
async def test_a_failed_start_and_its_delay_are_reported() -> None:
    spec = Lives().spec("a", fails={2}, backoff=Backoff(first=8, maximum=8))
    async with running(one(spec), random=lambda: 0.5) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_generation("a", 2)
        [failed] = reports(tree, StartFailed)
        [delayed] = reports(tree, RestartDelayed)
        for told, delay in ((failed, None), (delayed, 4)):
            assert told is not None
            assert (told.supervisor, told.context, told.offender.id) == ("", "start_error", "a")
            assert str(told.reason.error) == "a fails to start"
            assert (told.attempt, told.uptime, told.budget_left, told.next_delay) == (2, None, None, delay)


@virtual_time
async def test_giving_up_reports_the_child_that_failed_once_too_often() -> None:
    with pytest.raises(SupervisorError):
        async with running(SupervisorSpec([Lives().spec("a"), Lives().spec("b")], max_restarts=0)) as tree:
            tree.crash("b", Crash())
            await trio.sleep_forever()
    [told] = reports(tree, GaveUp)
    assert told is not None
    assert (told.supervisor, told.context, told.offender.path, told.budget_left) == ("", "shutdown", "b", 0)
    root = [event.report for event in tree.events if describe(event) == "exited root crashed"]
    assert [(r.supervisor, r.context, r.budget_left) for r in root if r] == [(None, "child_terminated", None)]


@virtual_time
async def test_a_child_given_up_alone_is_its_own_offender() -> None:
    async with running(one(Lives().spec("a", backoff=Backoff(max_failures=1)))) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "failed")
        [told] = reports(tree, GaveUp)
        assert told is not None
        assert (told.supervisor, told.context, told.offender.path) == ("", "shutdown", "a")


@virtual_time
async def test_what_happens_in_a_stop_is_reported_if_it_is_not_as_it_was_asked() -> None:
    async def clean(stopping: trio.Event) -> None:
        await stopping.wait()

    async def failing(stopping: trio.Event) -> None:
        await stopping.wait()
        raise Crash("in cleanup")

    async def slow(stopping: trio.Event) -> None:
        await trio.sleep_forever()

    children = [
        ChildSpec("clean", clean),
        ChildSpec("failing", failing),
        ChildSpec("slow", slow, shutdown=1),
        ChildSpec("brutal", slow, shutdown=BRUTAL_KILL),
    ]
    async with running(SupervisorSpec(children)) as tree:
        pass
    told = [(r.offender.id, r.context, r.reason.reason) for r in reports(tree, Exited) if r]
    assert told == [("slow", "shutdown_error", "killed"), ("failing", "shutdown_error", "crashed")]


@virtual_time
async def test_a_permanent_child_that_returns_is_reported_and_a_temporary_one_is_not() -> None:
    async def brief() -> None:
        await trio.sleep(1)

    spec = SupervisorSpec([ChildSpec("kept", brief), ChildSpec("once", brief, restart="temporary")])
    async with running(spec) as tree:
        await tree.wait_for_generation("kept", 2)
        assert [r.offender.id for r in reports(tree, Exited) if r] == ["kept"]
