import attrs
import pytest
import structlog
import trio
from trio.testing import assert_checkpoints

from realtime.actors.events import EventManager, event_type, open_events
from realtime.fields import BadField
from realtime.policy.pages import Cursor
from realtime.policy.selection import Selection
from realtime.policy.typed import GenericEvent
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


# --- classes of events -----------------------------------------------------------------------------------------------


@event_type("door_opened", severity="warning")
@attrs.frozen
class DoorOpened:
    door: int
    by: str | None = None


async def test_an_instance_of_a_class_is_stored_and_decoded_as_the_same(store):
    manager = EventManager(store, types=[DoorOpened])
    stored = await manager.create_event(DoorOpened(7, by="me"), source="hall", tags=["x"])
    assert (stored.type, stored.data, stored.severity) == ("door_opened", {"door": 7, "by": "me"}, "warning")
    assert (stored.source, stored.tags) == ("hall", ("x",))
    assert manager.decode(await store.get(stored.event_id)) == DoorOpened(7, by="me")


async def test_a_severity_of_ones_own_wins_over_the_class(store):
    manager = EventManager(store, types=[DoorOpened])
    assert (await manager.create_event(DoorOpened(7), severity="critical")).severity == "critical"


@pytest.mark.parametrize("how", ["fields", "new", "generic"])
async def test_nobody_can_create_an_event_that_does_not_fit_its_class(store, how):
    manager = EventManager(store)
    manager.register(DoorOpened)
    with pytest.raises(BadField) as caught:
        if how == "fields":
            await manager.create_event(type="door_opened", data={"door": "seven"})
        elif how == "new":
            await manager.create_event(NewEvent("door_opened", {"door": "seven"}))
        else:
            await manager.create_event(GenericEvent("door_opened", {"door": "seven"}))
    assert caught.value.field == "data.door"
    assert store.statistics().appended == 0


async def test_a_generic_event_may_have_any_type(store):
    manager = EventManager(store, types=[DoorOpened])
    stored = await manager.create_event(GenericEvent("window", {"open": True}), tags=["x"])
    assert manager.decode(stored) == GenericEvent("window", {"open": True})


async def test_what_is_no_event_is_refused(store):
    manager = EventManager(store)
    with pytest.raises(TypeError, match="DoorOpened is not registered"):
        await manager.create_event(DoorOpened(1))
    with pytest.raises(TypeError, match="not registered"):
        await manager.create_event("door_opened")
    with pytest.raises(TypeError, match="says everything itself"):
        await manager.create_event(NewEvent("t"), severity="error")
    with pytest.raises(TypeError, match="says its type"):
        await manager.create_event(GenericEvent("t"), type="u")
    assert store.statistics().appended == 0


# --- threads and receivers -------------------------------------------------------------------------------------------


async def test_an_event_from_a_thread_is_checked_logged_counted_and_published(store):
    published = []
    manager = EventManager(store, published.append, types=[DoorOpened])
    with structlog.testing.capture_logs() as logs:
        stored = await trio.to_thread.run_sync(lambda: manager.create_event_from_thread(DoorOpened(3), source="hall"))
    assert published == [stored]
    assert [log["event_id"] for log in logs] == [stored.event_id]
    assert manager.statistics().created == 1
    with pytest.raises(BadField, match=r"data\.door"):
        await trio.to_thread.run_sync(lambda: manager.create_event_from_thread(type="door_opened"))


async def test_a_subscriber_receives_what_it_wants_from_now_on(store):
    manager = EventManager(store)
    await manager.create_event(type="a")
    with manager.subscribe(Selection(types=("a",))) as events:
        stored = [await manager.create_event(type=type) for type in "aba"]
        assert [await events.receive(), await events.receive()] == [stored[0], stored[2]]
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()
    assert store.on_commit == []
    with pytest.raises(trio.EndOfChannel):
        events.receive_nowait()


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", "cd"), ("drop_newest", "ab")])
async def test_a_slow_subscriber_loses_events_and_holds_up_no_commit(store, overflow, kept):
    manager = EventManager(store)
    with manager.subscribe(capacity=2, overflow=overflow) as events:
        for type in "abcd":
            await manager.create_event(type=type)
        assert [events.receive_nowait().type for _ in "12"] == list(kept)
        assert events.statistics().dropped == 2


@pytest.mark.parametrize("overflow", ["wait", "refuse"])
async def test_a_subscriber_for_whom_a_commit_would_wait_is_refused(store, overflow):
    with pytest.raises(ValueError, match="overflow"), EventManager(store).subscribe(overflow=overflow):
        raise AssertionError("never reached")


async def test_whoever_follows_loses_nothing(store):
    manager = EventManager(store)
    with manager.follow() as follower:
        stored = [await manager.create_event(type=type) for type in "abcd"]
        assert await follower.receive_batch() == tuple(stored)
    with manager.follow(after=Cursor(store.epoch, 3)) as follower:
        assert await follower.receive_batch() == (stored[3],)


# --- alone -----------------------------------------------------------------------------------------------------------


async def test_any_trio_program_can_keep_events(tmp_path):
    async with open_events(tmp_path / "events.db", types=[DoorOpened]) as events:
        await events.create_event(DoorOpened(7))
    async with open_events(tmp_path / "events.db", types=[DoorOpened]) as events:
        (stored,) = (await events.store.query(EventQuery())).events
        assert events.decode(stored) == DoorOpened(7)
    with pytest.raises(StoreStopped):
        await events.create_event(DoorOpened(8))


async def test_leaving_by_an_error_or_a_cancellation_commits_what_is_queued(tmp_path):
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="ours")):
        async with open_events(tmp_path / "events.db") as events:
            await events.create_event(type="a")
            raise RuntimeError("ours")
    with trio.CancelScope() as scope:
        async with open_events(tmp_path / "events.db") as events:
            await events.create_event(type="b")
            scope.cancel()
            await trio.sleep_forever()
    async with open_events(tmp_path / "events.db") as events:
        assert [event.type for event in (await events.store.query(EventQuery())).events] == ["a", "b"]
