"""WebSockets over HTTP/2: what RFC 6455 says of frames and of closing, one stream among others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import h2.events
import h2.settings
import pytest
import trio

from realtime.transport.errors import status_body

from .harness import Server, make_app, running, until
from .rfc6455.kit import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, closed, frame, heard_in
from .test_http2 import Client, prior_knowledge

PATHS = pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])


@attrs.frozen
class Stream:
    """One WebSocket of a connection."""

    client: Client
    id: int

    async def send(self, data: bytes, *, end: bool = False) -> None:
        self.client.h2.send_data(self.id, data, end_stream=end)
        await self.client.flush()

    async def hear(self, *expected: tuple[int, bytes]) -> None:
        """These frames and no others, as far as they have come."""
        wanted = sum(2 + len(payload) for _, payload in expected)
        heard = await self.client.wait_for_body(lambda body: len(body) >= wanted)
        assert list(heard_in(heard)) == list(expected)
        self.client.events[:] = [one for one in self.client.events if not isinstance(one, h2.events.DataReceived)]

    async def hear_end(self) -> list[tuple[int, bytes]]:
        """All frames until the stream has been ended by the server."""
        await self.client.wait(h2.events.StreamEnded)
        return list(heard_in(self.client.body()))


async def open_stream(client: Client, path: str) -> Stream:
    """A WebSocket on a connection whose settings are known."""
    headers = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
    id = await client.request("CONNECT", path, *headers, end=False)
    response = await client.wait(h2.events.ResponseReceived)
    assert dict(response.headers)[":status"] == "200"
    client.events.clear()
    return Stream(client, id)


@asynccontextmanager
async def talking(server: Server, path: str) -> AsyncIterator[Stream]:
    async with prior_knowledge(server.port) as client:
        await ask(client)  # by then its settings are known
        yield await open_stream(client, path)


async def ask(client: Client) -> None:
    """An ordinary request, which has to be answered."""
    client.events.clear()
    id = await client.request("GET", "/")
    with trio.fail_after(2):
        while not any(isinstance(event, h2.events.StreamEnded) and event.stream_id == id for event in client.events):
            await client.read_on(h2.events.StreamEnded)
    client.events[:] = [event for event in client.events if getattr(event, "stream_id", None) == id]
    assert client.body() == b'{"hello":"world"}\n'
    client.events.clear()


@PATHS
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(3), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(TEXT, b"x", key=None), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close(1005), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"", length=2**62), 1009),
        (frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600), 1009),
        (frame(PONG) * 30, 4429),
    ],
    ids=[
        "opcode",
        "reserved bit",
        "unmasked",
        "continues nothing",
        "message in a message",
        "fragmented ping",
        "close of one byte",
        "close that must not be sent",
        "no utf-8",
        "too big",
        "too big in fragments",
        "flood",
    ],
)
async def test_a_broken_rule_is_answered_with_its_code(path: str, sent: bytes, code: int) -> None:
    limits: Any = {"max_message_bytes": 1000, "max_frames_per_second": 20}
    async with running(make_app().quart, **limits) as server, talking(server, path) as stream:
        await stream.send(sent)
        ((opcode, payload),) = await stream.hear_end()
        assert (opcode, int.from_bytes(payload[:2])) == (CLOSE, code)
        await ask(stream.client)  # the others do not notice


@PATHS
async def test_messages_fragments_and_pings(path: str) -> None:
    async with running(make_app().quart) as server, talking(server, path) as stream:
        await stream.send(frame(TEXT, b"gr\xc3", fin=False) + frame(PING, b"?") + frame(CONTINUATION, b"\xbc"))
        # The Pong goes out by itself, as section 5.5.2 allows: "as soon as is practical".
        heard = await stream.client.wait_for_body(lambda body: len(body) >= 9)
        assert sorted(heard_in(heard)) == [(TEXT, "grü".encode()), (PONG, b"?")]


@PATHS
@pytest.mark.parametrize(("sent", "answer"), [(close(4001, b"bye"), closed(4001, b"bye")), (close(), closed())])
async def test_the_client_closes(path: str, sent: bytes, answer: Any) -> None:
    app = make_app()
    async with running(app.quart) as server, talking(server, path) as stream:
        await stream.send(sent + frame(TEXT, b"late"))
        assert await stream.hear_end() == [answer]
        await app.ended.wait()
        await ask(stream.client)


@pytest.mark.parametrize(
    ("sent", "end", "told"),
    [
        (close(4001, b"bye"), False, (4001, "bye")),
        (close(), False, (1005, "")),
        (frame(TEXT, b"half", fin=False), True, (1006, "")),
        (frame(TEXT, b"\xff"), False, (1007, None)),
    ],
    ids=["code and reason", "neither", "end of the stream", "no utf-8"],
)
async def test_the_application_is_told_how_it_ended(sent: bytes, end: bool, told: tuple[int, str | None]) -> None:
    events: list[Any] = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await make_app().quart(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        events.append(await receive())

    async with running(listening) as server, talking(server, "/") as stream:
        await stream.send(sent, end=end)
        await stream.client.wait(h2.events.StreamEnded)
    assert events[0]["type"] == "websocket.disconnect"
    assert events[0]["code"] == told[0]
    assert events[0]["reason"] if told[1] is None else events[0]["reason"] == told[1]


async def test_the_server_closes_and_waits_for_the_answer_which_disturbs_nobody() -> None:
    async with running(make_app().quart) as server, talking(server, "/ws/close/4404") as stream:
        await stream.hear(closed(4404, b"as asked"))
        await stream.send(close(4404), end=True)
        await stream.client.wait(h2.events.StreamEnded)
        await ask(stream.client)


async def test_a_client_that_does_not_answer_is_not_waited_for() -> None:
    async with running(make_app().quart, close_timeout=0.1) as server, talking(server, "/ws/close/4404") as stream:
        assert await stream.hear_end() == [closed(4404, b"as asked")]
        await stream.send(close(4404) + frame(TEXT, b"late"))  # the stream is over, the connection is not
        await ask(stream.client)


async def test_what_comes_for_a_request_that_has_been_answered_disturbs_nobody() -> None:
    """As a body does that the application did not wait for."""
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        id = await client.request("POST", "/nowhere", end=False)
        await client.wait(h2.events.StreamEnded)
        client.h2.send_data(id, b"x" * 1000)
        await ask(client)


@pytest.mark.parametrize("path", ["/ws/fail", "/ws/fail-wire"])
async def test_a_handler_that_fails_closes_with_1011(path: str) -> None:
    async with running(make_app().quart, close_timeout=0.1) as server, talking(server, path) as stream:
        assert await stream.hear_end() == [closed(1011)]


async def test_a_plain_handler_s_client_is_told_when_to_come_back() -> None:
    app = make_app()
    async with running(app.quart, close_timeout=0.5) as server, talking(server, "/ws/plain") as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            heard = await stream.client.wait_for_body(lambda body: len(body) > 16)
            ((opcode, payload),) = heard_in(heard)
            assert (opcode, payload[:14]) == (CLOSE, (1012).to_bytes(2) + b"retry-after=")
            await stream.send(close(1012))
            await stream.client.wait(h2.events.ConnectionTerminated)
            await stream.client.stream.aclose()
        assert app.ended.is_set()


async def test_whoever_took_it_is_told_and_closes_in_its_own_time() -> None:
    app = make_app()
    async with running(app.quart) as server, talking(server, "/ws/wire") as stream, trio.open_nursery() as nursery:
        await app.opened.wait()
        nursery.start_soon(server.stop, 5)
        await app.wires[0].stopping.wait()  # type: ignore[attr-defined]
        await stream.send(frame(TEXT, b"still here"))
        await stream.hear((TEXT, b"still here"))
        await stream.send(close(1000))
        assert await stream.hear_end() == [closed(1000)]
        await stream.client.stream.aclose()


async def test_the_end_of_the_connection_ends_its_handlers() -> None:
    app = make_app()
    async with running(app.quart) as server:
        async with talking(server, "/ws/deaf"):
            await app.opened.wait()
        with trio.fail_after(1):
            await app.ended.wait()
        await until(lambda: server.open == 0)


async def test_pings_without_room_for_their_answers_hold_up_nobody() -> None:
    """The reader must go on: what makes room again comes over the same connection."""
    async with running(make_app().quart, max_frames_per_second=1e6) as server, prior_knowledge(server.port) as client:
        await ask(client)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.flush()
        await client.wait(h2.events.SettingsAcknowledged)
        stream = await open_stream(client, "/ws/plain")
        pings = frame(PING, b"x" * 125) * 100
        with trio.fail_after(5):
            for _ in range(30):
                while client.h2.local_flow_control_window(stream.id) < len(pings):
                    await client.read_on(h2.events.WindowUpdated)
                await stream.send(pings)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
        await client.flush()
        await stream.send(frame(PING, b"last"))
        heard = await client.wait_for_body(lambda body: b"\x8a\x04last" in body)
        assert {opcode for opcode, _ in heard_in(heard)} == {PONG}


@pytest.mark.parametrize(
    "more", [[], [(":protocol", "something-else"), (":path", "/ws/plain"), (":scheme", "http")]], ids=["plain", "other"]
)
async def test_what_connects_to_something_else_is_not_for_us(more: Any) -> None:
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        await ask(client)
        headers = [(":method", "CONNECT"), (":authority", "localhost"), *more]
        client.h2.send_headers(client.h2.get_next_available_stream_id(), headers)
        await client.flush()
        response = await client.wait(h2.events.ResponseReceived)
        assert dict(response.headers)[":status"] == "501"
        await ask(client)


@pytest.mark.parametrize("version", [None, "8"])
async def test_another_version_is_refused_with_ours(version: str | None) -> None:
    more = () if version is None else (("sec-websocket-version", version),)
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        await ask(client)
        await client.request("CONNECT", "/ws/plain", (":protocol", "websocket"), *more, end=False)
        response = dict((await client.wait(h2.events.ResponseReceived)).headers)
        assert (response[":status"], response["sec-websocket-version"]) == ("400", "13")
        await ask(client)


async def answers(client: Client, id: int) -> list[tuple[str, bytes]]:
    """Status and body of each answer on one stream, once it has ended; there should be one."""
    with trio.fail_after(2):
        while not any(isinstance(event, h2.events.StreamEnded) and event.stream_id == id for event in client.events):
            await client.read_on(h2.events.StreamEnded)
    told = [event for event in client.events if isinstance(event, h2.events.ResponseReceived) and event.stream_id == id]
    client.events[:] = [event for event in client.events if getattr(event, "stream_id", None) == id]
    return [(dict(event.headers)[":status"], client.body()) for event in told]


@pytest.mark.parametrize("path", ["/nope", "/ws/plain", "/ws/wire", "/ws/forbidden", "/ws/close/4404"])
async def test_frames_before_the_answer_are_answered_once(path: str) -> None:
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        await ask(client)
        id = client.h2.get_next_available_stream_id()
        pseudo = [(":method", "CONNECT"), (":path", path), (":scheme", "http"), (":authority", "localhost")]
        client.h2.send_headers(id, [*pseudo, (":protocol", "websocket"), ("sec-websocket-version", "13")])
        client.h2.send_data(id, frame(TEXT, b"early"))
        await client.flush()
        assert await answers(client, id) == [("400", status_body(400))]
        await ask(client)


@pytest.mark.parametrize(
    ("path", "version", "status"), [("/nope", "13", "404"), ("/ws/forbidden", "13", "403"), ("/ws/plain", "8", "400")]
)
async def test_frames_while_it_is_refused_do_not_count(path: str, version: str, status: str) -> None:
    """The headers have been sent, the body waits for the window: which comes behind the frames."""
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        await ask(client)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        headers = [(":protocol", "websocket"), ("sec-websocket-version", version)]
        id = await client.request("CONNECT", path, *headers, end=False)
        response = await client.wait(h2.events.ResponseReceived)
        client.h2.send_data(id, frame(TEXT, b"late"))
        client.h2.ping(b"12345678")
        await client.flush()
        await client.wait(h2.events.PingAckReceived)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**16})
        await client.flush()
        ((told, body),) = await answers(client, id)
        assert (told, str(len(body))) == (status, dict(response.headers)["content-length"])


async def test_an_application_that_answers_nothing_or_only_closes_refuses() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await make_app().quart(scope, receive, send)
        elif scope["path"] == "/close":
            await send({"type": "websocket.close"})

    async with running(refusing) as server, prior_knowledge(server.port) as client:
        await ask(client)
        for path, status in (("/close", 403), ("/", 500)):
            headers = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
            id = await client.request("CONNECT", path, *headers, end=False)
            assert await answers(client, id) == [(str(status), status_body(status))]
            await ask(client)
