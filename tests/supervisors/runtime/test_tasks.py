"""Tasks with a handle, and the bounded map: on virtual time."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from outcome import Error, Value

from supervisors import (
    ChildRunning,
    ChildSpec,
    DynamicSupervisorSpec,
    SupervisorNotRunning,
    SupervisorSpec,
    TaskCancelled,
    TaskMap,
    TaskSupervisor,
    TooManyChildren,
    WrongKind,
)
from supervisors.testing import RunningTree, running, virtual_time


async def double(number: int) -> int:
    """Take as many seconds as the number says, and fail for a negative one at once."""
    if number < 0:
        raise ValueError(f"no {number}")
    await trio.sleep(number)
    return number * 2


@asynccontextmanager
async def tasks(**options: Any) -> AsyncIterator[tuple[TaskSupervisor, RunningTree]]:
    supervisor = TaskSupervisor("tasks")
    spec = SupervisorSpec([ChildSpec("tasks", DynamicSupervisorSpec(**options), ref=supervisor)])
    async with running(spec) as tree:
        yield supervisor, tree


def running_now(tree: RunningTree) -> list[str]:
    return [node.id for node in tree.find("tasks").children or ()]


# ----------------------------------------------------------------------- a task


@virtual_time
async def test_the_result_of_a_task_is_what_its_function_returned() -> None:
    async with tasks() as (supervisor, _):
        task = supervisor.start_task(double, 3)
        assert not task.done
        assert await task.result() == 6
        assert trio.current_time() == 3
        assert task.done
        assert await task.result() == 6
        assert await task.outcome() == Value(6)


@virtual_time
async def test_a_failure_is_raised_to_who_asks_and_to_nobody_else() -> None:
    async with tasks() as (supervisor, tree):
        other, task = supervisor.start_task(double, 5), supervisor.start_task(double, -1)
        for _ in range(2):
            with pytest.raises(ValueError, match="no -1") as caught:
                await task.result()
            assert [entry.name for entry in caught.traceback][-1] == "double"
            lines = len(caught.traceback)
        with pytest.raises(ValueError, match="no -1") as caught:
            await task.result()
        assert len(caught.traceback) == lines, "it does not grow with each call"
        result = await task.outcome()
        assert isinstance(result, Error)
        assert result.error is caught.value
        assert tree.snapshot().health == "ok"
        assert await other.result() == 10


@virtual_time
async def test_tasks_are_children_with_names_of_their_own() -> None:
    async with tasks() as (supervisor, tree):
        named = supervisor.start_task(double, 1, name="my task")
        others = [supervisor.start_task(double, 1), supervisor.start_task(partial(double, 1))]
        assert running_now(tree) == ["my task", "double-1", "double-2"]
        assert (named.name, named.path) == ("my task", "tasks/my task")
        assert repr(named) == "<task 'tasks/my task', running>"
        with pytest.raises(ChildRunning):
            supervisor.start_task(double, 1, name="my task")
        for task in (named, *others):
            await task.result()
        assert running_now(tree) == []
        assert repr(named) == "<task 'tasks/my task', done>"
        assert await supervisor.start_task(double, 1, name="my task").result() == 2


@virtual_time
async def test_an_object_that_can_be_called_is_named_by_its_class() -> None:
    class Job:
        async def __call__(self) -> str:
            return "done"

    async with tasks() as (supervisor, _):
        task = supervisor.start_task(Job())
        assert task.name == "Job-1"
        assert await task.result() == "done"


@virtual_time
async def test_a_task_can_be_cancelled_and_clean_up() -> None:
    cleaned: list[float] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(2, shield=True):
                await trio.sleep(1)
            cleaned.append(trio.current_time())

    async with tasks() as (supervisor, tree):
        task = supervisor.start_task(work)
        await trio.testing.wait_all_tasks_blocked()
        task.cancel()
        assert not task.done
        with pytest.raises(TaskCancelled, match="'tasks/work-1' was cancelled before it ended"):
            await task.result()
        assert cleaned == [1]
        assert running_now(tree) == []
        tree.assert_sequence("exited tasks/work-1 shutdown", "removed tasks/work-1")
        task.cancel()


@virtual_time
async def test_one_that_is_cancelled_before_its_first_step_has_no_result() -> None:
    async with tasks() as (supervisor, _):
        task = supervisor.start_task(double, 1)
        task.cancel()
        outcome = await task.outcome()
    assert isinstance(outcome, Error)
    assert isinstance(outcome.error, TaskCancelled)


@virtual_time
async def test_stopping_the_supervisor_cancels_its_tasks() -> None:
    async with tasks() as (supervisor, tree):
        task = supervisor.start_task(double, 100)
        await tree.stop_child("tasks")
        with pytest.raises(TaskCancelled):
            await task.result()
        task.cancel()
        with pytest.raises(SupervisorNotRunning):
            supervisor.start_task(double, 1)


@virtual_time
async def test_a_failure_while_it_is_cancelled_is_its_outcome() -> None:
    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("on the way out")

    async with tasks() as (supervisor, _):
        task = supervisor.start_task(work)
        await trio.testing.wait_all_tasks_blocked()
        task.cancel()
        with pytest.RaisesGroup(KeyError):
            await task.result()


@virtual_time
async def test_giving_up_the_wait_leaves_the_task_alone() -> None:
    async with tasks() as (supervisor, _):
        task = supervisor.start_task(double, 5)
        with trio.move_on_after(1) as scope:
            await task.result()
        assert scope.cancelled_caught
        assert await task.result() == 10
        assert trio.current_time() == 5


@virtual_time
async def test_a_task_does_not_run_in_the_context_or_under_the_deadline_of_who_asked() -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")

    async def work() -> tuple[str, float]:
        return who.get(), trio.current_effective_deadline()

    async with tasks() as (supervisor, _):
        token = who.set("the caller")
        with trio.fail_after(5):
            assert await supervisor.start_task(work).result() == ("nobody", float("inf"))
        who.reset(token)


@virtual_time
async def test_there_can_be_a_bound_on_how_many_there_are() -> None:
    async with tasks(max_children=1) as (supervisor, _):
        first = supervisor.start_task(double, 1)
        with pytest.raises(TooManyChildren):
            supervisor.start_task(double, 1)
        await first.result()


@virtual_time
async def test_a_supervisor_that_starts_one_at_a_time_takes_no_tasks() -> None:
    async with tasks(concurrent=False) as (supervisor, _):
        with pytest.raises(WrongKind):
            supervisor.start_task(double, 1)


@virtual_time
async def test_before_the_tree_runs_nothing_can_be_started() -> None:
    with pytest.raises(SupervisorNotRunning):
        TaskSupervisor().start_task(double, 1)


@virtual_time
async def test_the_root_can_be_a_task_supervisor_too() -> None:
    async with running(DynamicSupervisorSpec()) as tree:
        supervisor = TaskSupervisor()
        supervisor.bind(tree._root.supervisor)  # type: ignore[arg-type]
        task = supervisor.start_task(double, 1)
        assert (task.path, await task.result()) == ("double-1", 2)


# -------------------------------------------------------------------------- map


async def taken(results: TaskMap[Any, Any]) -> list[tuple[Any, Any, float]]:
    """Everything that *results* gives: the item, its value or error, and when it was given."""
    began = trio.current_time()
    return [
        (item, result.error if isinstance(result, Error) else result.unwrap(), trio.current_time() - began)
        async for item, result in results
    ]


@virtual_time
async def test_a_map_gives_outcomes_in_the_order_of_the_items() -> None:
    async with tasks() as (supervisor, _):
        results = supervisor.map(double, [3, 1, 2], max_concurrent=3)
        assert await taken(results) == [(3, 6, 3), (1, 2, 3), (2, 4, 3)]


@virtual_time
async def test_a_map_can_give_them_as_they_are_done() -> None:
    async with tasks() as (supervisor, _):
        results = supervisor.map(double, [3, 1, 2], max_concurrent=3, ordered=False)
        assert await taken(results) == [(1, 2, 1), (2, 4, 2), (3, 6, 3)]


@pytest.mark.parametrize("ordered", [True, False])
@virtual_time
async def test_a_failure_is_a_value_and_sinks_no_other(ordered: bool) -> None:
    async with tasks() as (supervisor, _):
        results = await taken(supervisor.map(double, [1, -7, 2], max_concurrent=2, ordered=ordered))
        assert sorted((item, str(value)) for item, value, _ in results) == [(-7, "no -7"), (1, "2"), (2, "4")]


@virtual_time
async def test_a_failure_is_raised_only_if_asked_for() -> None:
    async with tasks() as (supervisor, _):
        with pytest.raises(ValueError, match="no -7"):
            async for _item, result in supervisor.map(double, [1, -7, 2], max_concurrent=2):
                result.unwrap()


@virtual_time
async def test_no_more_than_max_concurrent_run_at_a_time() -> None:
    async with tasks() as (supervisor, tree):
        most = 0
        async for _ in supervisor.map(double, [1] * 10, max_concurrent=3):
            most = max(most, tree.find("tasks").children_total or 0)
        assert most <= 3
        # Each turn takes one and starts one, so ten times 1 s, three at a time.
        assert trio.current_time() == 4


@virtual_time
async def test_items_are_read_only_as_far_as_they_are_started_and_who_takes_nothing_gets_no_more() -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            read.append(len(read))
            yield 0

    async with tasks() as (supervisor, _):
        results = supervisor.map(double, endless(), max_concurrent=2)
        assert read == []
        await anext(results)
        await trio.sleep(10)
        assert len(read) == 2
        await anext(results)
        assert len(read) == 3


@virtual_time
async def test_a_map_over_nothing_is_empty_and_a_checkpoint() -> None:
    async with tasks() as (supervisor, _):
        with trio.testing.assert_checkpoints():
            assert await taken(supervisor.map(double, [], max_concurrent=1)) == []


@virtual_time
async def test_a_caller_that_breaks_off_has_no_more_started_and_the_rest_is_finished() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await trio.sleep(number)
        done.append(number)

    async with tasks() as (supervisor, tree):
        async for _ in supervisor.map(work, [1, 2, 3, 4, 5], max_concurrent=2):
            break
        await trio.sleep(20)
        assert done == [1, 2]
        assert running_now(tree) == []


@virtual_time
async def test_leaving_the_with_block_cancels_what_is_under_way() -> None:
    async with tasks() as (supervisor, tree):
        with supervisor.map(double, [1, 50, 60, 70], max_concurrent=3) as results:
            assert await anext(results) == (1, Value(2))
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 1
        assert running_now(tree) == []
        rest = await taken(results)
        assert [(item, type(value)) for item, value, _ in rest] == [(50, TaskCancelled), (60, TaskCancelled)]


@virtual_time
async def test_being_cancelled_while_waiting_loses_nothing() -> None:
    async with tasks() as (supervisor, _):
        results = supervisor.map(double, [2, 4], max_concurrent=2)
        for _ in range(3):
            with trio.move_on_after(0.5):
                await anext(results)
        assert [(item, value) for item, value, _ in await taken(results)] == [(2, 4), (4, 8)]


@virtual_time
async def test_a_map_has_one_consumer() -> None:
    async with tasks() as (supervisor, _):
        results = supervisor.map(double, [1], max_concurrent=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, results)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await anext(results)


@virtual_time
async def test_a_supervisor_without_room_makes_the_map_wait_for_its_own_and_fail_without_any() -> None:
    async with tasks(max_children=2) as (supervisor, _):
        other = supervisor.start_task(double, 100)
        results = supervisor.map(double, [1, 1, 1], max_concurrent=3)
        assert [item for item, _, _ in await taken(results)] == [1, 1, 1]
        assert trio.current_time() == 3
        second = supervisor.start_task(double, 100)
        full = supervisor.map(double, [1], max_concurrent=1)
        with pytest.raises(TooManyChildren):
            await anext(full)
        second.cancel()
        await second.outcome()
        assert await anext(full) == (1, Value(2)), "the item was not lost"
        other.cancel()


@virtual_time
async def test_a_supervisor_that_stops_gives_what_was_under_way_first() -> None:
    async with tasks() as (supervisor, tree):
        results = supervisor.map(double, [5, 6], max_concurrent=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop_child, "tasks")
            _, result = await anext(results)
        assert isinstance(result, Error)
        assert isinstance(result.error, TaskCancelled)
        with pytest.raises(SupervisorNotRunning):
            await anext(results)


@virtual_time
async def test_a_wrong_bound_fails_at_once() -> None:
    with pytest.raises(ValueError, match="max_concurrent must be at least 1, got 0"):
        TaskSupervisor().map(double, [], max_concurrent=0)
