"""The heartbeat: a ping for everyone once an interval, and an end for those that give no sign of life."""

import time

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from realtime import messages
from realtime.actors.heartbeat import Heartbeat
from realtime.delivery import frames
from realtime.delivery.connection import Connection
from realtime.delivery.registry import Registry
from realtime.delivery.wire import round_trip
from tests.realtime.delivery.memory_wire import MemoryWire


class World:
    def __init__(self, nursery):
        self.nursery = nursery
        self.registry = Registry()
        self.count = 0

    def client(self, *, answers=True, heartbeat_message=messages.ping, **options):
        self.count += 1
        connection = Connection(
            f"c{self.count}", MemoryWire(answers=answers, **options), heartbeat_message=heartbeat_message
        )
        self.nursery.start_soon(self._serve, connection)
        return connection

    async def _serve(self, connection):
        with self.registry.registered(connection):
            await connection.run(_ignore)

    async def start(self, **options):
        heartbeat = Heartbeat(self.registry, **{"chance": lambda: 0.5, **options})
        await self.nursery.start(heartbeat.run)
        return heartbeat


async def _ignore(message):
    await trio.lowlevel.checkpoint()


@pytest.fixture
async def world(nursery):
    return World(nursery)


def pings(connection):
    return sum(frame.opcode == frames.PING for frame in connection.wire.sent)


async def ping_times(connection, until):
    """The times at which *connection* is pinged until *until*."""
    times = []
    seen = pings(connection)
    while trio.current_time() < until:
        await trio.sleep(0.25)
        if pings(connection) != seen:
            seen = pings(connection)
            times.append(trio.current_time())
    return times


async def test_the_first_ping_comes_one_interval_after_the_handshake_and_then_one_each_interval(world, autojump_clock):
    await world.start()
    await trio.sleep(7)
    client = world.client()
    assert await ping_times(client, 130) == [37.25, 67.25, 97.25, 127.25]


async def test_a_ping_is_a_frame_and_a_message_together(world, autojump_clock):
    await world.start()
    client = world.client()
    await trio.sleep(31)
    frame, message = client.wire.sent
    assert frame.opcode == frames.PING
    assert round_trip(frame.payload, trio.current_time()) == pytest.approx(1, abs=0.1)
    assert client.wire.types() == ["ping"]
    assert client.wire.batches == [2]
    assert message.opcode == frames.TEXT


async def test_a_fixed_stream_can_have_a_message_of_its_own(world, autojump_clock):
    await world.start()
    client = world.client(heartbeat_message=messages.heartbeat)
    other = world.client()
    await trio.sleep(31)
    assert client.wire.types() == ["heartbeat"]
    assert other.wire.types() == ["ping"]


async def test_where_frames_cannot_be_sent_the_message_goes_alone(world, autojump_clock):
    await world.start()
    client = world.client(supports_frames=False)
    await trio.sleep(31)
    assert client.wire.types() == ["ping"]
    assert pings(client) == 0


async def test_pings_are_spread_by_chance(world, autojump_clock):
    chances = iter([0.0, 0.25, 0.5, 0.75])
    await world.start(chance=lambda: next(chances))
    clients = [world.client() for _ in range(4)]
    await wait_all_tasks_blocked()
    await trio.sleep(20)
    counts = []
    for _ in range(4):
        await trio.sleep(3.75)
        counts.append(sum(map(pings, clients)))
    assert counts == [1, 2, 3, 4]


async def test_a_client_that_answers_stays(world, autojump_clock):
    heartbeat = await world.start()
    client = world.client()
    await trio.sleep(1000)
    assert client.closed is None
    assert heartbeat.statistics().reaped == 0
    assert heartbeat.statistics().pings == pings(client) == 33


async def test_a_silent_client_is_closed_with_4001_ten_seconds_after_the_ping(world, autojump_clock):
    heartbeat = await world.start()
    silent = world.client(answers=False)
    lively = world.client()
    await trio.sleep(39.9)
    assert silent.closed is None
    await trio.sleep(0.5)
    assert silent.closed.code == 4001
    assert silent.closed.reason.startswith("no sign of life for 10.")
    assert lively.closed is None
    assert heartbeat.statistics().reaped == 1
    assert heartbeat.statistics().connections == 1


async def test_any_sign_of_life_is_an_answer(world, autojump_clock):
    await world.start()
    client = world.client(answers=False)
    await trio.sleep(39)
    client.wire.peer_sends('{"type":"pong"}')
    await trio.sleep(25)
    assert client.closed is None
    await trio.sleep(8)
    assert client.closed.code == 4001


async def test_a_client_that_is_silent_though_pinged_more_often_than_the_timeout_is_reaped(world, autojump_clock):
    await world.start(interval=1, pong_timeout=3)
    client = world.client(answers=False)
    await trio.sleep(3.9)
    assert client.closed is None
    assert pings(client) == 3
    await trio.sleep(0.5)
    assert client.closed.code == 4001


async def test_a_ping_that_waits_behind_a_write_is_not_held_against_the_client(world, autojump_clock):
    """A stalled write is the wire's to end; and if it goes on, the client's time begins only then."""
    await world.start()
    client = world.client(answers=False, write_timeout=100)
    await trio.sleep(29)
    client.wire.stall()
    client.reply(messages.result("c", {}))
    await trio.sleep(16)
    assert client.closed is None
    client.wire.release()
    await trio.sleep(9)
    assert client.closed is None
    client.wire.peer_sends("pong")
    await trio.sleep(10)
    assert client.closed is None


async def run_on(mock_clock, seconds):
    """Let the loop run for *seconds*, without lag worth the name."""
    for _ in range(int(seconds * 4)):
        mock_clock.jump(0.25)
        await wait_all_tasks_blocked()


async def test_a_loop_that_was_busy_reaps_nobody_whose_answer_lay_unread(nursery, mock_clock):
    """The loop stands still for twenty seconds after the ping: the answer came, but nobody could read it."""
    world = World(nursery)
    heartbeat = await world.start()
    client = world.client(answers=False)
    late = world.client(answers=False)
    silent = world.client(answers=False)
    await wait_all_tasks_blocked()
    await run_on(mock_clock, 30.5)
    assert pings(client) == 1
    mock_clock.jump(20)
    # All are runnable at once now, in any order; the reader only gets at the socket in this turn.
    await trio.lowlevel.checkpoint()
    client.wire.peer_sends("pong")
    await wait_all_tasks_blocked()
    assert heartbeat.statistics().lag_s == pytest.approx(19.5, abs=0.6)
    assert world.registry.counts.lag.sum == heartbeat.statistics().lag_s
    await run_on(mock_clock, 8)
    assert late.outbox.closing is None
    late.wire.peer_sends("pong")
    await run_on(mock_clock, 3)
    assert client.closed is None
    assert late.closed is None
    # Who is really gone is found out all the same, only later.
    assert silent.closed.code == 4001


async def test_lag_before_the_ping_gives_nobody_more_time(nursery, mock_clock):
    world = World(nursery)
    await world.start()
    silent = world.client(answers=False)
    await wait_all_tasks_blocked()
    await run_on(mock_clock, 5)
    mock_clock.jump(15)
    await run_on(mock_clock, 20.5)
    assert silent.closed.code == 4001


async def test_lag_of_an_earlier_life_gives_nobody_more_time(nursery, mock_clock):
    world = World(nursery)
    heartbeat = Heartbeat(world.registry, chance=lambda: 0.5)
    scope = trio.CancelScope()

    async def run():
        with scope:
            await heartbeat.run()

    nursery.start_soon(run)
    await wait_all_tasks_blocked()
    silent = world.client(answers=False)
    await wait_all_tasks_blocked()
    await run_on(mock_clock, 31)
    mock_clock.jump(50)
    await wait_all_tasks_blocked()
    scope.cancel()
    await wait_all_tasks_blocked()
    assert silent.closed is None
    nursery.start_soon(heartbeat.run)
    await run_on(mock_clock, 15.5)
    assert silent.closed.code == 4001


async def test_readers_that_wake_together_with_the_heartbeat_get_their_turn_before_it_judges(nursery, mock_clock):
    """The loop is busy for less than a tick, exactly at the deadline."""
    world = World(nursery)
    await world.start()
    client = world.client(answers=False)
    await wait_all_tasks_blocked()
    for _ in range(79):
        mock_clock.jump(0.5)
        await wait_all_tasks_blocked()
    mock_clock.jump(0.9)
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    client.wire.peer_sends("pong")
    await wait_all_tasks_blocked()
    mock_clock.jump(1)
    await wait_all_tasks_blocked()
    assert client.closed is None


async def test_a_crash_of_the_heartbeat_reaps_nobody_and_the_next_one_pings_everyone_within_an_interval(
    world, autojump_clock
):
    first = Heartbeat(world.registry, chance=lambda: 0.5)
    scope = trio.CancelScope()

    async def run(task_status):
        with scope:
            await first.run(task_status=task_status)

    await world.nursery.start(run)
    client = world.client()
    silent = world.client(answers=False)
    await trio.sleep(31)
    scope.cancel()
    await trio.sleep(20)  # nobody looks after them; the silent one has been so for longer than the timeout
    await world.start(chance=lambda: 0.1)
    await trio.sleep(9.5)
    assert pings(client) == 2
    assert silent.closed is None  # it has all the time again that it would have had
    await trio.sleep(1)
    assert silent.closed.code == 4001
    await trio.sleep(60)
    assert client.closed is None


async def test_the_same_heartbeat_can_run_again(world, autojump_clock):
    heartbeat = Heartbeat(world.registry, chance=lambda: 0.5)
    client = world.client()
    for _ in range(2):
        with trio.move_on_after(31):
            await heartbeat.run()
    assert heartbeat.statistics().connections == 1
    assert pings(client) == 2
    assert client.closed is None


async def test_who_leaves_is_forgotten_and_an_id_that_comes_back_is_somebody_else(world, autojump_clock):
    heartbeat = await world.start()
    for _ in range(5):
        client = world.client()
        await trio.sleep(3)
        client.wire.peer_closes()
        world.count -= 1  # the next one gets the same id
        await trio.sleep(1)
    last = world.client()
    await trio.sleep(29)
    assert heartbeat.statistics().pings == 0
    assert heartbeat.statistics().connections == 1
    await trio.sleep(2)
    assert heartbeat.statistics().pings == pings(last) == 1


async def test_a_connection_that_is_closing_is_left_alone(world, autojump_clock):
    heartbeat = await world.start()
    client = world.client(write_timeout=1000)
    await trio.sleep(28)
    client.wire.stall()
    client.reply(messages.result("c", {}))
    await wait_all_tasks_blocked()
    client.close(1000)
    await trio.sleep(4)
    assert heartbeat.statistics().pings == 0


async def test_start_and_stop_are_logged_with_the_interval(world, autojump_clock):
    with capture_logs() as logs:
        with trio.move_on_after(1):
            await Heartbeat(world.registry, interval=20).run()
    assert logs == [
        {"event": "heartbeat_started", "log_level": "info", "interval_s": 20, "pong_timeout_s": 10.0},
        {"event": "heartbeat_stopped", "log_level": "info", "pings": 0, "reaped": 0},
    ]


async def test_each_round_trip_is_observed_once(world, autojump_clock):
    await world.start()
    connection = world.client()
    await trio.sleep(31)
    connection.wire.rtt = 0.02
    await trio.sleep(60)
    assert world.registry.counts.round_trip.statistics().count == 1
    connection.wire.rtt = 0.03
    await trio.sleep(30)
    assert world.registry.counts.round_trip.sum == pytest.approx(0.05)


@pytest.mark.parametrize("options", [{"interval": 0}, {"pong_timeout": -1}])
async def test_times_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="greater than 0"):
        Heartbeat(Registry(), **options)


def test_ten_thousand_connections_cost_little():
    """More than two intervals for all of them, in a small part of the processor's time: measured 0.2 s of 67 s."""

    class Silent(Connection):
        __slots__ = ()
        unanswered_since = None

        def ping(self, frame, message):
            pass

    async def main():
        registry = Registry()
        for number in range(10_000):
            registry.counts.registered += 1
            connection = Silent(str(number), MemoryWire())
            connection.number = registry.counts.registered
            registry._connections[connection.id] = connection
        heartbeat = Heartbeat(registry)
        began = time.process_time()
        with trio.move_on_after(30 * 1.25 + 30):
            await heartbeat.run()
        assert heartbeat.statistics().pings > 10_000
        return time.process_time() - began

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) < 2
