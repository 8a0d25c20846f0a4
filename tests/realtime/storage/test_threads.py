"""Creating from threads: what async code gets, with a deadline that holds whatever the loop does."""

import threading
import time

import pytest
import trio
import trio.testing

from realtime.ports import AppendFailed, EventQuery, NewEvent, StoreBusy, StoreStopped
from realtime.storage.memory import MemoryStore
from realtime.storage.queue import CommitQueue
from realtime.storage.threads import ThreadDoor

from .conftest import running


async def test_a_thread_gets_its_event_once_it_is_committed(store):
    event = await trio.to_thread.run_sync(lambda: store.append_from_thread(NewEvent("t", {"a": 1}), timeout=10))
    assert await store.get(event.event_id) == event


async def test_a_thread_that_trio_knows_nothing_of_may_as_well(store):
    stored = []
    thread = threading.Thread(target=lambda: stored.append(store.append_from_thread(NewEvent("t"), timeout=10)))
    thread.start()
    await trio.to_thread.run_sync(thread.join)
    assert (await store.query(EventQuery())).events == tuple(stored)


async def test_threads_and_tasks_share_one_order(store):
    def work():
        for _ in range(20):
            store.append_from_thread(NewEvent("thread"), timeout=10)

    async def create():
        for _ in range(20):
            await store.append(NewEvent("task"))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(trio.to_thread.run_sync, work)
            nursery.start_soon(create)
    events = (await store.query(EventQuery(limit=1000))).events
    assert [event.offset for event in events] == list(range(1, 161))
    assert [event.event_id for event in events] == sorted(event.event_id for event in events)


async def test_the_loop_itself_is_refused_before_it_waits_for_itself(store):
    with pytest.raises(RuntimeError, match="await create_event"):
        store.append_from_thread(NewEvent("t"), timeout=10)


async def test_the_deadline_holds_while_the_loop_is_blocked(store):
    errors = []

    def create():
        with pytest.raises(TimeoutError, match="may still be stored") as caught:
            store.append_from_thread(NewEvent("late"), timeout=0.05)
        errors.append(caught.value)

    thread = threading.Thread(target=create)
    thread.start()
    deadline = time.monotonic() + 20
    while not errors:  # without a checkpoint: the loop does nothing
        assert time.monotonic() < deadline
        thread.join(0.01)
    with trio.fail_after(20):
        while not (await store.query(EventQuery())).events:
            await trio.lowlevel.checkpoint()
    assert (await store.query(EventQuery())).events[0].type == "late"


async def test_before_the_first_child_and_after_the_last_nothing_is_stored():
    store = MemoryStore()
    for _ in range(2):
        with pytest.raises(StoreStopped):
            await trio.to_thread.run_sync(lambda: store.append_from_thread(NewEvent("t"), timeout=10))
        async with running(store):
            pass
    assert store.statistics().appended == 0


def test_after_the_loop_has_ended_a_thread_is_told_so():
    store = MemoryStore()

    async def main():
        async with running(store):
            pass

    trio.run(main)
    errors = []

    def create():
        with pytest.raises(StoreStopped, match="event loop has ended") as caught:
            store.append_from_thread(NewEvent("t"), timeout=10)
        errors.append(caught.value)

    thread = threading.Thread(target=create)
    thread.start()
    thread.join()
    assert len(errors) == 1


async def test_what_waits_is_bounded_and_one_more_is_refused():
    queue = CommitQueue(capacity=10)
    queue.accepting = True
    door = ThreadDoor(queue, capacity=2)
    door.open()
    results = []

    def create(timeout):
        try:
            results.append(door.append(NewEvent("t"), timeout))
        except Exception as error:
            results.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(trio.to_thread.run_sync, create, 20)
        while len(queue) < 2:
            await trio.lowlevel.checkpoint()
        with pytest.raises(StoreBusy, match="2 events from threads"):
            await trio.to_thread.run_sync(lambda: door.append(NewEvent("t"), 20))
        queue.settle_first(ValueError("bad"))
        queue.settle_first(StoreStopped("stopped"))
    assert {type(result) for result in results} == {AppendFailed, StoreStopped}
    (failure,) = (result for result in results if isinstance(result, AppendFailed))
    assert isinstance(failure.__cause__, ValueError)
    # And there is room again.
    with trio.fail_after(20):
        await until_queued(queue, create)


async def until_queued(queue, create):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, create, 20)
        while not len(queue):
            await trio.lowlevel.checkpoint()
        queue.settle_first(ValueError("bad"))


async def test_a_full_queue_refuses_a_thread_and_lets_a_task_wait():
    queue = CommitQueue(capacity=1)
    queue.accepting = True
    door = ThreadDoor(queue)
    door.open()
    await queue.add(NewEvent("t"))
    with pytest.raises(StoreBusy, match="1 events wait"):
        await trio.to_thread.run_sync(lambda: door.append(NewEvent("t"), 20))
    assert len(queue) == 1
