"""The watchdog: its decisions with made-up times, and the whole with real blockages of a fraction of a second."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisors import Actor, ChildSpec, LoopBlocked, SupervisorSpec, Watchdog, open_tree
from supervisors.runtime import watchdog as watchdog_module
from supervisors.runtime.inspection import Place, describe, most_telling
from supervisors.runtime.watchdog import PLACES, Step, Watcher
from supervisors.testing import RunningTree, running

THRESHOLD = 0.06
BLOCK = 0.15
HERE = str(Path(__file__))


def place(filename: str, line: int = 1) -> Place:
    return compile("x", filename, "exec"), line


# ------------------------------------------------------------------- decisions


class Run:
    """A watcher with a loop that is made up: which task's step began last, and where it is."""

    def __init__(self, threshold: float = 1.0) -> None:
        self.latest: deque[Any] = deque(maxlen=1)
        self.stack: tuple[Place, ...] | None = (place("app.py", 1),)
        self.found: list[Step] = []
        self.watcher = Watcher(threshold, self.latest, lambda task: self.stack, self.found.append, 0.0)

    def looks(self, *times: float) -> list[tuple[Any, float]]:
        """Look at each of *times*; which tasks were found to have blocked the loop by then, and how long."""
        for now in times:
            self.watcher.look(now)
        return [(step.task, round(step.seconds, 6)) for step in self.found]


def test_before_the_first_step_there_is_nothing_to_find() -> None:
    assert Run().looks(0.2, 0.4, 5.0) == []


def test_a_step_that_stays_for_a_threshold_is_found_once_it_is_over() -> None:
    run = Run()
    run.latest.append("a")
    assert run.looks(0.2, 0.4, 0.6, 0.8, 1.0) == []
    assert run.watcher.blocked_by is None
    assert run.looks(1.2, 1.4, 1.6) == []
    assert run.watcher.blocked_by is not None
    run.latest.append("b")
    assert run.looks(1.8, 2.0) == [("a", 1.4)]
    assert run.watcher.blocked_by is None


def test_two_steps_of_one_task_are_two_steps() -> None:
    run = Run()
    for now in (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4):
        run.latest.append("a")
        run.looks(now)
    run.latest.append("b")
    assert run.looks(1.6) == []


def test_a_loop_that_waits_is_not_blocked() -> None:
    run = Run()
    run.latest.append("a")
    run.looks(0.2)
    run.stack = None  # the task whose step began last is not running any more
    assert run.looks(1.4, 9.0, 10.0) == []


def test_a_step_after_which_the_loop_waits_is_found_when_its_end_is_seen() -> None:
    run = Run()
    run.latest.append("a")
    run.looks(0.2, 1.4, 1.6)
    run.stack = None
    assert run.looks(1.8, 5.0) == [("a", 1.4)]


def test_a_look_that_is_late_itself_counts_its_delay() -> None:
    """A call into C that keeps the interpreter's lock lets the watcher look only when it is over."""
    run = Run()
    run.latest.append("a")
    run.looks(0.2)
    run.latest.append("b")
    run.looks(3.4)
    run.latest.append("c")
    assert run.looks(3.45) == [("b", 3.0)]


def test_it_looks_more_often_while_the_loop_is_blocked() -> None:
    run = Run()
    run.latest.append("a")
    assert run.watcher.look(0.2) == 0.2
    assert run.watcher.look(1.4) == 0.05
    run.latest.append("b")
    assert run.watcher.look(1.45) == 0.2


def test_the_line_that_was_seen_most_often_is_told_with_its_stack() -> None:
    step = Step(None, 0.0)  # type: ignore[arg-type]
    step.add((place("app.py", 1), place("main.py", 9)), 1.0)
    for now in (2.0, 3.0):
        step.add((place("app.py", 2), place("main.py", 9)), now)
    assert step.worst() == ("app.py:2 in <module>", ("main.py:9 in <module>", "app.py:2 in <module>"))


def test_only_so_many_lines_of_one_step_are_counted() -> None:
    step = Step(None, 0.0)  # type: ignore[arg-type]
    for line in range(PLACES + 10):
        step.add((place("app.py", line),), float(line))
    assert len(step.places) == PLACES
    assert step.seen == PLACES + 9


def test_whose_code_it_was_is_the_innermost_line_outside_the_standard_library() -> None:
    library, frozen = place(threading.__file__), place("<frozen importlib._bootstrap>")
    installed, own = place(pytest.__file__), place(__file__)
    assert most_telling([frozen, library, own, installed]) == own
    assert most_telling([library, installed, own]) == installed
    assert most_telling([library, frozen]) == library
    assert describe(own) == f"{__file__}:1 in <module>"


@pytest.mark.parametrize("threshold", [0, -1.0, "1"])
def test_a_wrong_threshold_fails_when_built(threshold: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="threshold"):
        Watchdog(threshold)


# -------------------------------------------------------------------- the whole


def block(seconds: float) -> None:
    time.sleep(seconds)


class Blocker(Actor[float]):
    async def handle_cast(self, message: float) -> None:
        block(message)

    async def handle_call(self, request: object) -> object:
        return request


def blockages(tree: RunningTree, path: str) -> list[LoopBlocked]:
    return [event for event in tree.events if isinstance(event, LoopBlocked) and event.path == path]


async def blocked(tree: RunningTree, path: str) -> LoopBlocked:
    """The blockage by the child at *path*; on a busy machine others can seem to block too, and do."""
    with trio.fail_after(5):
        await tree.wait_until(lambda: bool(blockages(tree, path)), f"a blockage by {path!r}")
    return blockages(tree, path)[0]


def watched(*children: ChildSpec, **options: Any) -> Any:
    return running(SupervisorSpec(children), watchdog=Watchdog(THRESHOLD), **options)


async def test_it_names_the_actor_the_duration_and_the_line(caplog: pytest.LogCaptureFixture) -> None:
    below = SupervisorSpec([ChildSpec("blocker", Blocker)])
    async with watched(ChildSpec("group", below)) as tree:
        await tree.ref("group/blocker").cast(BLOCK)
        event = await blocked(tree, "group/blocker")
        figures = tree.find("group/blocker").stats["loop_blocked"]
    assert event.task == "group/blocker"
    assert BLOCK - THRESHOLD / 2 <= event.seconds < 2
    assert event.where.startswith(f"{HERE}:{block.__code__.co_firstlineno + 1} in block")
    assert [line.rpartition(" in ")[2] for line in event.stack[-2:]] == ["Blocker.handle_cast", "block"]
    assert figures == {"count": 1, "longest": event.seconds, "last": event.seconds}
    text = f"the loop was blocked for {event.seconds:.3f} s by 'group/blocker' (task 'group/blocker') at {event.where}"
    (record,) = (record for record in caplog.records if record.getMessage().startswith(text))
    assert (record.name, record.levelno) == ("supervisors.watchdog", logging.WARNING)


async def test_figures_add_up() -> None:
    async with watched(ChildSpec("blocker", Blocker)) as tree:
        for seconds in (BLOCK, 2 * BLOCK):
            await tree.ref("blocker").cast(seconds)
            await tree.ref("blocker").call("done")
        with trio.fail_after(5):
            await tree.wait_until(lambda: len(blockages(tree, "blocker")) == 2)
        first, second = (event.seconds for event in blockages(tree, "blocker"))
        assert first >= THRESHOLD
        assert second >= 2 * THRESHOLD
        assert tree.find("blocker").stats["loop_blocked"] == {
            "count": 2, "longest": max(first, second), "last": second,
        }  # fmt: skip


async def test_a_task_in_a_nursery_below_a_child_is_the_childs() -> None:
    async def inner() -> None:
        block(BLOCK)
        await trio.sleep_forever()

    async def outer() -> None:
        async with trio.open_nursery() as nursery, trio.open_nursery() as below:
            nursery.start_soon(trio.sleep_forever)
            below.start_soon(inner, name="a/name/of/its/own")

    async with watched(ChildSpec("outer", outer)) as tree:
        assert (await blocked(tree, "outer")).task == "a/name/of/its/own"


async def test_a_step_in_which_the_child_crashes_is_still_the_childs() -> None:
    async def work() -> None:
        block(BLOCK)
        raise ValueError

    async with watched(ChildSpec("worker", work, restart="temporary")) as tree:
        assert (await blocked(tree, "worker")).seconds >= THRESHOLD


async def test_a_slow_start_is_seen() -> None:
    class Slow(Actor[object]):
        async def on_start(self) -> None:
            block(BLOCK)

    async with watched(ChildSpec("slow", Slow)) as tree:
        assert (await blocked(tree, "slow")).where.endswith(" in block")


async def test_a_task_outside_the_tree_is_told_with_its_name_and_counted_at_the_root() -> None:
    async with watched(ChildSpec("blocker", Blocker)) as tree:
        block(BLOCK)
        event = await blocked(tree, "")
        assert "test_a_task_outside" in event.stack[-2]
        assert tree.snapshot().stats["loop_blocked"]["count"] >= 1
        assert tree.find("blocker").stats == {}


async def test_a_task_that_only_has_the_name_of_a_child_is_not_the_childs() -> None:
    async def stranger() -> None:
        block(BLOCK)

    async with watched(ChildSpec("blocker", Blocker)) as tree, trio.open_nursery() as nursery:
        nursery.start_soon(stranger, name="blocker/below")
        nursery.start_soon(trio.sleep, 0, name="blocker")
        assert (await blocked(tree, "")).task == "blocker/below"
        assert blockages(tree, "blocker") == []


async def test_code_that_keeps_the_interpreters_lock_is_found_too() -> None:
    """Such a call cannot be looked at while it lasts."""
    size = 1_000_000
    began = time.perf_counter()
    sum(range(size))
    size = int(size * 0.2 / (time.perf_counter() - began))

    class Calculator(Actor[int]):
        async def handle_cast(self, message: int) -> None:
            sum(range(message))

    async with watched(ChildSpec("calculator", Calculator)) as tree:
        await trio.sleep(THRESHOLD)  # the watcher has begun to look
        await tree.ref("calculator").cast(size)
        event = await blocked(tree, "calculator")
    assert event.where.endswith("Calculator.handle_cast")


async def test_many_short_steps_block_nothing() -> None:
    threshold = 0.2  # a busy machine can take the processor away for shorter times

    async def busy() -> None:
        until = time.perf_counter() + 2 * threshold
        while time.perf_counter() < until:
            await trio.lowlevel.checkpoint()

    spec = SupervisorSpec([ChildSpec("busy", busy, restart="temporary")])
    async with running(spec, watchdog=Watchdog(threshold)) as tree:
        await tree.wait_until(lambda: "removed busy" in tree.story)
    assert blockages(tree, "busy") == []


async def test_what_blocks_until_the_very_end_is_told_before_the_tree_is_closed() -> None:
    events: list[Any] = []

    class Last(Actor[object]):
        async def on_stop(self) -> None:
            block(BLOCK)

    async with open_tree(
        SupervisorSpec([ChildSpec("last", Last)]), on_event=events.append, watchdog=Watchdog(THRESHOLD)
    ):
        await trio.sleep(THRESHOLD)  # the watcher has begun to look
    assert "last" in [event.path for event in events if isinstance(event, LoopBlocked)]


async def test_a_blockage_that_does_not_end_is_logged_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog_module, "STILL_BLOCKED", 0.05)
    seen: list[str] = []

    def told() -> list[str]:
        return [record.levelname for record in caplog.records if "by 'hung'" in record.getMessage()]

    class Hung(Actor[object]):
        async def handle_cast(self, message: object) -> None:
            until = time.monotonic() + 5
            while not told() and time.monotonic() < until:
                block(0.005)
            seen.extend(told())

    async with watched(ChildSpec("hung", Hung)) as tree:
        await tree.ref("hung").cast(None)
        await blocked(tree, "hung")
    assert seen == ["CRITICAL"]
    assert told() == ["CRITICAL", "WARNING"]
    assert "the loop has been blocked for 0." in caplog.text


async def test_a_hook_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def hook(event: object) -> None:
        if isinstance(event, LoopBlocked):
            raise ValueError("from the hook")

    async with watched(ChildSpec("blocker", Blocker), on_event=hook) as tree:
        await tree.ref("blocker").cast(BLOCK)
        await blocked(tree, "blocker")
        assert await tree.ref("blocker").call("still there") == "still there"
    assert "the event hook failed" in caplog.text


async def test_it_ends_with_its_tree() -> None:
    def watchers() -> int:
        return sum(thread.name == "loop watchdog" for thread in threading.enumerate())

    async with watched(ChildSpec("blocker", Blocker)):
        assert watchers() == 1
    assert watchers() == 0


def test_a_loop_that_ends_first_is_nobody_to_tell() -> None:
    """A blockage can be found between the end of the loop and that of the watcher."""
    kept: list[Any] = []

    async def main() -> None:
        async with open_tree(SupervisorSpec([])) as tree:
            kept.append(watchdog_module._Watch(THRESHOLD, tree._root, tree._context))

    trio.run(main)
    kept[0]._found(Step(None, 0.0))  # type: ignore[arg-type]
    assert len(kept[0]._untold) == 1
