"""The testing kit itself: it must wait without polling, and fail when it should."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisors import Backoff, ChildNotRunning, NoSuchChild, SupervisorSpec, open_tree
from supervisors.events import (
    Exited,
    GaveUp,
    HealthChanged,
    Ignored,
    Removed,
    RestartDelayed,
    Restarting,
    Started,
    StartFailed,
    Stuck,
)
from supervisors.exits import KILLED, crashed
from supervisors.testing import (
    PATIENCE,
    Recorder,
    RunningTree,
    assert_no_tasks_left,
    crash,
    describe,
    running,
    virtual_time,
    wait_for_generation,
    wait_for_health,
    wait_for_state,
    wait_until,
)
from tests.supervisors.actors import Crash, Lives, one

# ---------------------------------------------------------------- virtual time


def test_virtual_time_makes_an_ordinary_function_and_costs_none() -> None:
    @virtual_time
    async def sleep(seconds: float, *, result: str) -> str:
        """A docstring."""
        began = trio.current_time()
        await trio.sleep(seconds)
        assert trio.current_time() == began + seconds
        return result

    began = time.monotonic()
    assert sleep(3600.0, result="done") == "done"
    assert time.monotonic() - began < 5
    assert (sleep.__name__, sleep.__doc__) == ("sleep", "A docstring.")


async def race() -> list[int]:
    """The order in which tasks that are ready together are run."""
    order: list[int] = []

    async def run(number: int) -> None:
        for _ in range(3):
            await trio.sleep(1)
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(run, number)
    return order


def test_a_seed_decides_the_order_of_tasks() -> None:
    orders = {seed: virtual_time(seed=seed)(race)() for seed in range(5)}
    assert len({tuple(order) for order in orders.values()}) > 1
    for seed, order in orders.items():
        assert virtual_time(seed=seed)(race)() == order


def test_a_seed_decides_the_delays_of_restarts() -> None:
    async def delays() -> list[float]:
        spec = Lives().spec("a", fails=range(2, 6), backoff=Backoff(first=1.0))
        async with running(one(spec)) as tree:
            tree.crash("a", Crash())
            await tree.wait_for_generation("a", 2)
            return [event.delay for event in tree.events if isinstance(event, RestartDelayed)]

    first = virtual_time(seed=1)(delays)()
    assert len(first) == 4
    assert virtual_time(seed=1)(delays)() == first
    assert virtual_time(seed=2)(delays)() != first


def test_a_failure_says_which_seed_makes_it_happen_again() -> None:
    """A test that depends on the order of a tie: it fails under some schedules, and then always under that one."""

    async def fragile() -> None:
        order = await race()
        assert order[0] != 3

    with pytest.raises(AssertionError) as caught:
        virtual_time(schedules=200)(fragile)()
    (note,) = caught.value.__notes__
    assert note.startswith("to make this happen again: @virtual_time(seed=")
    seed = int(note.removesuffix(")").rpartition("=")[2])
    for _ in range(3):
        with pytest.raises(AssertionError):
            virtual_time(seed=seed)(fragile)()


def test_schedules_are_that_many_runs() -> None:
    runs: list[int] = []

    @virtual_time(seed=5, schedules=3)
    async def run(number: int) -> int:
        await trio.lowlevel.checkpoint()
        runs.append(number)
        return len(runs)

    assert run(7) == 3
    assert runs == [7, 7, 7]
    with pytest.raises(ValueError, match="schedules must be at least 1, got 0"):
        virtual_time(schedules=0)(run)  # type: ignore[type-var]


@pytest.fixture
async def tree() -> AsyncIterator[RunningTree]:
    async with running(one(Lives().spec("a"))) as tree:
        yield tree


async def test_a_running_tree_can_be_a_fixture(tree: RunningTree, autojump_clock: MockClock) -> None:
    """In virtual time: the clock is the test's own parameter, as pytest-trio does not look at those of fixtures."""
    await trio.sleep(3600)
    await tree.crash_and_wait("a", Crash())
    assert (await tree.wait_for_generation("a", 2)).state == "running"
    assert tree.starts("a") == [0, 3600]


# ----------------------------------------------------------------------- events

STORY = [
    (Started("a", "worker", 1, 0.0), "started a"),
    (Started("", "supervisor", 1, 0.0), "started root"),
    (Exited("s/a", "worker", 1, KILLED, 1.0, 0.0), "exited s/a killed"),
    (Exited("a", "worker", 1, crashed(Crash()), 1.0, 0.0), "exited a crashed"),
    (StartFailed("a", "worker", Crash(), 0.0), "start_failed a"),
    (Ignored("a", "worker", 0.0), "ignored a"),
    (RestartDelayed("a", "worker", 2, 0.5, None, 0.0), "restart_delayed a"),
    (Restarting("a", "worker", 1, 2, None, 0.0), "restarting a"),
    (GaveUp("", "supervisor", Crash(), 0.0), "gave_up root"),
    (Stuck("a", "worker", 1.0, 0.0), "stuck a"),
    (Removed("a", "worker", 0.0), "removed a"),
    (HealthChanged("a", "worker", 0.0), "health_changed a"),
]


@pytest.mark.parametrize(("event", "words"), STORY, ids=[words for _, words in STORY])
def test_events_are_told_in_few_words(event: Any, words: str) -> None:
    assert describe(event) == words


def record(*paths: str) -> Recorder:
    recorder = Recorder()
    for at, path in enumerate(paths):
        recorder(Started(path, "worker", 1, float(at)))
    return recorder


def test_a_story_is_exact_and_then_forgotten() -> None:
    recorder = record("a", "b")
    recorder.assert_story("started a", "started b")
    assert recorder.story == []
    recorder.assert_story()


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (("started a", "started c"), "event 2 is 'started b', expected 'started c'"),
        (("started a",), "'started b' was not expected"),
        (("started a", "started b", "started c"), "'started c' did not happen"),
        ((), "'started a' was not expected"),
    ],
)
def test_a_story_that_differs_says_where_and_shows_what_happened(expected: tuple[str, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        record("a", "b").assert_story(*expected)
    assert "what happened:\n  started a\n  started b" in str(caught.value)


def test_a_sequence_may_have_other_events_in_between() -> None:
    recorder = record("a", "b", "c", "a")
    recorder.assert_sequence("started a", "started c")
    recorder.assert_sequence("started b", "started a")
    assert len(recorder.events) == 4
    for wrong in (("started c", "started b"), ("started a", "started a", "started a"), ("started x",)):
        with pytest.raises(AssertionError, match="is missing, or too early"):
            recorder.assert_sequence(*wrong)


def test_times_are_those_of_the_events_told_so() -> None:
    assert record("a", "b", "a").times("started a") == [0.0, 2.0]


def test_a_recorder_keeps_the_last_ones() -> None:
    recorder = Recorder(limit=2)
    for path in "abc":
        recorder(Started(path, "worker", 1, 0.0))
    assert recorder.story == ["started b", "started c"]
    recorder.clear()
    assert recorder.story == []


# ---------------------------------------------------------------------- waiting


@virtual_time
async def test_waits_end_with_the_event_that_they_wait_for() -> None:
    lives = Lives()
    spec = lives.spec("a", fails={2, 3}, backoff=Backoff(first=4.0, max_failures=5))
    async with open_tree(one(spec), random=lambda: 0.5) as tree:
        assert (await wait_for_state(tree, "a", "running")).generation == 1
        assert (await wait_for_generation(tree, "a", 1)).state == "running"
        tree.crash("a", Crash())
        assert (await wait_for_state(tree, "a", "backing_off", "failed")).next_retry == 2
        assert (await wait_for_generation(tree, "a", 2)).health == "degraded"
        assert trio.current_time() - lives.began == 2 + 4
        assert (await wait_for_health(tree, "a", "ok")).generation == 2
        assert trio.current_time() - lives.began == 6 + 5


@virtual_time
async def test_a_path_that_does_not_exist_yet_is_waited_for() -> None:
    lives = Lives()
    async with open_tree(SupervisorSpec()) as tree, trio.open_nursery() as nursery:
        nursery.start_soon(tree.start_child, "", lives.spec("late", start=3))
        assert (await wait_for_state(tree, "late", "running")).id == "late"
        assert trio.current_time() - lives.began == 3


@virtual_time
async def test_what_was_true_for_a_moment_counts() -> None:
    """A child restarted at once is stopped only between two events; whoever waits for that must still see it."""
    async with open_tree(one(Lives().spec("a"))) as tree, trio.open_nursery() as nursery:

        async def wait() -> None:
            assert (await wait_for_state(tree, "a", "stopped")).state == "stopped"

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        tree.crash("a", Crash())


@virtual_time
async def test_a_wait_in_vain_fails_and_shows_the_tree() -> None:
    async with open_tree(one(Lives().spec("a"))) as tree:
        began = trio.current_time()
        with pytest.raises(AssertionError, match=r"'a' generation 2 did not come true:\nroot \(running") as caught:
            await wait_for_generation(tree, "a", 2)
        assert trio.current_time() - began == PATIENCE
        assert "  a (running" in str(caught.value)


@virtual_time
async def test_a_wait_ends_with_the_tree() -> None:
    async with open_tree(one(Lives().spec("a"))) as tree:
        with trio.CancelScope(shield=True):
            began = trio.current_time()
            tree.kill("")
            with pytest.raises(AssertionError, match="'a' generation 2 did not come true before the tree ended"):
                await wait_for_generation(tree, "a", 2)
            with pytest.raises(AssertionError, match="the condition did not come true before the tree ended"):
                await wait_until(tree, lambda: False)
            assert trio.current_time() == began


@pytest.mark.parametrize("states", [("starting",), ("running", "stopping"), ()])
@virtual_time
async def test_a_state_that_no_event_announces_cannot_be_waited_for(states: Any) -> None:
    async with open_tree(one(Lives().spec("a"))) as tree:
        with pytest.raises(ValueError, match="states must be among backing_off, failed, running, stopped, got"):
            await wait_for_state(tree, "a", *states)


@virtual_time
async def test_nobody_watches_any_more_once_the_wait_is_over() -> None:
    async with open_tree(one(Lives().spec("a"))) as tree:
        await wait_for_state(tree, "a", "running")
        with trio.move_on_after(1):
            await wait_for_generation(tree, "a", 9)
        assert tree._context._hooks == ()


@virtual_time
async def test_crash_returns_the_exit_also_of_a_start() -> None:
    lives = Lives()
    async with open_tree(one(lives.spec("a", start=5))) as tree:
        error = Crash("on order")
        exited = await crash(tree, "a", error)
        assert isinstance(exited, Exited)
        assert exited.exit == crashed(error)
        await trio.sleep(1)
        failed = await crash(tree, "a", error)
        assert isinstance(failed, StartFailed)
        assert failed.error is error
        with pytest.raises(NoSuchChild):
            await crash(tree, "x", error)
        await tree.stop_child("a")
        with pytest.raises(ChildNotRunning):
            await crash(tree, "a", error)


# ------------------------------------------------------------------------ tasks


@virtual_time
async def test_tasks_that_are_left_are_named() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="was there before")
        with pytest.raises(AssertionError, match="1 tasks are left: left behind"), assert_no_tasks_left():
            nursery.start_soon(trio.sleep_forever, name="left behind")
            nursery.start_soon(trio.sleep, 1, name="gone in time")
            await trio.sleep(2)
        nursery.cancel_scope.cancel()


@virtual_time
async def test_tasks_below_tasks_count_too_and_an_error_comes_first() -> None:
    async def deep() -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - a task below a task is what is wanted
            nursery.start_soon(trio.sleep_forever, name="deep inside")

    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match="2 tasks are left: deep inside, "), assert_no_tasks_left():
            nursery.start_soon(deep)
            await trio.sleep(1)
        with pytest.raises(Crash), assert_no_tasks_left():
            nursery.start_soon(deep)
            raise Crash
        nursery.cancel_scope.cancel()


@virtual_time
async def test_a_running_tree_records_and_passes_on_its_events() -> None:
    seen = Recorder()
    async with running(one(Lives().spec("a")), on_event=seen, id="app") as tree:
        assert tree.snapshot().id == "app"
        assert tree.starts("a") == [trio.current_time()]
        await tree.wait_until(lambda: True)
        tree.assert_sequence("started a")
        assert [describe(event) for event in tree.events] == tree.story == seen.story
        tree.assert_story("started a", "started root")
        await tree.wait_for_state("a", "running")
        await tree.wait_for_health("a", "ok")
