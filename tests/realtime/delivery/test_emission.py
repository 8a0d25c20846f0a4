"""One message on its way to many: what is written at once, what waits, and what is told of a loss."""

from itertools import cycle
from unittest.mock import patch

import pytest
from trio.testing import wait_all_tasks_blocked

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.connection import Connection
from realtime.delivery.emission import Emission
from realtime.delivery.outbox import Outbox
from realtime.delivery.wire import DIRECT_BYTES

from .byte_wire import ByteWire

BIG = 10**9


@pytest.fixture
def join(nursery):
    """Makes running connections, each of a session of its own unless it is told."""
    numbers = cycle(range(1000))

    def join(takes=(BIG,), session=None, max_messages=10, **options):
        number = next(numbers)
        wire = ByteWire(takes, **options)
        connection = Connection(
            f"c{number}", wire, session=session or f"s{number}", outbox=Outbox(max_messages=max_messages)
        )
        nursery.start_soon(connection.run, lambda _message: None)
        return connection

    return join


def emission(receivers, type="x", data=None, offset=7):
    return Emission(messages.emitted(type, data), receivers, lambda _topic: offset)


async def settle():
    await wait_all_tasks_blocked()


async def test_it_is_written_at_once_to_who_has_nothing_waiting(join):
    clients = [join() for _ in range(3)]
    await settle()
    on_its_way = emission(clients)
    assert on_its_way.hand_over(10) == 3
    assert (on_its_way.sessions, on_its_way.connections) == (3, 3)
    # No other task has run since.
    assert [client.wire.messages[0]["type"] for client in clients] == ["x"] * 3
    assert all(client.wire.directly == len(client.wire.stream) for client in clients)


async def test_it_can_be_carried_out_in_several_goes(join):
    clients = [join() for _ in range(5)]
    await settle()
    on_its_way = emission(clients)
    assert [on_its_way.hand_over(2) for _ in range(4)] == [2, 2, 1, 0]
    assert on_its_way.connections == 5


@pytest.mark.parametrize("takes", [(1,), (3, BIG), (BIG,), (40, 1, 2)])
async def test_a_frame_that_was_cut_off_is_completed_before_anything_else(join, takes):
    client = join(takes)
    await settle()
    for number in range(5):
        assert emission([client], data=number).hand_over(1) == 1
    client.reply(messages.result("r", None))
    await settle()
    assert [message.get("data") for message in client.wire.messages] == [0, 1, 2, 3, 4, None]


async def test_what_a_socket_does_not_take_waits_in_its_order(join):
    client = join()
    await settle()
    client.wire.stall()
    for number in range(3):
        emission([client], data=number).hand_over(1)
    await settle()
    assert client.wire.messages == []
    client.wire.release()
    await settle()
    assert [message["data"] for message in client.wire.messages] == [0, 1, 2]


async def test_the_oldest_go_and_a_gap_of_the_session_s_topic_tells_it(join):
    client = join(session="s1", max_messages=3)
    await settle()
    client.wire.stall()
    reached = []
    for number in range(8):
        on_its_way = emission([client], data=number)
        on_its_way.hand_over(1)
        reached.append(on_its_way.connections)
        await settle()
    client.wire.release()
    await settle()
    found = client.wire.messages
    assert reached == [1] * 8
    assert [message["data"] for message in found if message["type"] == "x"][-3:] == [5, 6, 7]
    (gap,) = [message for message in found if message["type"] == "gap"]
    assert (gap["topic"], gap["offset"]) == ("session/s1", 7)
    assert gap["missed"] == 8 - len(found) + 1


async def test_one_that_no_outbox_can_hold_reaches_nobody(join):
    client = join()
    client.outbox.max_bytes = 100
    await settle()
    on_its_way = emission([client], data="y" * DIRECT_BYTES * 20)
    on_its_way.hand_over(1)
    assert (on_its_way.sessions, on_its_way.connections) == (0, 0)
    await settle()
    assert [message["type"] for message in client.wire.messages] == ["gap"]


async def test_who_is_gone_is_not_reached_and_the_others_are(join):
    gone, closing, there = join(), join(), join()
    await settle()
    gone.wire.peer_closes()
    await settle()
    closing.wire.stall()
    emission([closing]).hand_over(1)
    closing.close(1000)
    on_its_way = emission([gone, closing, there])
    on_its_way.hand_over(3)
    assert on_its_way.connections == 1


async def test_it_is_compressed_once_for_all_who_want_that(join):
    clients = [join() for _ in range(3)]
    for client in clients:
        client.wire.deflates = True
    await settle()
    assert all(client.direct is None and client.direct_deflated is not None for client in clients)
    with patch.object(frames, "deflate", side_effect=frames.deflate) as deflate:
        emission(clients, data="abc" * 1000).hand_over(3)
    assert deflate.call_count == 1
    assert all(0 < len(client.wire.stream) < 200 for client in clients)


async def test_what_fails_closes_its_connection_and_the_next_go_serves_the_others(join):
    bad, good = join(), join()
    await settle()
    bad.direct = broken
    on_its_way = emission([bad, good])
    with pytest.raises(RuntimeError, match="broken"):
        on_its_way.hand_over(2)
    assert on_its_way.hand_over(2) == 1
    await settle()
    assert bad.closed is not None
    assert bad.closed.code == 1011
    assert [message["type"] for message in good.wire.messages] == ["x"]


def broken(_data):
    raise RuntimeError("broken")
