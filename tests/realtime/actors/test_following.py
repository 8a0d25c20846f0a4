"""Following: everything behind a position, once, in order, however slow the follower is."""

import contextlib

import pytest
import structlog
import trio
import trio.testing

from realtime.actors import following as module
from realtime.actors.following import following
from realtime.policy.pages import Cursor
from realtime.policy.retention import Retention
from realtime.policy.selection import Selection
from realtime.ports import NewEvent
from realtime.storage.memory import MemoryStore


async def create(store, *types):
    return [await store.append(NewEvent(type)) for type in types]


async def test_what_is_there_comes_first_and_then_what_is_committed(store):
    first = await create(store, "a", "b")
    with following(store) as follower:
        assert await follower.receive_batch() == tuple(first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(create, store, "c")
            assert [event.type for event in await follower.receive_batch()] == ["c"]
    assert store.on_commit == []


async def test_a_follower_goes_on_behind_its_position(store):
    await create(store, "a", "b", "c")
    with following(store, after=Cursor(store.epoch, 2)) as follower:
        assert [event.type for event in await follower.receive_batch()] == ["c"]
        assert follower.position == Cursor(store.epoch, 3)
        assert await follower.receive_batch_nowait() == ()


async def test_what_is_not_wanted_moves_the_position_and_wakes_nobody_up(store):
    with following(store, Selection(types=("b",))) as follower:
        await create(store, "a", "a")
        assert await follower.receive_batch_nowait() == ()
        assert follower.position.offset == 2
        assert follower.statistics().behind == 0
        await create(store, "b")
        assert [event.type for event in await follower.receive_batch()] == ["b"]


async def test_long_histories_come_in_batches(store, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    await create(store, *"abcdefgh")
    with following(store) as follower:
        batches = [await follower.receive_batch() for _ in range(3)]
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert "".join(event.type for batch in batches for event in batch) == "abcdefgh"


@pytest.mark.parametrize("position", [Cursor("other", 1), Cursor("own", 99)])
async def test_an_unknown_position_begins_with_the_oldest_and_says_so(store, position):
    await create(store, "a")
    if position.epoch == "own":
        position = Cursor(store.epoch, position.offset)
    with structlog.testing.capture_logs() as logs, following(store, after=position) as follower:
        assert [event.type for event in await follower.receive_batch()] == ["a"]
    assert [log["event"] for log in logs] == ["position_unknown"]
    assert follower.statistics().missed == 0


async def test_what_was_removed_before_it_was_read_is_counted_and_logged(nursery):
    store = MemoryStore(retention=Retention(events=2))
    await nursery.start(store.run)
    await create(store, "a")
    with following(store, after=Cursor(store.epoch, 1)) as follower:
        await create(store, *"bcdef")
        await store._retire(store._retention, 0)
        with structlog.testing.capture_logs() as logs:
            assert [event.type for event in await follower.receive_batch()] == ["e", "f"]
    assert follower.statistics().missed == 3
    assert [(log["event"], log["missed"]) for log in logs] == [("events_missed", 3)]


async def test_who_begins_with_the_oldest_has_missed_nothing(nursery):
    store = MemoryStore(retention=Retention(events=1))
    await nursery.start(store.run)
    await create(store, *"abc")
    await store._retire(store._retention, 0)
    with structlog.testing.capture_logs() as logs, following(store) as follower:
        assert [event.type for event in await follower.receive_batch()] == ["c"]
    assert (logs, follower.statistics().missed) == ([], 0)


async def test_a_cancelled_wait_reads_nothing(store):
    with following(store) as follower:
        with trio.move_on_after(0):
            await follower.receive_batch()
        await create(store, "a")
        assert [event.type for event in await follower.receive_batch()] == ["a"]


async def test_receiving_is_a_checkpoint(store):
    await create(store, "a")
    with following(store) as follower:
        for receive in (follower.receive_batch, follower.receive_batch_nowait):
            with trio.testing.assert_checkpoints():
                await receive()


async def test_followers_miss_nothing_that_is_committed_while_they_read(store):
    seen = []

    async def read():
        with following(store) as follower, contextlib.suppress(trio.EndOfChannel):
            while len(seen) < 200:
                seen.extend(await follower.receive_batch())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(10):
            nursery.start_soon(create, store, *"a" * 20)
    assert [event.offset for event in seen] == list(range(1, 201))
