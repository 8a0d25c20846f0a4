import pytest
import structlog
import trio
from trio.testing import assert_checkpoints

from realtime.actors.events import EventManager
from realtime.fields import BadField
from realtime.ports import EventQuery, NewEvent, StoreStopped
from realtime.storage.memory import MemoryStore


@pytest.fixture
async def store(nursery):
    store = MemoryStore(clock=lambda: 1767225600.0)
    await nursery.start(store.run)
    return store


async def test_an_event_is_stored_and_returned(store):
    event = await EventManager(store).create_event(NewEvent("door_opened", {"door": 7}))
    assert (await store.query(EventQuery())).events == (event,)
    assert (event.type, event.data, event.offset) == ("door_opened", {"door": 7}, 1)


async def test_an_event_may_be_given_by_its_fields(store):
    event = await EventManager(store).create_event(
        type="t", data={"a": 1}, severity="error", source="here", tags=["x", "y"]
    )
    assert (event.type, event.data, event.severity, event.source) == ("t", {"a": 1}, "error", "here")
    assert event.tags == ("x", "y")


async def test_a_bad_field_is_named_and_nothing_is_stored(store):
    manager = EventManager(store)
    with pytest.raises(BadField, match="severity"):
        await manager.create_event(type="t", severity="loud")
    assert store.statistics().appended == 0
    assert manager.statistics().created == 0


async def test_creating_is_a_checkpoint(store):
    manager = EventManager(store)
    with assert_checkpoints():
        await manager.create_event(type="t")


async def test_each_event_is_published_once_in_the_order_of_its_commit_before_its_creator_knows(store):
    published = []
    manager = EventManager(store, published.append)

    async def create():
        event = await manager.create_event(type="t")
        assert event in published

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(create)
    assert [event.offset for event in published] == list(range(1, 51))
    assert (manager.statistics().created, manager.statistics().published) == (50, 50)


async def test_what_others_append_to_the_store_is_published_as_well(store):
    published = []
    manager = EventManager(store, published.append)
    event = await store.append(NewEvent("t"))
    assert published == [event]
    assert (manager.statistics().created, manager.statistics().published) == (0, 1)


async def test_an_event_whose_creator_was_cancelled_is_published_if_it_was_stored(store):
    published = []
    manager = EventManager(store, published.append)
    with trio.CancelScope() as scope:
        store.on_commit.append(lambda event: scope.cancel())
        await manager.create_event(type="t")
    assert scope.cancelled_caught
    assert [event.type for event in published] == ["t"]
    assert manager.statistics().created == 0


async def test_a_failing_publication_is_logged_with_its_traceback_and_counted_and_fails_no_creation(store):
    def publish(event):
        raise RuntimeError("no hub")

    manager = EventManager(store, publish)
    with structlog.testing.capture_logs() as logs:
        event = await manager.create_event(type="t")
    assert await store.get(event.event_id) == event
    failure = logs[0]
    assert (failure["event"], failure["log_level"], failure["exc_info"]) == ("event_publish_failed", "error", True)
    assert failure["event_id"] == event.event_id
    figures = manager.statistics()
    assert (figures.created, figures.published, figures.publish_failures) == (1, 0, 1)
    assert store.statistics().hand_over_failures == 0


async def test_each_creation_is_logged(store):
    manager = EventManager(store)
    with structlog.testing.capture_logs() as logs:
        event = await manager.create_event(type="door_opened", severity="critical", source="hall")
    # INFO whatever the event's own severity: that somebody reports a fire is no fault of this process.
    assert logs == [
        {
            "event": "event_created",
            "log_level": "info",
            "event_id": event.event_id,
            "event_type": "door_opened",
            "severity": "critical",
            "source": "hall",
            "offset": 1,
        }
    ]


async def test_without_a_running_store_nothing_is_created():
    published = []
    manager = EventManager(MemoryStore(), published.append)
    with pytest.raises(StoreStopped):
        await manager.create_event(type="t")
    assert published == []
