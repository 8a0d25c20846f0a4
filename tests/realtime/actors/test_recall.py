"""After a restart the hub knows the last events of the store."""

import trio
from structlog.testing import capture_logs

from realtime.actors import recall as module
from realtime.actors.recall import recall
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.policy.pages import Cursor
from realtime.policy.retention import Retention
from realtime.ports import NewEvent, StoreStopped
from realtime.settings import TopicSettings
from realtime.storage.memory import MemoryStore
from tests.realtime.delivery.memory_wire import MemoryWire


def made_hub(store, *, history=500, **options):
    hub = Hub(lambda name: TopicSettings(history=history), **options)
    hub.declare("events")
    hub.set_topic_position("events", store.epoch, store.last_offset)
    return hub


async def filled_store(nursery, count, **options):
    store = await nursery.start(MemoryStore(**options).run)
    for number in range(count):
        await store.append(NewEvent("n", {"n": number + 1}))
    return store


async def test_the_last_events_are_there_before_anybody_asks(nursery):
    store = await filled_store(nursery, 120)
    hub = made_hub(store)
    await recall(hub, store)
    assert hub.oldest("events") == (1, 380)
    connection = Connection("c", MemoryWire())
    hub.register(connection)
    assert hub.subscribe(connection, "events", Cursor(store.epoch, 117)).recovered
    assert b'"offset":118' in connection.outbox.receive_nowait()[1].payload
    nursery.cancel_scope.cancel()


async def test_as_many_are_read_as_the_topic_keeps(nursery):
    store = await filled_store(nursery, 120)
    hub = made_hub(store, history=70)
    await recall(hub, store)
    assert hub.oldest("events") == (51, 0)
    small = made_hub(store, history_bytes=2000)
    await recall(small, store)
    assert 100 < small.oldest("events")[0] <= 120
    nothing = made_hub(store, history=0)
    await recall(nothing, store)
    assert nothing.oldest("events") == (121, 0)
    nursery.cancel_scope.cancel()


async def test_events_that_expired_do_not_hide_those_that_are_there(nursery):
    store = await filled_store(nursery, 120, retention=Retention(events=63))
    store._held[:] = store._held[-63:]  # what the store does once a minute
    hub = made_hub(store)
    await recall(hub, store)
    assert hub.oldest("events")[0] == 58
    nursery.cancel_scope.cancel()


async def test_what_happens_meanwhile_is_not_lost(nursery):
    store = await filled_store(nursery, 60)
    hub = made_hub(store)
    store.on_commit.append(lambda event: hub.publish_nowait("events", "event", {}, offset=event.offset))
    async with trio.open_nursery() as both:
        both.start_soon(recall, hub, store)
        both.start_soon(store.append, NewEvent("late"))
    connection = Connection("c", MemoryWire())
    hub.register(connection)
    assert hub.subscribe(connection, "events", Cursor(store.epoch, 0)).recovered
    assert len(connection.outbox.receive_nowait()) == 62
    nursery.cancel_scope.cancel()


async def test_a_store_that_fails_or_hangs_holds_up_nobody(nursery, autojump_clock, monkeypatch):
    store = await filled_store(nursery, 3)
    hub = made_hub(store)

    async def stopped(*_):
        raise StoreStopped("the store is not running")

    async def hangs(*_):
        await trio.sleep_forever()

    for since in (stopped, hangs):
        monkeypatch.setattr(store, "since", since)
        with capture_logs() as lines:
            await recall(hub, store)
        assert [line["event"] for line in lines] == ["history_not_recalled"]
    assert trio.current_time() >= module.PATIENCE
    assert hub.oldest("events") == (4, 500)
    nursery.cancel_scope.cancel()
