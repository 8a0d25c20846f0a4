"""The hub: numbering, who gets what from when on, and that no client delays or loses another's messages."""

from unittest.mock import patch

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from realtime import messages
from realtime.delivery import hub as hub_module
from realtime.delivery.connection import Connection
from realtime.delivery.errors import TooManyTopics, UnknownTopic
from realtime.delivery.hub import PENDING_MESSAGES, Hub
from realtime.delivery.outbox import Outbox
from realtime.delivery.topics import Topic
from realtime.policy.lag import Overflow
from realtime.settings import Settings, TopicSettings
from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree

from .conftest import a_world
from .memory_wire import MemoryWire

OLD = "drop_oldest"


def publish(world, count, topic=OLD, **options):
    return [world.hub.publish_nowait(topic, "m", {}, **options) for _ in range(count)]


async def settle():
    await wait_all_tasks_blocked()


# --- publishing ---


async def test_every_subscriber_gets_every_message_in_order(world):
    clients = [world.client(OLD) for _ in range(3)]
    await settle()
    assert publish(world, 5) == [1, 2, 3, 4, 5]
    await settle()
    assert [client.wire.offsets() for client in clients] == [[1, 2, 3, 4, 5]] * 3


async def test_a_message_has_its_topic_offset_type_and_data(world):
    client = world.client(OLD)
    await settle()
    world.hub.publish_nowait(OLD, "event", {"a": [1, None]})
    await settle()
    assert client.wire.messages[1] == {"type": "event", "topic": OLD, "offset": 1, "data": {"a": [1, None]}}


async def test_a_message_is_encoded_once_and_its_frame_shared(world):
    clients = [world.client(OLD) for _ in range(3)]
    await settle()
    with patch.object(messages, "published", wraps=messages.published) as encoder:
        publish(world, 1)
        await settle()
    assert encoder.call_count == 1
    assert len({id(client.wire.sent[-1]) for client in clients}) == 1


async def test_nothing_is_encoded_for_nobody_but_numbers_go_on(world):
    with patch.object(messages, "published", wraps=messages.published) as encoder:
        publish(world, 3)
    assert encoder.call_count == 0
    client = world.client(OLD)
    await settle()
    assert client.wire.messages == [
        {"type": "subscribed", "topic": OLD, "epoch": "e.1", "offset": 3, "recovered": False}
    ]
    assert publish(world, 1) == [4]


async def test_what_one_tick_publishes_is_offered_and_written_together(world):
    client = world.client(OLD)
    await settle()
    publish(world, 5)
    await settle()
    assert client.wire.batches == [1, 5]
    assert world.hub.statistics().deliveries == 1


async def test_what_cannot_be_encoded_is_the_publishers_error_and_leaves_no_hole(world):
    client = world.client(OLD)
    await settle()
    with pytest.raises(TypeError, match="no JSON form"):
        world.hub.publish_nowait(OLD, "m", object())
    assert publish(world, 1) == [1]
    await settle()
    assert client.wire.offsets() == [1]


async def test_an_unknown_topic_cannot_be_published_to(world):
    with pytest.raises(UnknownTopic, match="'nowhere' is not known"):
        world.hub.publish_nowait("nowhere", "m", {})
    with pytest.raises(UnknownTopic):
        await world.hub.publish("nowhere", "m", {})


async def test_publishing_is_not_stopped_by_the_absence_of_the_flusher_and_stays_bounded():
    async with a_world(flusher=False) as world:
        client = world.client(OLD, max_messages=10_000)
        await settle()
        publish(world, PENDING_MESSAGES - 1)
        await settle()
        assert client.wire.offsets() == []
        assert world.hub.statistics().pending == PENDING_MESSAGES - 1
        publish(world, PENDING_MESSAGES + 1)
        assert world.hub.statistics().pending < PENDING_MESSAGES
        await settle()
        assert client.wire.offsets() == list(range(1, 2 * PENDING_MESSAGES + 1))


async def test_pending_messages_are_bounded_by_their_bytes_too():
    async with a_world(flusher=False) as world:
        client = world.client(OLD, max_messages=100, max_bytes=10**7)
        await settle()
        for _ in range(3):
            world.hub.publish_nowait(OLD, "m", "x" * 100_000)
        await settle()
        assert client.wire.offsets() == [1, 2, 3]


# --- subscribing ---


async def test_a_subscription_starts_at_the_current_offset_and_after_its_confirmation(world):
    early = world.client(OLD)
    await settle()
    publish(world, 2)
    late = world.client(OLD)  # subscribes before the flusher has had its turn
    await settle()
    publish(world, 1)
    await settle()
    assert early.wire.offsets() == [1, 2, 3]
    assert late.wire.types() == ["subscribed", "m"]
    assert late.wire.messages[0]["offset"] == 2
    assert late.wire.offsets() == [3]


async def test_subscribing_in_the_same_step_as_publishing_gets_only_what_follows(world):
    client = world.client(OLD)
    other = world.client()
    await settle()
    publish(world, 2)
    told = world.hub.subscribe(other, OLD)
    publish(world, 2)
    await settle()
    assert (told.topic, told.epoch, told.offset, told.conflate) == (OLD, "e.1", 2, False)
    assert other.wire.offsets() == [3, 4]
    assert client.wire.offsets() == [1, 2, 3, 4]


async def test_conflation_is_announced(world):
    client = world.client("conflate")
    await settle()
    assert client.wire.messages[0]["conflate"] is True


async def test_subscribing_again_confirms_again_and_doubles_nothing(world):
    client = world.client(OLD)
    await settle()
    publish(world, 1)
    world.hub.subscribe(client, OLD)
    publish(world, 1)
    await settle()
    assert client.wire.types() == ["subscribed", "m", "subscribed", "m"]
    assert client.wire.messages[2]["offset"] == 1
    assert world.hub.subscribers(OLD) == 1


async def test_unsubscribing_is_confirmed_behind_what_was_published_before(world):
    client = world.client(OLD)
    await settle()
    publish(world, 1)
    assert world.hub.unsubscribe(client, OLD)
    publish(world, 1)
    await settle()
    assert client.wire.types() == ["subscribed", "m", "unsubscribed"]
    assert client.wire.messages[2]["code"] == "requested"
    assert world.hub.subscribers(OLD) == 0
    assert not client.topics


async def test_unsubscribing_from_what_one_is_not_subscribed_to_says_nothing(world):
    client = world.client(OLD)
    await settle()
    assert not world.hub.unsubscribe(client, "conflate")
    assert not world.hub.unsubscribe(client, "nowhere")
    await settle()
    assert client.wire.types() == ["subscribed"]


async def test_the_server_can_end_a_subscription_with_its_reason(world):
    client = world.client(OLD)
    await settle()
    world.hub.unsubscribe(client, OLD, code="not_allowed", message="no longer")
    await settle()
    assert client.wire.messages[1] == {
        "type": "unsubscribed",
        "topic": OLD,
        "code": "not_allowed",
        "message": "no longer",
    }


async def test_an_unknown_topic_is_refused_and_the_connection_stays(world):
    client = world.client(OLD)
    await settle()
    with pytest.raises(UnknownTopic):
        world.hub.subscribe(client, "nowhere")
    publish(world, 1)
    await settle()
    assert client.wire.offsets() == [1]


async def test_a_connection_has_a_bounded_number_of_topics():
    hub = Hub(lambda name: TopicSettings(), max_topics_per_connection=2)
    hub.declare("room/*")
    connection = Connection("c1", MemoryWire())
    hub.subscribe(connection, "room/1")
    hub.subscribe(connection, "room/2")
    with pytest.raises(TooManyTopics, match="at most 2 topics"):
        hub.subscribe(connection, "room/3")
    hub.subscribe(connection, "room/2")
    hub.unsubscribe(connection, "room/1")
    hub.subscribe(connection, "room/3")
    assert list(connection.topics) == ["room/2", "room/3"]


async def test_waiting_for_a_subscriber_ends_when_one_comes(world):
    came = []

    async def wait():
        await world.hub.wait_for_subscriber(OLD)
        came.append(world.hub.subscribers(OLD))

    world.nursery.start_soon(wait)
    world.nursery.start_soon(wait)
    await settle()
    assert came == []
    world.client(OLD)
    await settle()
    assert came == [1, 1]
    with assert_checkpoints():
        await world.hub.wait_for_subscriber(OLD)


async def test_waiting_for_a_subscriber_of_an_unknown_topic_is_an_error(world):
    with pytest.raises(UnknownTopic):
        await world.hub.wait_for_subscriber("nowhere")


# --- topics that come and go ---


async def test_a_topic_known_by_its_prefix_lives_as_long_as_its_subscribers(world):
    world.hub.declare("drop_oldest/*")
    name = "drop_oldest/s1"
    assert publish(world, 2, name) == [0, 0]
    first = world.client(name)
    await settle()
    assert publish(world, 2, name) == [1, 2]
    first.close(1000)
    await settle()
    assert name not in [topic.topic for topic in world.hub.topics()]
    again = world.client(name)
    await settle()
    assert again.wire.messages[0]["offset"] == 0
    assert again.wire.messages[0]["epoch"] != first.wire.messages[0]["epoch"]


async def test_names_nobody_listens_to_leave_nothing_behind(world):
    world.hub.declare("drop_oldest/*")
    before = world.hub.statistics().topics
    for number in range(1000):
        publish(world, 1, f"drop_oldest/{number}")
        client = Connection("c", MemoryWire())
        world.hub.subscribe(client, f"drop_oldest/{number}")
        publish(world, 1, f"drop_oldest/{number}")
        world.hub.drop(client)
    await settle()
    assert world.hub.statistics().topics == before


async def test_a_declared_topic_keeps_its_numbers_without_subscribers_until_it_is_retracted(world):
    world.hub.declare("drop_oldest/*")
    world.hub.declare("drop_oldest/t1")
    publish(world, 2, "drop_oldest/t1")
    world.hub.declare("drop_oldest/t1")
    client = world.client("drop_oldest/t1")
    await settle()
    assert client.wire.messages[0]["offset"] == 2
    world.hub.retract("drop_oldest/t1")
    assert publish(world, 1, "drop_oldest/t1") == [3]
    client.close(1000)
    await settle()
    assert publish(world, 1, "drop_oldest/t1") == [0]


async def test_a_retracted_topic_takes_no_new_subscribers(world):
    world.hub.declare("drop_oldest:x")
    client = world.client("drop_oldest:x")
    await settle()
    world.hub.retract("drop_oldest:x")
    world.hub.retract("nowhere")
    with pytest.raises(UnknownTopic):
        world.hub.subscribe(world.client(), "drop_oldest:x")
    assert world.hub.subscribers("drop_oldest:x") == 1
    client.close(1000)


async def test_what_is_retained_is_sent_to_late_subscribers_before_anything_newer(world):
    world.hub.declare("conflate:queue", retain=True)
    for key in "aba":
        world.hub.publish_nowait("conflate:queue", "m", key, key=key)
    client = world.client("conflate:queue")
    await settle()
    world.hub.publish_nowait("conflate:queue", "m", "b", key="b")
    await settle()
    assert client.wire.types() == ["subscribed", "m", "m", "m"]
    assert client.wire.messages[0]["offset"] == 3
    assert client.wire.offsets() == [2, 3, 4]


async def test_what_is_retained_can_be_forgotten(world):
    world.hub.declare("conflate:queue", retain=True)
    publish(world, 1, "conflate:queue")
    world.hub.forget("conflate:queue")
    world.hub.forget("nowhere")
    client = world.client("conflate:queue")
    await settle()
    assert client.wire.types() == ["subscribed"]


async def test_what_is_retained_is_bounded(world):
    world.hub.declare("conflate:queue", retain=True)
    for number in range(300):
        world.hub.publish_nowait("conflate:queue", "m", number, key=str(number))
    client = world.client("conflate:queue", max_messages=1000)
    await settle()
    assert client.wire.offsets() == list(range(201, 301))


async def test_a_retained_message_that_still_waits_in_the_outbox_can_be_sent_again(world):
    world.hub.declare("conflate:queue", retain=True)
    client = world.client("conflate:queue", stalled=True)
    await settle()
    publish(world, 1, "conflate:queue")
    await settle()
    world.hub.unsubscribe(client, "conflate:queue")
    world.hub.subscribe(client, "conflate:queue")
    client.wire.release()
    await settle()
    assert client.wire.types() == ["subscribed", "unsubscribed", "subscribed", "m"]


async def test_what_is_retained_and_still_waits_is_not_confused_with_its_copy(world):
    world.hub.declare("drop_oldest:state", retain=True)
    client = world.client("drop_oldest:state", stalled=True, max_messages=2)
    await settle()
    publish(world, 1, "drop_oldest:state")
    await settle()
    world.hub.unsubscribe(client, "drop_oldest:state")
    world.hub.subscribe(client, "drop_oldest:state")
    publish(world, 1, "drop_oldest:state")
    await settle()
    client.wire.release()
    await settle()
    assert client.wire.types() == ["subscribed", "m", "unsubscribed", "subscribed", "gap", "m"]
    assert client.wire.offsets() == [1, (1, 1), 2]


# --- stored topics ---


async def test_a_stored_topic_has_the_stores_epoch_and_offsets(world):
    world.hub.set_topic_position(OLD, "store", 41)
    client = world.client(OLD)
    await settle()
    assert client.wire.messages[0]["epoch"] == "store"
    assert client.wire.messages[0]["offset"] == 41
    assert world.hub.publish_nowait(OLD, "m", {}, offset=42) == 42
    await settle()
    assert client.wire.offsets() == [42]


@pytest.mark.parametrize("offset", [41, 40, 0])
async def test_an_offset_that_is_not_beyond_the_last_is_refused(world, offset):
    world.hub.set_topic_position(OLD, "store", 41)
    with pytest.raises(ValueError, match="greater than 41"):
        world.hub.publish_nowait(OLD, "m", {}, offset=offset)
    assert publish(world, 1) == [42]


async def test_a_position_does_not_go_back_within_an_epoch(world):
    world.hub.set_topic_position(OLD, "store", 41)
    with pytest.raises(ValueError, match="at least 41"):
        world.hub.set_topic_position(OLD, "store", 40)
    with pytest.raises(UnknownTopic):
        world.hub.set_topic_position("nowhere", "store", 40)


async def test_subscribers_are_told_when_offsets_start_anew(world):
    client = world.client(OLD)
    await settle()
    publish(world, 2)
    world.hub.set_topic_position(OLD, "store", 7)
    world.hub.set_topic_position(OLD, "store", 7)
    publish(world, 1)
    await settle()
    assert client.wire.types() == ["subscribed", "m", "m", "subscribed", "m"]
    assert client.wire.offsets() == [1, 2, 8]
    assert client.wire.messages[3]["epoch"] == "store"


async def test_offsets_of_the_store_may_leap(world):
    world.hub.publish_nowait(OLD, "m", {}, offset=50)
    assert publish(world, 1) == [51]


async def test_what_was_retained_does_not_outlive_its_epoch(world):
    world.hub.declare("conflate:state", retain=True)
    publish(world, 3, "conflate:state")
    world.hub.set_topic_position("conflate:state", "store", 0)
    client = world.client("conflate:state")
    await settle()
    assert client.wire.types() == ["subscribed"]


# --- the slow ---


async def test_a_stalled_client_delays_nobody_and_stays_within_its_bounds(world, autojump_clock):
    stalled = world.client(OLD, stalled=True, max_messages=10, max_bytes=2000)
    healthy = [world.client(OLD, max_messages=10) for _ in range(5)]
    await settle()
    for number in range(1, 101):
        publish(world, 1)
        await settle()
        assert healthy[-1].wire.offsets()[-1] == number
        figures = stalled.outbox.statistics()
        assert figures.queued_messages <= 10 + 1
        assert figures.queued_bytes <= 2000
    assert trio.current_time() == 0
    assert all(client.wire.offsets() == list(range(1, 101)) for client in healthy)
    stalled.wire.release()
    await settle()
    # The first was being written when it stalled; then what was dropped, in its place; then the latest.
    assert stalled.wire.offsets() == [(1, 90), *range(91, 101)]
    assert {topic.topic: topic.dropped for topic in world.hub.topics()}[OLD] == 90
    assert stalled.statistics().dropped == 90


async def test_a_client_too_slow_for_a_topic_that_disconnects_is_closed_with_4000(world, autojump_clock):
    slow = world.client("disconnect", stalled=True, max_messages=3)
    other = world.client("disconnect", max_messages=3)
    await settle()
    for _ in range(10):
        publish(world, 1, "disconnect")
        await settle()
    await trio.sleep(5)
    assert slow.closed.code == 4000
    assert slow.closed.reason == "too slow"
    assert other.wire.offsets() == list(range(1, 11))
    assert world.hub.subscribers("disconnect") == 1
    assert world.hub.statistics().dropped == 0


async def test_a_conflated_topic_skips_to_the_latest_without_a_gap(world):
    client = world.client("conflate", stalled=True)
    await settle()
    publish(world, 50, "conflate")
    await settle()
    client.wire.release()
    await settle()
    assert client.wire.offsets() == [50]
    assert client.outbox.statistics().conflated == 49


# --- publishers that wait ---


async def test_publish_waits_for_nobody_who_has_room(world, autojump_clock):
    client = world.client("wait")
    await settle()
    with assert_checkpoints():
        assert await world.hub.publish("wait", "m", {}) == 1
    await settle()
    assert client.wire.offsets() == [1]
    assert trio.current_time() == 0


async def test_publish_waits_for_room_while_the_others_have_the_message_already(world, autojump_clock):
    slow = world.client("wait", stalled=True, max_messages=2)
    fast = world.client("wait", max_messages=2)
    await settle()
    published = []

    async def publisher():
        for _ in range(5):
            published.append(await world.hub.publish("wait", "m", {}))

    world.nursery.start_soon(publisher)
    await settle()
    assert published == [1, 2]  # the confirmation is being written, two wait, the third is held
    assert fast.wire.offsets() == [1, 2, 3]
    assert slow.outbox.statistics().held == 1
    slow.wire.release()
    await settle()
    assert published == [1, 2, 3, 4, 5]
    assert slow.wire.offsets() == fast.wire.offsets() == [1, 2, 3, 4, 5]
    assert trio.current_time() == 0


async def test_publish_waits_at_most_wait_seconds_and_then_disconnects(world, autojump_clock):
    slow = world.client("wait", stalled=True, max_messages=1, write_timeout=100)
    await settle()
    await world.hub.publish("wait", "m", {})
    assert await world.hub.publish("wait", "m", {}) == 2
    assert trio.current_time() == 1
    assert slow.outbox.closing == (4000, "too slow")


async def test_a_cancelled_publisher_disconnects_who_still_has_no_room(world):
    slow = world.client("wait", stalled=True, max_messages=1)
    await settle()
    await world.hub.publish("wait", "m", {})
    with trio.move_on_after(0) as scope:
        await world.hub.publish("wait", "m", {})
    assert scope.cancelled_caught
    assert slow.outbox.closing == (4000, "too slow")


async def test_a_publisher_does_not_wait_for_a_client_that_leaves(world, autojump_clock):
    slow = world.client("wait", stalled=True, max_messages=1)
    await settle()
    await world.hub.publish("wait", "m", {})
    world.nursery.start_soon(world.hub.publish, "wait", "m", {})
    await settle()
    assert slow.outbox.statistics().held == 1
    world.hub.unsubscribe(slow, "wait")
    await settle()
    assert slow.outbox.statistics().held == 0
    assert slow.outbox.closing is None
    assert trio.current_time() == 0


async def test_two_publishers_that_wait_are_served_in_order(world, autojump_clock):
    slow = world.client("wait", stalled=True, max_messages=1)
    await settle()
    await world.hub.publish("wait", "m", {})
    for _ in range(3):
        world.nursery.start_soon(world.hub.publish, "wait", "m", {})
    await settle()
    assert slow.outbox.statistics().held == 3
    slow.wire.release()
    await settle()
    assert slow.wire.offsets() == [1, 2, 3, 4]


async def test_publish_nowait_on_a_topic_that_waits_disconnects_who_has_no_room(world):
    slow = world.client("wait", stalled=True, max_messages=2)
    await settle()
    publish(world, 3, "wait")
    await settle()
    assert slow.outbox.closing == (4000, "too slow")


async def test_publish_on_any_other_topic_is_publish_nowait_with_a_checkpoint(world):
    client = world.client(OLD, stalled=True, max_messages=1)
    await settle()
    with assert_checkpoints():
        assert await world.hub.publish(OLD, "m", {}) == 1
    world.hub.declare("wait/*")
    with assert_checkpoints():
        assert await world.hub.publish("wait/nobody", "m", {}) == 0
    client.close(1000)


# --- the flusher ---


async def test_a_crash_of_the_flusher_loses_no_message_and_no_subscriber():
    async with a_world(flusher=False) as world:
        clients = [world.client(OLD, max_messages=1000) for _ in range(3)]
        await settle()
        offset = 0
        for _ in range(5):
            await world.start_flusher()
            publish(world, 2)
            offset += 2
            await settle()
            world.flusher.cancel()
            publish(world, 3)
            offset += 3
            await settle()
        await world.start_flusher()
        await settle()
        assert all(client.wire.offsets() == list(range(1, offset + 1)) for client in clients)


async def test_under_a_supervisor_a_crash_of_the_flusher_is_a_restart_that_no_client_notices(autojump_clock):
    async with a_world(flusher=False) as world:
        spec = SupervisorSpec([ChildSpec("hub", world.hub.run, backoff=Backoff(first=0.5, maximum=5.0))])
        async with open_tree(spec, id="root") as tree:
            client = world.client(OLD, max_messages=100)
            await settle()
            for _ in range(3):
                publish(world, 2)
                tree.crash("hub", RuntimeError("a bug"))
                publish(world, 2)
                await settle()
                publish(world, 1)  # the first restart comes at once, the others after a delay
                await trio.sleep(3)
            assert client.wire.offsets() == list(range(1, 16))
            assert client.closed is None
            assert tree.find("hub").restarts == 3
            assert tree.find("hub").stats["published"] == 15


async def test_a_flusher_cancelled_between_two_subscribers_leaves_nobody_out_and_serves_nobody_twice():
    with patch.object(hub_module, "STEPS_PER_CHECKPOINT", 2):
        async with a_world(flusher=False) as world:
            clients = [world.client(OLD, max_messages=1000) for _ in range(7)]
            await settle()
            scope = trio.CancelScope()

            async def run_for_one_step():
                with scope:
                    await world.hub.run()

            publish(world, 3)
            world.nursery.start_soon(run_for_one_step)
            await trio.lowlevel.checkpoint()
            scope.cancel()
            await settle()
            served = [bool(client.wire.offsets()) for client in clients]
            assert True in served
            assert False in served
            # Meanwhile everything goes on, and whatever has to be in order finishes what was begun.
            publish(world, 2)
            late = world.client(OLD)
            await settle()
            publish(world, 1)
            await world.start_flusher()
            await settle()
            assert all(client.wire.offsets() == [1, 2, 3, 4, 5, 6] for client in clients)
            assert late.wire.offsets() == [6]


async def test_who_leaves_while_a_delivery_pauses_gets_nothing_of_it():
    with patch.object(hub_module, "STEPS_PER_CHECKPOINT", 2):
        async with a_world(flusher=False) as world:
            clients = [world.client(OLD) for _ in range(5)]
            await settle()
            publish(world, 1)
            scope = trio.CancelScope()

            async def run():
                with scope:
                    await world.hub.run()

            world.nursery.start_soon(run)
            await trio.lowlevel.checkpoint()
            scope.cancel()
            await settle()
            [left, *_] = [client for client in clients if not client.wire.offsets()]
            world.hub.drop(left)
            await world.start_flusher()
            await settle()
            assert left.wire.offsets() == []
            assert sum(client.wire.offsets() == [1] for client in clients) == 4


async def test_an_outbox_that_fails_is_the_flushers_crash_and_only_its_own_connections_end(nursery):
    crashes = []
    async with a_world(flusher=False) as world:
        clients = [world.client(OLD) for _ in range(3)]
        await settle()
        with patch.object(clients[1].outbox, "_queue", None):  # any use of it raises AttributeError
            publish(world, 1)
            with pytest.raises(AttributeError) as crash:
                await world.hub.run()
            crashes.append(crash.value)
        await world.start_flusher()
        await settle()
        publish(world, 1)
        await settle()
        assert clients[0].wire.offsets() == clients[2].wire.offsets() == [1, 2]
        assert len(crashes) == 1


async def test_an_outbox_that_fails_in_a_publishers_hands_is_the_flushers_crash_all_the_same():
    async with a_world(flusher=False) as world:
        bad, good = world.client("wait"), world.client("wait")
        await settle()

        class Failing(Outbox):
            def offer(self, message):
                raise RuntimeError("a bug")

        bad.outbox = Failing()
        assert await world.hub.publish("wait", "m", {}) == 1
        await settle()
        assert good.wire.offsets() == [1]
        assert bad.outbox.closing == (1011, "internal error")
        with pytest.raises(RuntimeError, match="a bug"):
            await world.hub.run()


async def test_a_busy_topic_does_not_keep_another_waiting():
    turns = []

    def deliver(topic, max_steps):
        turns.append(topic.name)
        return original(topic, max_steps)

    original = Topic.deliver
    async with a_world() as world:
        busy = [world.client(OLD) for _ in range(10)]
        quiet = world.client("drop_newest")
        await settle()
        with patch.object(hub_module, "STEPS_PER_CHECKPOINT", 4), patch.object(Topic, "deliver", deliver):
            publish(world, 1)
            publish(world, 1, "drop_newest")
            await settle()
        assert turns[:3] == [OLD, "drop_newest", OLD]
        assert all(client.wire.offsets() == [1] for client in [*busy, quiet])


async def test_a_message_that_was_pending_for_somebody_who_left_goes_nowhere(world):
    client = world.client(OLD)
    await settle()
    publish(world, 1)
    world.hub.drop(client)
    await settle()
    assert client.wire.offsets() == []
    assert world.hub.statistics().pending == 0


async def test_the_flusher_is_up_when_it_says_so_and_shows_the_hubs_figures(nursery):
    hub = Hub(Settings().topic)
    assert await nursery.start(hub.run) is hub
    assert hub.statistics().connections == 0


# --- figures ---


async def test_each_topic_is_counted(world):
    world.client(OLD, stalled=True, max_messages=2)
    world.client(OLD)
    await settle()
    publish(world, 5)
    await settle()
    [figures] = [topic for topic in world.hub.topics() if topic.topic == OLD]
    assert (figures.subscribers, figures.published, figures.offset) == (2, 5, 5)
    assert figures.dropped == 3
    assert figures.epoch == "e.1"
    assert figures.overflow is Overflow.DROP_OLDEST
    assert [topic.topic for topic in world.hub.topics()] == sorted(overflow.value for overflow in Overflow)


async def test_losses_of_a_topic_that_is_gone_are_not_forgotten(world):
    world.hub.declare("drop_oldest/*")
    client = world.client("drop_oldest/x", stalled=True, max_messages=2)
    await settle()
    publish(world, 5, "drop_oldest/x")
    await settle()
    world.hub.drop(client)
    assert world.hub.statistics().dropped == 3
    assert world.hub.statistics().published == 5


async def test_epochs_differ_from_process_to_process():
    hubs = [Hub(Settings().topic) for _ in range(2)]
    for hub in hubs:
        hub.declare("clock")
    assert hubs[0].topics()[0].epoch != hubs[1].topics()[0].epoch


# --- connections ---


async def test_connecting_and_leaving_are_logged_with_the_number_of_connections(world):
    with capture_logs() as logs:
        one = world.client()
        await settle()
        two = world.client()
        await settle()
        one.close(4401, "who are you")
        await settle()
        two.wire.peer_closes(1001)
        await settle()
    assert logs == [
        {"event": "connected", "log_level": "info", "connection_id": "c1", "connections": 1},
        {"event": "connected", "log_level": "info", "connection_id": "c2", "connections": 2},
        {
            "event": "disconnected",
            "log_level": "info",
            "connection_id": "c1",
            "code": 4401,
            "reason": "who are you",
            "connections": 1,
        },
        {
            "event": "disconnected",
            "log_level": "info",
            "connection_id": "c2",
            "code": 1001,
            "reason": "",
            "connections": 0,
        },
    ]


async def test_a_connection_that_ends_leaves_no_subscription(world):
    client = world.client(OLD, "conflate")
    await settle()
    client.wire.peer_closes()
    await settle()
    assert world.hub.subscribers(OLD) == world.hub.subscribers("conflate") == 0
    assert world.hub.get("c1") is None
    world.hub.drop(client)


async def test_who_comes_to_a_topic_with_presence_and_who_leaves_is_told(nursery):
    hub = Hub(lambda name: TopicSettings(presence=name == "room"))
    hub.declare("room")
    hub.declare("plain")
    told = []
    hub.on_subscribe.append(lambda connection, subscription: told.append(("in", connection.id, subscription.offset)))
    hub.on_leave.append(lambda connection, topic: told.append(("out", connection.id, topic)))
    one, other = Connection("c1", MemoryWire()), Connection("c2", MemoryWire())
    for connection in (one, other):
        hub.register(connection)
        for topic in ("plain", "room"):
            hub.subscribe(connection, topic)
    hub.subscribe(one, "room")
    hub.publish_nowait("room", "m", 1)
    hub.unsubscribe(one, "room")
    hub.drop(other)
    assert told == [("in", "c1", 0), ("in", "c2", 0), ("in", "c1", 0), ("out", "c1", "room"), ("out", "c2", "room")]


async def test_the_listeners_and_the_offset_of_a_topic_can_be_seen(world):
    client = world.client(OLD)
    await settle()
    publish(world, 2)
    assert list(world.hub.listeners(OLD)) == [client]
    assert world.hub.offset(OLD) == 2
    assert (list(world.hub.listeners("nowhere")), world.hub.offset("nowhere")) == ([], 0)
