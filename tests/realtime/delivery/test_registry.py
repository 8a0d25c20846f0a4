import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from realtime.delivery.connection import Connection
from realtime.delivery.registry import Registry

from .memory_wire import MemoryWire


@pytest.fixture
async def registry():
    return Registry()


def joined(registry, *ids):
    connections = [Connection(id, MemoryWire()) for id in ids]
    for connection in connections:
        registry.register(connection)
    return connections


async def test_connections_are_found_by_id_and_listed_in_order(registry):
    one, two = joined(registry, "b", "a")
    assert registry.get("b") is one
    assert registry.get("x") is None
    assert list(registry.connections) == [one, two]
    assert len(registry.connections) == 2


async def test_an_id_is_registered_once(registry):
    [one] = joined(registry, "a")
    with pytest.raises(ValueError, match="'a' is already registered"):
        registry.register(Connection("a", MemoryWire()))
    assert registry.get("a") is one


async def test_dropping_a_stranger_does_no_harm(registry):
    [one] = joined(registry, "a")
    registry.drop(Connection("a", MemoryWire()))
    assert registry.get("a") is one


async def test_a_registered_block_drops_its_connection_however_it_ends(registry):
    connection = Connection("a", MemoryWire())

    def fail():
        with registry.registered(connection):
            assert registry.get("a") is connection
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert registry.get("a") is None


async def test_newcomers_are_those_since_a_number(registry):
    one, two, three = joined(registry, "a", "b", "c")
    assert registry.newcomers(0) == [one, two, three]
    assert registry.newcomers(two.number) == [three]
    registry.drop(three)
    assert registry.newcomers(two.number) == []
    [four] = joined(registry, "c")
    assert registry.newcomers(two.number) == [four]


async def test_a_drain_sends_everyone_away_within_the_window_paced(registry, nursery, autojump_clock):
    connections = joined(registry, *map(str, range(2000)))
    ended = []

    async def run(connection):
        await connection.run(_unreachable)
        ended.append(trio.current_time())

    for connection in connections:
        nursery.start_soon(run, connection)
    await wait_all_tasks_blocked()
    assert registry.drain(5, random.Random(1)) == 5
    await trio.sleep(6)
    assert len(ended) == 2000
    assert 4.9 < max(ended) <= 5
    per_second = [sum(second <= time < second + 1 for time in ended) for second in range(5)]
    assert all(390 <= count <= 410 for count in per_second)
    for connection in connections:
        assert connection.wire.closed_with[0] == 1012
        assert connection.wire.closed_with[1].startswith("retry-after=")


async def test_a_few_clients_are_drained_in_an_instant(registry, nursery, autojump_clock):
    [connection] = joined(registry, "a")
    assert registry.drain(5, random.Random(1)) < 0.01
    assert (await connection.run(_unreachable)).code == 1012


async def test_draining_nobody_takes_no_time(registry):
    assert registry.drain(5, random.Random(1)) == 0


async def test_who_comes_too_late_for_a_drain_is_sent_away_at_once(registry, autojump_clock):
    registry.turn_away(random.Random(1), 7.0)
    [connection] = joined(registry, "late")
    began = trio.current_time()
    closed = await connection.run(_unreachable)
    assert trio.current_time() == began
    assert closed.code == 1012
    assert 7.0 <= float(closed.reason.removeprefix("retry-after=")) <= 8.0


async def test_after_a_drain_alone_the_next_one_stays(registry, nursery, autojump_clock):
    """So it is when an operator restarts the connections."""
    registry.drain(5, random.Random(1))
    [connection] = joined(registry, "next")
    nursery.start_soon(connection.run, _unreachable)
    await trio.sleep(60)
    assert connection.closed is None
    nursery.cancel_scope.cancel()


async def _unreachable(message):
    raise AssertionError("nothing was sent")


async def test_who_asks_is_told_of_each_drop_once(registry):
    told = []
    registry.on_drop.append(told.append)
    [one, two] = joined(registry, "a", "b")
    registry.drop(two)
    registry.drop(two)
    registry.drop(Connection("a", MemoryWire()))
    assert told == [two]
    registry.drop(one)
    assert told == [two, one]
