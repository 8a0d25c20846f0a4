"""Emitting: to whom, in which order, from where, and what is said of what became of it."""

import threading
from datetime import datetime
from unittest.mock import patch

import pytest
import trio
from trio.testing import assert_checkpoints

from realtime import messages
from realtime.actors import emitter as emitter_module
from realtime.actors.emitter import MAX_WAITING, STEPS_PER_CHECKPOINT, EmitFailed, EmitRefused, Emitter, Reached
from realtime.delivery.acknowledgements import Acknowledgements
from realtime.delivery.hub import Hub
from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree
from tests.realtime.delivery.byte_wire import ByteWire
from tests.realtime.delivery.memory_wire import MemoryWire

from .sessions import Sessions, heard, settings_of, settle


class World(Sessions):
    def __init__(self, nursery, **options):
        hub = Hub(settings_of, epoch="e")
        super().__init__(hub, nursery)
        for topic in ("session/*", "room/*", "news"):
            hub.declare(topic)
        self.emitter = Emitter(hub, **options)

    async def start(self):
        await self.nursery.start(self.hub.run)
        await self.nursery.start(self.emitter.run)


@pytest.fixture
async def world(nursery):
    world = World(nursery)
    await world.start()
    return world


def types(connection):
    return [message["type"] for message in heard(connection)]


# --- to whom ---


async def test_it_arrives_as_the_contract_says(world):
    """Contract 3: ``{"type":event,"data":data,"timestamp":...}``."""
    one = world.join("s1")
    world.emitter.emit("greeting", {"text": "hello"}, to="session/s1")
    await settle()
    [message] = heard(one)
    assert list(message) == ["type", "data", "timestamp"]
    assert (message["type"], message["data"]) == ("greeting", {"text": "hello"})
    assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None


async def test_a_session_gets_it_on_all_of_its_connections_and_no_other_does(world):
    one, two, other = world.join("s1"), world.join("s1"), world.join("s2")
    assert await world.emitter.emit_and_wait("x", to="session/s1") == Reached(1, 2)
    await settle()
    assert [types(each) for each in (one, two, other)] == [["x"], ["x"], []]


async def test_a_topic_s_subscribers_get_it(world):
    inside, outside = world.join("s1", "room/1"), world.join("s1")
    second = world.join("s2", "room/1")
    assert await world.emitter.emit_and_wait("x", to="room/1") == Reached(2, 2)
    await settle()
    assert [types(each) for each in (inside, outside, second)] == [["x"], [], ["x"]]


async def test_without_an_address_every_session_gets_it(world):
    clients = [world.join("s1"), world.join("s1"), world.join("s2")]
    assert await world.emitter.emit_and_wait("x", 1) == Reached(2, 3)
    await settle()
    assert all(types(each) == ["x"] for each in clients)


async def test_a_fixed_stream_stays_as_it_is(world):
    stream = world.join(None, "news")
    assert await world.emitter.emit_and_wait("x") == Reached(0, 0)
    assert await world.emitter.emit_and_wait("x", to="news") == Reached(0, 0)
    await settle()
    assert types(stream) == []


async def test_who_has_left_its_session_s_topic_wants_nothing_of_it(world):
    one = world.join("s1")
    world.hub.unsubscribe(one, "session/s1")
    assert await world.emitter.emit_and_wait("x") == Reached(0, 0)
    assert await world.emitter.emit_and_wait("x", to="session/s1") == Reached(0, 0)


async def test_nobody_there_is_no_error(world):
    assert await world.emitter.emit_and_wait("x", to="session/nobody") == Reached(0, 0)
    assert await world.emitter.emit_and_wait("x", to="no/such/topic") == Reached(0, 0)


async def test_the_numbers_of_topics_are_left_alone(world):
    one = world.join("s1", "room/1")
    await world.emitter.emit_and_wait("x", to="room/1")
    world.hub.publish_nowait("room/1", "room_update", 1)
    await settle()
    assert [message.get("offset") for message in heard(one)] == [None, 1]


# --- what is refused ---


@pytest.mark.parametrize("event", sorted(messages.RESERVED_TYPES))
async def test_the_protocol_s_own_types_are_reserved(world, event):
    with pytest.raises(ValueError, match="is reserved for the protocol's own messages"):
        world.emitter.emit(event)


@pytest.mark.parametrize("event", ["", "two words", "x" * 129, "bad\n"])
async def test_an_event_has_a_name(world, event):
    with pytest.raises(ValueError, match=r"^event must be 1 to 128 characters"):
        world.emitter.emit(event)


async def test_an_address_is_a_topic(world):
    with pytest.raises(ValueError, match=r"^to must be a topic's name"):
        world.emitter.emit("x", to="a//b")


async def test_data_has_a_json_form(world):
    with pytest.raises(TypeError, match="has no JSON form"):
        world.emitter.emit("x", object())
    assert world.emitter.statistics().waiting == 0


async def test_the_inbox_is_bounded_and_says_so(nursery):
    world = World(nursery)
    for _ in range(MAX_WAITING):
        world.emitter.emit("x")
    with pytest.raises(EmitRefused, match=f"{MAX_WAITING} messages wait to be sent already"):
        world.emitter.emit("x")
    one = world.join("s1", max_messages=2 * MAX_WAITING)
    await world.start()
    await settle()
    assert len(heard(one)) == MAX_WAITING
    figures = world.emitter.statistics()
    assert (figures.emitted, figures.refused, figures.reached, figures.waiting) == (MAX_WAITING, 1, MAX_WAITING, 0)


async def test_the_inbox_is_bounded_in_bytes(nursery):
    world = World(nursery)
    with patch.object(emitter_module, "MAX_WAITING_BYTES", 1000):
        world.emitter.emit("x", "y" * 500)
        with pytest.raises(EmitRefused):
            world.emitter.emit("x", "y" * 500)
        await world.start()
        await settle()
        world.emitter.emit("x", "y" * 500)


# --- order, and who lags ---


async def test_messages_arrive_in_the_order_in_which_they_were_emitted(world):
    one = world.join("s1", "room/1")
    for number in range(50):
        world.emitter.emit("x", number, to=(None, "room/1", "session/s1")[number % 3])
    await settle()
    assert [message["data"] for message in heard(one)] == list(range(50))


async def test_who_lags_loses_the_oldest_and_is_told(world):
    slow, other = world.join("s1", stalled=True, max_messages=3), world.join("s2")
    world.hub.publish_nowait("session/s1", "note", 0)
    await settle()
    for number in range(6):
        await world.emitter.emit_and_wait("x", number)
    slow.wire.release()
    await settle()
    assert [message["data"] for message in heard(other)] == list(range(6))
    found = [message.get("data", message["type"]) for message in heard(slow)]
    assert found[-3:] == [3, 4, 5]
    [gap] = [message for message in heard(slow) if message["type"] == "gap"]
    assert (gap["topic"], gap["offset"]) == ("session/s1", 1)
    assert gap["missed"] + len(found) - 1 == 7


async def test_a_closing_connection_is_not_reached(world):
    one, two = world.join("s1", stalled=True), world.join("s1")
    one.close(1000)
    assert await world.emitter.emit_and_wait("x") == Reached(1, 1)
    await settle()
    assert types(two) == ["x"]


async def test_it_is_encoded_once_for_all(world):
    for number in range(20):
        world.join(f"s{number}")
    with patch.object(messages, "encode", side_effect=messages.encode) as encode:
        await world.emitter.emit_and_wait("x", {"for": "all"})
    assert encode.call_count == 1


async def test_others_get_their_turn_while_many_are_served(world):
    for number in range(4 * STEPS_PER_CHECKPOINT):
        world.join(f"s{number}")
    await settle()
    turns = []

    async def look():
        while True:
            turns.append(world.emitter.statistics().emitted)
            await trio.lowlevel.checkpoint()

    world.nursery.start_soon(look)
    await world.emitter.emit_and_wait("x")
    assert turns.count(0) >= 3


# --- from anywhere ---


async def test_threads_emit_as_the_loop_does(world):
    one = world.join("s1", max_messages=1000)
    await settle()

    def emit_some(name):
        for number in range(50):
            world.emitter.emit("x", [name, number])

    threads = [threading.Thread(target=emit_some, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await trio.to_thread.run_sync(thread.join)
    while world.emitter.statistics().emitted < 200:
        await trio.testing.wait_all_tasks_blocked(0.001)
    await settle()
    found = [message["data"] for message in heard(one)]
    for name in range(4):
        assert [number for who, number in found if who == name] == list(range(50))


async def test_a_thread_is_refused_when_the_inbox_is_full(nursery):
    world = World(nursery)

    def fill():
        for _ in range(MAX_WAITING + 1):
            world.emitter.emit("x")

    with pytest.raises(EmitRefused):
        await trio.to_thread.run_sync(fill)


def test_after_the_end_it_is_refused():
    emitters = []

    async def live():
        async with trio.open_nursery() as nursery:
            world = World(nursery)
            await world.start()
            emitters.append(world.emitter)
            nursery.cancel_scope.cancel()

    trio.run(live)
    caught = []

    def late():
        try:
            emitters[0].emit("x")
        except EmitRefused as error:
            caught.append(str(error))

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    assert caught == ["the system has ended"]


# --- waiting ---


async def test_waiting_is_a_checkpoint(world):
    with assert_checkpoints():
        await world.emitter.emit_and_wait("x")


async def test_what_nobody_waits_for_any_more_is_not_sent(nursery, autojump_clock):
    world = World(nursery)
    one = world.join("s1")
    with trio.move_on_after(1) as scope:
        await world.emitter.emit_and_wait("too_late")
    assert scope.cancelled_caught
    world.emitter.emit("in_time")
    await world.start()
    await settle()
    assert types(one) == ["in_time"]


class BrokenWire(ByteWire):
    """Fails in the hands of who writes an ``x`` to it directly."""

    def _write_directly(self, data):
        if b'"type":"x"' in data:
            raise RuntimeError("broken")
        return super()._write_directly(data)


async def test_a_crash_is_told_to_who_waits_and_the_next_incarnation_goes_on(nursery, autojump_clock):
    world = World(nursery)
    await nursery.start(world.hub.run)
    child = ChildSpec("emitter", world.emitter.run, backoff=Backoff(first=0.5, maximum=1))
    async with open_tree(SupervisorSpec([child])) as tree:
        bad = world.join("s1", wire=BrokenWire([10**9]))
        await settle()
        with pytest.raises(EmitFailed, match="crashed while it handed the message over") as failed:
            await world.emitter.emit_and_wait("x", to="session/s1")
        assert isinstance(failed.value.__cause__, RuntimeError)
        await settle()
        assert bad.closed is not None
        assert bad.closed.code == 1011
        good = world.join("s1")
        assert await world.emitter.emit_and_wait("y", to="session/s1") == Reached(1, 1)
        await settle()
        assert types(good) == ["y"]
        assert tree.snapshot().children[0].restarts == 1


async def test_a_stop_in_the_middle_is_told_to_who_waits(nursery):
    world = World(nursery)
    for number in range(2 * STEPS_PER_CHECKPOINT):
        world.join(f"s{number}")
    scope = trio.CancelScope()
    failures = []

    async def run():
        with scope:
            await world.emitter.run()

    async def ask():
        try:
            await world.emitter.emit_and_wait("x")
        except EmitFailed as error:
            failures.append(str(error))

    nursery.start_soon(ask)
    await settle()
    nursery.start_soon(run)
    await trio.lowlevel.checkpoint()
    scope.cancel()
    await settle()
    assert failures == ["the emitter was stopped while it handed the message over"]


# --- acknowledgements ---


def answering(world, after):
    """A client of the session ``s1`` that acknowledges what it is asked to, *after* so many seconds."""
    wire = AnsweringWire(world, after)
    wire.connection = world.join("s1", wire=wire)


class AnsweringWire(MemoryWire):
    """Acknowledges what it is asked to, after some seconds."""

    def __init__(self, world, after):
        super().__init__()
        self.world = world
        self.after = after
        self.connection = None

    async def send(self, frames_):
        await super().send(frames_)
        for message in self.messages[-len(frames_) :]:
            if "id" in message:
                self.world.nursery.start_soon(self.answer, message["id"])

    async def answer(self, id):
        await trio.sleep(self.after)
        self.world.emitter.acknowledge(self.connection, id)


async def test_every_client_is_waited_for(world, autojump_clock):
    for after in (1, 2, 3):
        answering(world, after)
    began = trio.current_time()
    assert await world.emitter.emit_and_wait("x", to="session/s1", ack=True) == Reached(1, 3, 3)
    assert trio.current_time() - began == 3
    assert world.emitter.statistics().acknowledged == 3
    assert world.emitter.statistics().outstanding == 0


async def test_the_first_may_be_enough(world, autojump_clock):
    for after in (1, 2, 3):
        answering(world, after)
    began = trio.current_time()
    assert await world.emitter.emit_and_wait("x", ack="first") == Reached(1, 3, 1)
    assert trio.current_time() - began == 1
    assert world.emitter.statistics().outstanding == 0
    await trio.sleep(3)
    assert world.emitter.statistics().unexpected == 2


async def test_after_the_deadline_what_came_counts(world, autojump_clock):
    answering(world, 1)
    answering(world, 7)
    began = trio.current_time()
    assert await world.emitter.emit_and_wait("x", ack=True, within=4) == Reached(1, 2, 1)
    assert trio.current_time() - began == 4


async def test_a_connection_that_ends_has_not_acknowledged_at_once(world, autojump_clock):
    silent = world.join("s1")
    answering(world, 0)
    found = []

    async def ask():
        found.append(await world.emitter.emit_and_wait("x", ack=True, within=60))

    began = trio.current_time()
    world.nursery.start_soon(ask)
    await trio.sleep(1)
    assert found == []
    silent.wire.peer_closes()
    await settle()
    assert found == [Reached(1, 2, 1)]
    assert trio.current_time() - began == 1


async def test_nobody_there_is_not_waited_for(world, autojump_clock):
    began = trio.current_time()
    assert await world.emitter.emit_and_wait("x", ack=True) == Reached(0, 0, 0)
    assert trio.current_time() == began


async def test_an_acknowledgement_that_nobody_owes_is_counted_and_nothing_else(world):
    one, two = world.join("s1"), world.join("s2")
    assert not world.emitter.acknowledge(one, "made-up")

    async def ask():
        await world.emitter.emit_and_wait("x", to="session/s1", ack=True)

    world.nursery.start_soon(ask)
    await settle()
    [id] = [message["id"] for message in heard(one)]
    assert not world.emitter.acknowledge(two, id)
    assert world.emitter.acknowledge(one, id)
    assert not world.emitter.acknowledge(one, id)
    assert world.emitter.statistics().unexpected == 3


async def test_outstanding_acknowledgements_are_bounded(nursery, autojump_clock):
    world = World(nursery, acknowledgements=Acknowledgements(3))
    await world.start()
    first, second = world.join("s1"), world.join("s1")

    async def ask():
        await world.emitter.emit_and_wait("x", ack=True, within=10)

    nursery.start_soon(ask)
    await settle()
    with pytest.raises(EmitRefused, match="3 acknowledgements are waited for already"):
        await world.emitter.emit_and_wait("y", ack=True)
    assert types(first) == ["x"]
    second.wire.peer_closes()
    await settle()
    assert await world.emitter.emit_and_wait("z", ack=True, within=1) == Reached(1, 1, 0)


async def test_who_stops_waiting_is_owed_nothing(world):
    world.join("s1")
    with trio.CancelScope() as scope:
        world.nursery.start_soon(settle_then, scope.cancel)
        await world.emitter.emit_and_wait("x", ack=True)
    assert scope.cancelled_caught
    assert world.emitter.statistics().outstanding == 0


async def settle_then(act):
    await settle()
    act()
