"""The wire below server-sent events, over an ASGI server that the test plays."""

import pytest
import trio

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.connection import Connection
from realtime.delivery.event_stream import EventStream
from realtime.delivery.wire import PeerClosed, WriteStalled
from realtime.messages import CloseCode
from realtime.transport.event_stream import EventStreamWire

from ..event_source import EventSource


class Server:
    """Takes what is sent, at a pace: *seconds* for each piece."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.pieces = []
        self.over = False
        self.gone = trio.Event()
        self.wire = EventStreamWire(self.send, EventStream(), self.gone, address="192.0.2.1", write_timeout=10)

    async def send(self, event):
        assert event["type"] == "http.response.body"
        assert not self.over
        await trio.sleep(self.seconds)
        self.pieces.append(event["body"])
        self.over = not event["more_body"]

    @property
    def source(self):
        source = EventSource()
        source.feed(b"".join(self.pieces))
        return source


def a_message(size=0):
    return frames.text(messages.published("m", "t", 1, "x" * size))


async def test_frames_become_events_and_what_is_no_text_nothing(autojump_clock):
    server = Server()
    await server.wire.send([a_message(), frames.ping(b"x"), frames.text(messages.ping())])
    assert [event.type for event in server.source.events] == ["m"]
    assert len(server.source.comments) == 1


async def test_what_is_taken_is_a_sign_of_life(autojump_clock):
    server = Server(seconds=3)
    await server.wire.send([a_message()])
    assert server.wire.last_seen == trio.current_time() == 3


async def test_a_slow_reader_is_not_a_stalled_one(autojump_clock):
    server = Server(seconds=9)
    await server.wire.send([a_message(100_000)])
    assert (len(server.pieces), trio.current_time()) == (7, 63)
    assert len(server.source.events[0].json()["data"]) == 100_000


async def test_a_reader_that_takes_nothing_is_given_up(autojump_clock):
    server = Server(seconds=trio.current_time() + 11)
    with pytest.raises(WriteStalled):
        await server.wire.send([a_message()])
    assert trio.current_time() == 10
    with pytest.raises(trio.BrokenResourceError):
        await server.wire.send([a_message()])
    await server.wire.aclose(1012, "retry-after=1.0")
    assert server.pieces == []


async def test_who_has_left_is_told_apart(autojump_clock):
    server = Server()
    with trio.move_on_after(1) as waiting:
        await server.wire.receive()
    assert waiting.cancelled_caught
    server.gone.set()
    with pytest.raises(PeerClosed):
        await server.wire.receive()
    with pytest.raises(trio.BrokenResourceError):
        await server.wire.send([a_message()])
    await server.wire.aclose(1000)
    assert server.pieces == []


@pytest.mark.parametrize(
    ("code", "reason", "retry"),
    [
        (CloseCode.RESTART, "retry-after=2.5", 2500),
        (CloseCode.RESTART, "something else", None),
        (CloseCode.NORMAL, "retry-after=2.5", None),
        (CloseCode.TOO_SLOW, "", None),
    ],
)
async def test_the_response_ends_and_says_when_to_come_back(autojump_clock, code, reason, retry):
    server = Server()
    await server.wire.aclose(code, reason)
    assert (server.source.retry, server.over) == (retry, True)
    await server.wire.aclose(code, reason)  # again: nothing


async def test_an_end_that_nobody_takes_is_not_waited_for(autojump_clock):
    server = Server(seconds=100)
    await server.wire.aclose(1000)
    assert trio.current_time() == 10


async def test_a_connection_lives_on_it(autojump_clock):
    server = Server()
    connection = Connection("c", server.wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run, lambda _: None)
        connection.reply(messages.subscribed("t", "e", 0))
        await trio.sleep(1)
        connection.ping(frames.ping(b"x"), frames.text(messages.ping()))
        await trio.sleep(1)
        assert connection.unanswered_since is None
        connection.close(CloseCode.RESTART, "retry-after=1.5")
    assert (connection.closed.code, connection.closed.by) == (1012, "server")
    source = server.source
    assert ([event.type for event in source.events], len(source.comments), source.retry) == (["subscribed"], 1, 1500)
    assert server.over


async def test_a_connection_that_stalls_ends_as_too_slow(autojump_clock):
    server = Server(seconds=1000)
    connection = Connection("c", server.wire)
    connection.reply(messages.subscribed("t", "e", 0))
    await connection.run(lambda _: None)
    assert (connection.closed.code, trio.current_time()) == (CloseCode.TOO_SLOW, 10)


async def test_a_connection_whose_client_leaves_ends_at_once(autojump_clock):
    server = Server(seconds=1000)
    connection = Connection("c", server.wire)
    connection.reply(messages.subscribed("t", "e", 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run, lambda _: None)
        await trio.sleep(1)
        server.gone.set()
    assert (connection.closed.code, connection.closed.by, trio.current_time()) == (1006, "nobody", 1)
