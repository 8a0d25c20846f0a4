"""The order of bytes: a socket that takes any number of them at any moment, and a peer that reads each frame."""

from itertools import cycle
from unittest.mock import patch

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import CloseConnection

from realtime.delivery import frames, sender, topics

from .byte_wire import ByteWire
from .conftest import a_world
from .test_whole import Life, clients, steps

OLD = "drop_oldest"
BIG = 60_000
# Small, so that some messages are larger and have to go through the outbox, whose bound is not much larger either.
DIRECT_BYTES = 220

takes = st.lists(st.sampled_from([0, 1, 2, 7, 60, 130, 1000, 100_000]), min_size=1, max_size=20).filter(any)
more_steps = st.one_of(
    steps,
    st.tuples(st.just("pong"), clients),
    st.tuples(st.just("ping"), clients),
    st.tuples(st.just("publish_directly"), st.sampled_from(["conflate", OLD]), st.integers(0, 80)),
)
ends = st.sampled_from([None, (1000, "bye"), (4001, "no sign of life"), (1012, "retry-after=1.0"), "cancel", "peer"])


class DirectLife(Life):
    async def pong(self, number):
        self.clients[number].pong()

    async def ping(self, number):
        self.clients[number].ping(frames.ping(b"?"), frames.text(b'{"type":"ping"}'))

    async def publish_directly(self, topic, fill):
        """On topics that nobody waits for, some messages in one tick, with time to be taken."""
        await trio.sleep(0.01)
        for key in "ab":
            await self.publish(topic, key, fill)
        await wait_all_tasks_blocked()

    def check_bounds(self):
        super().check_bounds()
        for client in self.clients:
            assert client.direct is None or client.outbox.idle
            assert client.direct is None or client.wire.owed is None


@settings(max_examples=300, deadline=None)
@given(st.lists(more_steps, max_size=60), st.lists(takes, min_size=3, max_size=3), ends)
def test_whatever_the_kernel_takes_each_frame_is_whole_and_each_topic_in_order(plan, sockets, end):
    async def main():
        async with a_world() as world:
            wires = iter(sockets)
            life = DirectLife(world, lambda: ByteWire(next(wires), write_timeout=1000))
            await wait_all_tasks_blocked()
            for what, *arguments in plan:
                await getattr(life, what)(*arguments)
                life.check_bounds()
            if end is not None:
                await part(life, end)
            else:
                await life.end()
                for client in life.clients:
                    life.check(client)
        for client in life.clients:
            check_end(client.wire)

    def check_end(wire):
        """A Close frame is the last of whole frames; without one the stream may end anywhere."""
        closes = [event for event in wire.events if isinstance(event, CloseConnection)]
        assert [int(event.code) for event in closes] == ([] if wire.closed_with is None else [wire.closed_with[0]])
        for message in wire.messages:
            assert message["type"] in ("m", "gap", "subscribed", "unsubscribed", "reply", "pong", "ping")

    async def part(life, end):
        """End in the middle of everything, with writes under way and waiting."""
        if end == "cancel":
            life.world.stop()
            return
        for client in life.clients:
            if end == "peer":
                client.wire.peer_closes(1000)
            else:
                client.close(*end)
        for client in life.clients:
            client.wire.release()
        await trio.sleep(20)

    with patch.object(sender, "DIRECT_BYTES", DIRECT_BYTES), patch.object(topics, "DIRECT_BYTES", DIRECT_BYTES):
        trio.run(main, clock=MockClock(autojump_threshold=0))


class Wakeups(trio.abc.Instrument):
    """Names of the tasks that were scheduled or started."""

    def __init__(self):
        self.names = []

    def task_scheduled(self, task):
        self.names.append(task.name)

    def task_spawned(self, task):
        self.names.append(task.name)


async def test_what_all_sockets_take_wakes_nobody_but_the_flusher_and_is_joined_once():
    async with a_world() as world:
        wires = [ByteWire([BIG]) for _ in range(50)]
        for wire in wires:
            world.client(OLD, wire=wire)
        await wait_all_tasks_blocked()
        wakeups = Wakeups()
        trio.lowlevel.add_instrument(wakeups)
        for _ in range(16):
            world.hub.publish_nowait(OLD, "m", "x")
        await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(wakeups)
        assert not [name for name in wakeups.names if "send actor" in name or "reader" in name]
        assert sum(name.endswith(".flush") for name in wakeups.names) == 1
        assert all(wire.offsets() == list(range(1, 17)) for wire in wires)
        statistics = world.hub.statistics()
        assert statistics.deliveries == statistics.written == 50


async def test_a_lone_message_goes_out_with_the_flushers_next_turn():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        world.hub.publish_nowait(OLD, "m", "x")
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        assert client.wire.offsets() == [1]


async def test_what_a_socket_does_not_take_counts_in_its_outbox_and_the_others_have_theirs_at_once():
    async with a_world() as world:
        slow = world.client(OLD, wire=ByteWire([BIG]), max_messages=3)
        healthy = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        slow.wire._takes = cycle([50, BIG])
        before = len(slow.wire.stream)
        for _ in range(2):
            world.hub.publish_nowait(OLD, "m", "x" * 20)
        world.hub._flush(world.hub._catalogue.find(OLD))  # before its send actor can begin
        assert healthy.wire.offsets() == [1, 2]
        waiting = slow.outbox.statistics()
        whole = len(healthy.wire.stream) - before
        assert (waiting.queued_messages, waiting.queued_bytes) == (2, whole - 50)
        assert slow.outbox._queue.messages == 2
        assert (world.hub.statistics().deliveries, world.hub.statistics().written) == (2, 1)
        await wait_all_tasks_blocked()
        assert slow.wire.stream == healthy.wire.stream
        assert slow.outbox.statistics().queued_bytes == 0
        assert slow.direct is not None


async def test_a_socket_that_fails_ends_its_own_connection_and_nothing_else(autojump_clock):
    async with a_world() as world:
        gone = world.client(OLD, wire=ByteWire([BIG]))
        healthy = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        gone.wire.broken = True
        for _ in range(3):
            world.hub.publish_nowait(OLD, "m", "x")
            await trio.sleep(5)
        assert healthy.wire.offsets() == [1, 2, 3]
        assert gone.wire.aborted
        assert gone.closed is not None
        assert healthy.closed is None


async def test_a_writer_that_has_a_bug_is_the_flushers_crash_and_only_its_own_connection_ends():
    async with a_world(flusher=False) as world:
        bad = world.client(OLD, wire=ByteWire([BIG]))
        good = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        bad.direct = lambda data: data.no_such_attribute
        world.hub.publish_nowait(OLD, "m", "x")
        with pytest.raises(AttributeError, match="no_such_attribute"):
            await world.hub.run()
        await world.start_flusher()
        await wait_all_tasks_blocked()
        assert good.wire.offsets() == [1]
        assert bad.closed.code == 1011


async def test_a_message_that_is_too_large_to_wait_is_not_begun():
    async with a_world() as world:
        small = world.client(OLD, wire=ByteWire([BIG]), max_bytes=1000)
        large = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        before = large.wire.directly
        world.hub.publish_nowait(OLD, "m", "x" * 2000)
        world.hub.publish_nowait(OLD, "m", "x" * 70_000)
        await wait_all_tasks_blocked()
        assert small.wire.offsets() == [(1, 2)]
        assert large.wire.directly == before
        assert large.wire.offsets() == [1, 2]


async def test_an_aborting_close_lets_the_begun_frame_end_and_forgets_the_others():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        client.wire._takes = iter([10, BIG, BIG])
        for _ in range(3):
            world.hub.publish_nowait(OLD, "m", "x")
        world.hub._flush(world.hub._catalogue.find(OLD))
        client.close(1012, "retry-after=1.0")
        await wait_all_tasks_blocked()
        assert client.wire.offsets() == [1]
        assert client.wire.closed_with == (1012, "retry-after=1.0")


async def test_a_peer_that_closes_gets_the_rest_of_a_begun_frame_and_then_its_answer():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        client.wire._takes = iter([10, BIG])
        for _ in range(3):
            world.hub.publish_nowait(OLD, "m", "x")
        world.hub._flush(world.hub._catalogue.find(OLD))
        client.wire.peer_closes(1000)
        await wait_all_tasks_blocked()
        assert client.wire.offsets()[0] == 1
        assert client.wire.closed_with == (1000, "")


async def test_a_pong_and_a_ping_wait_for_the_rest_of_a_begun_frame():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        client.wire._takes = cycle([10, BIG])
        world.hub.publish_nowait(OLD, "m", "x")
        world.hub.publish_nowait(OLD, "m", "x")
        world.hub._flush(world.hub._catalogue.find(OLD))
        client.pong()
        client.ping(frames.ping(b"?"), frames.text(b'{"type":"ping"}'))
        await wait_all_tasks_blocked()
        assert client.wire.types() == ["subscribed", "m", "pong", "ping", "m"]


async def test_nothing_is_written_past_the_send_actor(autojump_clock):
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        before = client.wire.directly
        client.wire.stall()
        client.reply(b'{"type":"reply"}')
        assert client.direct is None
        world.hub.publish_nowait(OLD, "m", "x")
        await wait_all_tasks_blocked()
        client.wire.release()
        await wait_all_tasks_blocked()
        assert client.wire.types() == ["subscribed", "reply", "m"]
        assert client.wire.directly == before
        assert client.direct is not None


async def test_what_waits_from_the_beginning_goes_out_in_one_write_and_without_the_send_actor():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        assert client.wire.types() == ["subscribed"]
        assert client.wire.directly == len(client.wire.stream)


@pytest.mark.parametrize("taken", [0, 1, 50])
async def test_what_the_socket_does_not_take_at_the_beginning_follows(taken):
    async with a_world() as world:
        wire = ByteWire([taken or BIG, BIG])
        if not taken:
            wire.stall()
        client = world.client(OLD, wire=wire)
        await wait_all_tasks_blocked()
        client.reply(b'{"type":"reply"}')
        wire.release()
        await wait_all_tasks_blocked()
        assert wire.types() == ["subscribed", "reply"]
        assert client.outbox.statistics().queued_bytes == 0


async def test_a_reply_is_written_at_once_where_nothing_waits():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        for number in range(3):
            client.reply(b'{"type":"reply%d"}' % number)
        assert client.wire.types() == ["subscribed", "reply0", "reply1", "reply2"]
        assert client.outbox.idle


async def test_of_a_reply_that_is_cut_off_the_rest_follows_before_all_else():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        client.wire._takes = iter([5, BIG, BIG])
        client.reply(b'{"type":"reply"}')
        client.pong("t")
        world.hub.publish_nowait(OLD, "m", "x")
        await wait_all_tasks_blocked()
        assert client.wire.types() == ["subscribed", "reply", "pong", "m"]


async def test_replies_to_a_peer_that_is_gone_are_no_error():
    async with a_world() as world:
        client = world.client(OLD, wire=ByteWire([BIG]))
        await wait_all_tasks_blocked()
        client.wire.broken = True
        client.reply(b'{"type":"reply"}')
        await wait_all_tasks_blocked()
        assert client.wire.types() == ["subscribed"]
