"""Dynamic supervisors: children that come and go, concurrently; and OTP's way, one at a time."""

from __future__ import annotations

import contextvars
import gc
import math
import weakref
from typing import Any, Literal

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from supervisors import (
    BRUTAL_KILL,
    Backoff,
    ChildRunning,
    ChildSpec,
    DynamicSupervisorSpec,
    Ignore,
    NoSuchChild,
    Ref,
    RestartIntensityExceeded,
    StartError,
    SupervisorNotRunning,
    SupervisorRef,
    SupervisorSpec,
    TooManyChildren,
    Tree,
    WrongKind,
    open_tree,
)
from supervisors.runtime.dynamic import ASKED_AT_ONCE
from supervisors.testing import RunningTree, assert_no_tasks_left, running, virtual_time
from tests.supervisors.actors import Crash, Echo, Lives

BOTH = pytest.mark.parametrize("concurrent", [True, False], ids=["concurrent", "in turn"])


def ids(tree: RunningTree) -> list[str]:
    return [child.id for child in tree.supervisor().which_children()]


@BOTH
@virtual_time
async def test_children_come_and_go(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        ref = tree.supervisor()
        with assert_checkpoints():
            assert await ref.start_child(lives.spec("a", start=1)) == "a"
        assert await ref.start_child(lives.spec("b")) == "b"
        assert ids(tree) == ["a", "b"]
        await ref.terminate_child("a")
        assert ids(tree) == ["b"]
        assert await ref.start_child(lives.spec("a")) == "a"
        tree.assert_story(
            *("started root", "started a", "started b", "exited a shutdown", "removed a", "started a"),
        )


@BOTH
@virtual_time
async def test_what_ends_is_forgotten_whatever_its_type(concurrent: bool) -> None:
    async def live() -> None:
        await trio.sleep(1)

    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        for restart in ("transient", "temporary"):
            await tree.start_child("", ChildSpec(restart, live, restart=restart))  # type: ignore[arg-type]
        await trio.sleep(2)
        assert ids(tree) == []


@BOTH
@virtual_time
async def test_what_crashes_is_restarted_by_its_type(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        for restart in ("permanent", "transient", "temporary"):
            await tree.start_child("", lives.spec(restart, restart=restart))
            tree.crash(restart, Crash())
        await wait_all_tasks_blocked()
        assert ids(tree) == ["permanent", "transient"]
        assert [node.generation for node in tree.snapshot().children or ()] == [2, 2]


@BOTH
@virtual_time
async def test_restarts_count_against_the_budget(concurrent: bool) -> None:
    lives = Lives()
    with assert_no_tasks_left(), pytest.raises(RestartIntensityExceeded, match=r"children .* failed 3 times"):
        async with open_tree(DynamicSupervisorSpec(max_restarts=2, concurrent=concurrent)) as tree:
            for id in "abc":
                await tree.start_child("", lives.spec(id))
            for id in "abc":
                tree.crash(id, Crash())
            await trio.sleep_forever()


@BOTH
@virtual_time
async def test_a_failed_start_leaves_nothing_and_raises_with_its_cause(concurrent: bool) -> None:
    async with running(DynamicSupervisorSpec(concurrent=concurrent, max_restarts=0)) as tree:
        for restart in ("permanent", "temporary"):
            with pytest.raises(StartError, match="a fails to start") as caught:
                await tree.start_child("", Lives().spec("a", fails={1}, restart=restart))
            assert isinstance(caught.value.__cause__, Crash)
            assert ids(tree) == []


@BOTH
@virtual_time
async def test_a_start_that_takes_too_long_fails_at_its_deadline(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        with pytest.raises(StartError, match="not up within its start_timeout of 3 s"):
            await tree.start_child("", lives.spec("a", start=60, start_timeout=3))
        assert trio.current_time() - lives.began == 3
        assert ids(tree) == []


@BOTH
@virtual_time
async def test_a_child_that_declines_is_forgotten(concurrent: bool) -> None:
    async def declines(*, task_status: Any) -> None:
        raise Ignore

    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        assert await tree.start_child("", ChildSpec("a", declines)) is None
        assert ids(tree) == []
        tree.assert_story("started root", "ignored a", "removed a")


@BOTH
@virtual_time
async def test_max_children_bounds_how_many_there_are_at_once(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(max_children=2, concurrent=concurrent)) as tree:
        for id in "ab":
            await tree.start_child("", lives.spec(id))
        with pytest.raises(TooManyChildren, match="already has its 2 children"):
            await tree.start_child("", lives.spec("c"))
        await tree.stop_child("a")
        await tree.start_child("", lives.spec("c"))
        assert ids(tree) == ["b", "c"]


@BOTH
@virtual_time
async def test_an_id_that_is_taken_is_refused_and_so_is_what_has_no_meaning(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        ref = tree.supervisor()
        await ref.start_child(lives.spec("a"))
        with pytest.raises(ChildRunning):
            await ref.start_child(lives.spec("a"))
        with pytest.raises(ValueError, match="significant"):
            await ref.start_child(lives.spec("b", significant=True, restart="transient"))
        with pytest.raises(NoSuchChild, match="'x'"):
            await ref.terminate_child("x")
        for operation in (ref.restart_child, ref.delete_child):
            with pytest.raises(WrongKind, match="forgets children that are down"):
                await operation("a")


@BOTH
@virtual_time
async def test_children_stop_together_each_within_its_own_time(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        for id, options in {
            "a": {"stop": 1, "shutdown": 5},
            "b": {"stop": 60, "shutdown": 2},
            "c": {"stop": 4, "shutdown": math.inf},
            "d": {"stop": 60, "shutdown": BRUTAL_KILL},
        }.items():
            await tree.start_child("", lives.spec(id, asked=True, **options))  # type: ignore[arg-type]
        tree.recorder.clear()
        await tree.stop()
        ends = {
            event.path: (event.at - lives.began, event.exit.reason) for event in tree.events if hasattr(event, "exit")
        }
        assert ends == {
            "d": (0, "killed"),
            "a": (1, "normal"),
            "b": (2, "killed"),
            "c": (4, "normal"),
            "": (4, "shutdown"),
        }


@BOTH
@virtual_time
async def test_a_deadline_from_above_caps_them_all(concurrent: bool) -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
        for id in "abc":
            await tree.start_child("", lives.spec(id, asked=True, stop=60, shutdown=60))
        await tree.stop(deadline=lives.began + 2)
        assert lives.of("end") == [2, 2, 2]


@BOTH
@virtual_time
async def test_a_restarted_dynamic_supervisor_begins_empty(concurrent: bool) -> None:
    lives = Lives()
    ref = SupervisorRef()
    pool = ChildSpec("p", DynamicSupervisorSpec(concurrent=concurrent), ref=ref)
    async with running(SupervisorSpec([pool])) as tree:
        await ref.start_child(lives.spec("a"))
        tree.kill("p")
        await tree.wait_for_generation("p", 2)
        assert ref.which_children() == ()
        await ref.start_child(lives.spec("a"))
        assert tree.find("p/a").generation == 1


@BOTH
@virtual_time
async def test_a_significant_child_ends_it(concurrent: bool) -> None:
    async def live(seconds: float) -> None:
        await trio.sleep(seconds)

    began = trio.current_time()
    pool = DynamicSupervisorSpec(auto_shutdown="all_significant", concurrent=concurrent)
    async with running(SupervisorSpec([ChildSpec("p", pool, restart="temporary")])) as tree:
        await tree.start_child("p", Lives().spec("a"))
        for seconds in (1, 3):
            spec = ChildSpec(f"s{seconds}", live, (seconds,), restart="transient", significant=True)
            await tree.start_child("p", spec)
        await tree.wait_until(lambda: "removed p" in tree.story)
        assert trio.current_time() - began == 3
        tree.assert_sequence("exited p/a shutdown", "exited p shutdown")


# ------------------------------------------------------------------- concurrent


@virtual_time
async def test_starts_are_concurrent_and_in_turn_they_are_not() -> None:
    for concurrent, ups in ((True, [3, 3, 3]), (False, [3, 6, 9])):
        lives = Lives()
        async with running(DynamicSupervisorSpec(concurrent=concurrent)) as tree:
            async with trio.open_nursery() as nursery:
                for id in "abc":
                    nursery.start_soon(tree.start_child, "", lives.spec(id, start=3))
            assert lives.of("up") == ups


@virtual_time
async def test_restarts_are_concurrent_too() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        for id in "abc":
            await tree.start_child("", lives.spec(id, start=1))
        for id in "abc":
            tree.crash(id, Crash())
        await trio.sleep(5)
        assert lives.of("up") == [1, 2, 3, 4, 4, 4]


@virtual_time
async def test_stops_are_concurrent_with_everything_else() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        for id in "ab":
            await tree.start_child("", lives.spec(id, asked=True, stop=3))
        async with trio.open_nursery() as nursery:
            for id in "ab":
                nursery.start_soon(tree.stop_child, id)
            nursery.start_soon(tree.start_child, "", lives.spec("c", start=1))
        assert lives.of("up", "c") == [1]
        assert lives.of("end") == [3, 3]


@virtual_time
async def test_start_child_nowait_returns_at_once_and_tells_a_failure_to_the_hook() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(max_children=2)) as tree:
        ref = tree.supervisor()
        ref.start_child_nowait(lives.spec("a", start=1))
        ref.start_child_nowait(lives.spec("b", fails={1}))
        assert ids(tree) == ["a", "b"]
        with pytest.raises(ChildRunning):
            ref.start_child_nowait(lives.spec("a"))
        with pytest.raises(TooManyChildren):
            ref.start_child_nowait(lives.spec("c"))
        await trio.sleep(2)
        assert ids(tree) == ["a"]
        tree.assert_story("started root", "start_failed b", "removed b", "started a")
        await tree.stop()
        with pytest.raises(SupervisorNotRunning):
            ref.start_child_nowait(lives.spec("d"))


@virtual_time
async def test_in_turn_there_is_no_start_without_waiting() -> None:
    async with running(DynamicSupervisorSpec(concurrent=False)) as tree:
        with pytest.raises(WrongKind, match=r"await start_child\(\) instead"):
            tree.supervisor().start_child_nowait(Lives().spec("a"))


@virtual_time
async def test_a_start_whose_caller_is_cancelled_goes_on() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        with trio.move_on_after(1):
            await tree.start_child("", lives.spec("a", start=3))
        assert tree.find("a").state == "starting"
        await tree.wait_for_state("a", "running")


@virtual_time
async def test_a_stop_whose_caller_is_cancelled_goes_on() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        await tree.start_child("", lives.spec("a", asked=True, stop=3))
        with trio.move_on_after(1):
            await tree.stop_child("a")
        await tree.wait_until(lambda: not ids(tree))
        assert trio.current_time() - lives.began == 3
        await tree.start_child("", lives.spec("b", asked=True, stop=60, shutdown=2))
        with trio.CancelScope() as scope:
            scope.cancel()
            await tree.stop_child("b")
        await tree.wait_until(lambda: not ids(tree))
        assert trio.current_time() - lives.began == 3 + 2


@virtual_time
async def test_a_child_being_stopped_can_be_stopped_again_and_keeps_its_time() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        await tree.start_child("", lives.spec("a", asked=True, stop=60, shutdown=5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop_child, "a")
            await trio.sleep(3)
            nursery.start_soon(tree.stop_child, "a")
            tree.stop_child_soon("a")
        assert trio.current_time() - lives.began == 5


@virtual_time
async def test_stopped_while_it_starts_it_never_comes_up() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(StartError, match=r"ended before it was up \(shutdown\)"):
                    await tree.start_child("", lives.spec("a", start=5))

            nursery.start_soon(start)
            await trio.sleep(1)
            await tree.stop_child("a")
        assert trio.current_time() - lives.began == 1
        tree.assert_story("started root", "start_failed a", "removed a")


@virtual_time
async def test_a_start_asked_for_as_the_supervisor_stops_is_refused_or_stopped_with_it() -> None:
    """Whatever the order of the two in the same moment, nothing is left running."""
    for order in ("start first", "stop first"):
        lives = Lives()
        pool = ChildSpec("p", DynamicSupervisorSpec(), restart="transient")
        async with running(SupervisorSpec([pool])) as tree:
            outcome: list[Any] = []

            async def start(tree: RunningTree = tree, lives: Lives = lives, outcome: list[Any] = outcome) -> None:
                try:
                    outcome.append(await tree.start_child("p", lives.spec("a")))
                except (StartError, SupervisorNotRunning) as error:
                    outcome.append(error)

            async with trio.open_nursery() as nursery:
                if order == "start first":
                    nursery.start_soon(start)
                nursery.start_soon(tree.stop_child, "p")
                if order == "stop first":
                    nursery.start_soon(start)
            assert len(outcome) == 1
            assert tree.find("p").state == "stopped"


@virtual_time
async def test_a_child_that_crashes_at_once_does_not_spoil_the_answer_to_its_start() -> None:
    """It came up, crashed and is restarting by the time the caller looks: the start it asked for succeeded."""
    attempts = 0

    async def live(*, task_status: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            await trio.sleep(5)
        task_status.started(f"attempt {attempts}")
        if attempts == 1:
            raise Crash
        await trio.sleep_forever()

    async with running(DynamicSupervisorSpec()) as tree:
        assert await tree.start_child("", ChildSpec("a", live)) == "attempt 1"
        await tree.wait_for_generation("a", 2)


@virtual_time
async def test_an_exit_that_waits_when_the_child_is_stopped_brings_nothing_back() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        for moment in range(4):
            await tree.start_child("", lives.spec("a"))
            tree.crash("a", Crash())
            for _ in range(moment):
                await trio.lowlevel.checkpoint()
            if ids(tree):
                tree.stop_child_soon("a")
            await wait_all_tasks_blocked()
            assert ids(tree) == []


@virtual_time
async def test_failed_restarts_are_tried_again_as_the_budget_allows() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(max_restarts=3)) as tree:
        await tree.start_child("", lives.spec("a", fails={2, 3}))
        tree.crash("a", Crash())
        await tree.wait_for_generation("a", 2)
        assert tree.find("a").restarts == 3
        tree.assert_sequence("exited a crashed", "restarting a", "start_failed a", "restarting a", "start_failed a")


@virtual_time
async def test_a_restart_that_takes_too_long_is_a_failed_one_and_declining_it_ends_the_child() -> None:
    attempts = 0

    async def live(*, task_status: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            await trio.sleep(60)
        if attempts == 3:
            raise Ignore
        task_status.started()
        raise Crash

    async with running(DynamicSupervisorSpec()) as tree:
        await tree.start_child("", ChildSpec("a", live, start_timeout=2))
        began = trio.current_time()
        await tree.wait_until(lambda: not ids(tree))
        assert trio.current_time() - began == 2
        tree.assert_sequence("restarting a", "start_failed a", "restarting a", "ignored a", "removed a")


@virtual_time
async def test_a_backoff_delays_one_child_and_no_other() -> None:
    lives = Lives()
    began = trio.current_time()
    async with running(DynamicSupervisorSpec(max_restarts=0), random=lambda: 0.5) as tree:
        await tree.start_child("", lives.spec("b"))
        spec = lives.spec("a", fails={2, 3}, backoff=Backoff(first=2.0, max_failures=4))
        await tree.start_child("", spec)
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "backing_off")
        assert tree.snapshot().health == "degraded"
        assert tree.snapshot().reasons == ("a is not ok",)
        await tree.wait_for_generation("a", 2)
        assert trio.current_time() - began == 3
        assert tree.find("b").generation == 1
        await tree.wait_for_health("", "ok")
        assert trio.current_time() - began == 3 + 5


@virtual_time
async def test_a_child_given_up_stays_to_be_seen_until_it_is_stopped() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec()) as tree:
        await tree.start_child("", lives.spec("a", backoff=Backoff(max_failures=1)))
        tree.crash("a", Crash())
        node = await tree.wait_for_state("a", "failed")
        assert node.health == "failing"
        with pytest.raises(ChildRunning):
            await tree.start_child("", lives.spec("a"))
        await tree.stop_child("a")
        assert ids(tree) == []
        assert tree.snapshot().health == "ok"


@virtual_time
async def test_delayed_it_can_be_stopped_and_stays_away() -> None:
    lives = Lives()
    async with running(DynamicSupervisorSpec(), random=lambda: 0.5) as tree:
        await tree.start_child("", lives.spec("a", fails=range(2, 99), backoff=Backoff(first=9.0)))
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "backing_off")
        await tree.stop_child("a")
        await trio.sleep(1000)
        assert ids(tree) == []
        assert len(lives.of("begin")) == 2


@virtual_time
async def test_actors_and_supervisors_can_be_children_too() -> None:
    lives = Lives()
    ref: Ref[Any] = Ref()
    async with running(DynamicSupervisorSpec()) as tree:
        await tree.start_child("", ChildSpec("a", Echo, ref=ref))
        await tree.start_child("", ChildSpec("s", SupervisorSpec([lives.spec("x", asked=True, stop=1)])))
        assert await ref.call("hello") == "hello"
        assert tree.find("s/x").state == "running"
        await tree.stop_child("a")
        began = trio.current_time()
        await tree.stop_child("s")
        assert trio.current_time() - began == 1
        assert ids(tree) == []


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@virtual_time
async def test_children_start_in_the_context_of_the_supervisor_and_not_of_whoever_asks() -> None:
    seen: list[str] = []

    async def look(*, task_status: Any) -> None:
        seen.append(WHO.get())
        WHO.set("a child")
        task_status.started()
        await trio.sleep_forever()

    WHO.set("opener")
    async with running(DynamicSupervisorSpec()) as tree:
        WHO.set("request 1")
        await tree.start_child("", ChildSpec("a", look))
        tree.supervisor().start_child_nowait(ChildSpec("b", look))
        tree.crash("a", Crash())
        await wait_all_tasks_blocked()
    assert seen == ["opener"] * 3


# ---------------------------------------------------------------------- on_stop


@virtual_time
async def test_on_stop_is_awaited_before_any_child_is_asked() -> None:
    lives = Lives()

    async def announce() -> None:
        lives.note("pool", "announces")
        await trio.sleep(1)

    async with running(DynamicSupervisorSpec(on_stop=announce)) as tree:
        await tree.start_child("", lives.spec("a", asked=True))
        await tree.stop()
        assert lives.log[2:] == [("pool", "announces", 0), ("a", "asked", 1), ("a", "end", 1)]


@virtual_time
async def test_on_stop_that_fails_leaves_the_stop_in_order_and_is_told() -> None:
    async def fails() -> None:
        raise Crash("no announcement")

    lives = Lives()
    async with running(SupervisorSpec([ChildSpec("p", DynamicSupervisorSpec(on_stop=fails))])) as tree:
        await tree.start_child("p", lives.spec("a", asked=True, stop=2))
        await tree.stop()
        assert lives.of("end") == [2]
        tree.assert_sequence("exited p/a normal", "exited p crashed", "exited root shutdown")


# ------------------------------------------------------------------------- many


@virtual_time
async def test_ten_thousand_temporary_children() -> None:
    """Started, listed, some stopped by hand, some ended by themselves, the rest stopped at once."""
    done = trio.Event()

    async def live(number: int) -> None:
        if number % 10 == 0:
            await done.wait()
        else:
            await trio.sleep_forever()

    count = 10_000
    async with running(DynamicSupervisorSpec()) as tree:
        ref = tree.supervisor()
        for number in range(count):
            ref.start_child_nowait(ChildSpec(str(number), live, (number,), restart="temporary"))
        await wait_all_tasks_blocked()
        assert ref.count_children().active == count
        node = tree.snapshot()
        assert (len(node.children or ()), node.children_total) == (50, count)
        done.set()
        await wait_all_tasks_blocked()
        assert ref.count_children().specs == count * 9 // 10
        for number in range(1, 500, 10):
            await ref.terminate_child(str(number))
        assert ref.count_children().specs == count * 9 // 10 - 50
        await tree.stop()


@BOTH
@virtual_time
async def test_very_many_stop_in_their_order_each_within_its_own_time_also_if_nobody_is_told(concurrent: bool) -> None:
    """More than are asked at once, of several kinds: in time, too late, down already, of no type that is forgotten."""
    lives = Lives()
    count = 600
    ref = SupervisorRef()

    def spec(number: int) -> ChildSpec:
        stop, shutdown = number % 7, number % 4
        restart: Literal["temporary", "transient"] = "temporary" if number % 2 else "transient"
        return lives.spec(f"{number:03}", asked=True, stop=stop, shutdown=shutdown, restart=restart)

    async def fail() -> None:
        raise Crash

    pool = ChildSpec("p", DynamicSupervisorSpec(concurrent=concurrent, max_restarts=10), ref=ref)
    async with open_tree(SupervisorSpec([pool]), random=lambda: 0.5) as tree:
        for number in range(count):
            await ref.start_child(spec(number))
        await ref.start_child(ChildSpec("delayed", fail, backoff=Backoff(1000, 1000)))
        await wait_all_tasks_blocked()
        assert tree.find("p/delayed").state == "backing_off"
        await tree.stop()
        assert not tree.running
    everyone = [f"{number:03}" for number in range(count)]
    asked = [id for id, what, _ in lives.log if what == "asked"]
    for first in range(0, count, ASKED_AT_ONCE):  # within a batch they run in any order
        assert sorted(asked[first : first + ASKED_AT_ONCE]) == everyone[first : first + ASKED_AT_ONCE]
    ends = {id: at for id, what, at in lives.log if what == "end"}
    assert ends == {f"{number:03}": min(number % 7, number % 4) for number in range(count)}


@virtual_time
async def test_an_actor_that_has_ended_is_freed_while_others_still_stop_and_without_the_garbage_collector() -> None:
    class Known(Echo):
        async def on_start(self) -> None:
            alive.add(self)

    alive: weakref.WeakSet[Known] = weakref.WeakSet()
    ref = SupervisorRef()
    async with open_tree(SupervisorSpec([ChildSpec("p", DynamicSupervisorSpec(), ref=ref)])) as tree:
        await ref.start_child(Lives().spec("slow", asked=True, stop=3))
        for number in range(ASKED_AT_ONCE):
            await ref.start_child(ChildSpec(str(number), Known, restart="temporary"))
        assert len(alive) == ASKED_AT_ONCE
        gc.collect()
        gc.disable()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.stop)
                await trio.sleep(1)
                assert [child.id for child in tree.find("p").children or ()] == ["slow"]
                assert len(alive) == 0
        finally:
            gc.enable()


@virtual_time
async def test_nothing_stays_behind_of_children_that_have_gone() -> None:
    """Neither records nor timers, although their start and stop deadlines lie far ahead."""
    pool = ChildSpec("p", DynamicSupervisorSpec())
    async with running(SupervisorSpec([pool])) as tree:
        ref = tree.supervisor("p")
        supervisor = tree._locate("p").supervisor
        for number in range(500):
            spec = Lives().spec(str(number), restart="temporary", start_timeout=1000, shutdown=1000)
            await ref.start_child(spec)
            await ref.terminate_child(str(number))
        assert supervisor is not None
        assert len(supervisor._timers) == 0
        assert len(supervisor._timers._heap) < 200
        assert supervisor.children == {}
        assert supervisor.troubled == {}


@virtual_time
async def test_one_that_is_cut_off_takes_no_child_while_it_waits_for_those_that_do_not_end() -> None:
    async def stop(tree: Tree) -> None:
        await tree.stop(deadline=trio.current_time())

    ref = SupervisorRef()
    pool = ChildSpec("p", DynamicSupervisorSpec(), ref=ref)
    async with running(SupervisorSpec([pool])) as tree:
        ref.start_child_nowait(Lives().spec("slow", stop=5))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, tree)
            await trio.sleep(2)
            with pytest.raises(SupervisorNotRunning):
                ref.start_child_nowait(Lives().spec("late"))
