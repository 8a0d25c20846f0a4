"""permessage-deflate on our server: what is agreed on, what comes in, what goes out."""

from __future__ import annotations

import gc
import json
import os
import secrets
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from quart import websocket
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.trio.client import ClientConnection
from websockets.trio.client import connect as ws_connect
from websockets.uri import parse_uri
from wsproto.events import CloseConnection, Event, Message, Ping

from realtime.delivery import frames as delivery_frames
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.policy.deflate import ANSWER
from realtime.settings import TopicSettings
from realtime.transport import WebsocketConnection, open_wire
from realtime.transport.deflate import MessageDeflate
from realtime.transport.parser import Parser

from .harness import Server, close_code, connect, make_app, masked, open_websocket, read_all, running, until, upgrade

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1 = 4
LIMIT = 65_536
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
TAIL = b"\x00\x00\xff\xff"
JSON = '{"type":"tick","topic":"clock","data":{"at":"2026-01-01T00:00:00Z","unit":"grün"}}' * 20


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


# --- the parser ---


@attrs.define
class Reader:
    """A parser, and what it has told so far."""

    parser: Parser = attrs.field(factory=lambda: Parser(LIMIT, 10_000, [MessageDeflate(LIMIT)], clock=lambda: 0.0))
    messages: list[Any] = attrs.field(factory=list)
    others: list[Event] = attrs.field(factory=list)
    _parts: list[Any] = attrs.field(factory=list)

    def feed(self, data: bytes) -> None:
        self.parser.receive_data(data)
        for event in self.parser.events():
            if not isinstance(event, Message):
                self.others.append(event)
                continue
            self._parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
            if event.message_finished:
                self.messages.append(type(self._parts[0])().join(self._parts))
                self._parts = []

    @property
    def refused(self) -> tuple[int, str]:
        """The code and the reason of the close; there must have been one, and nothing after it."""
        (event,) = self.others
        assert isinstance(event, CloseConnection)
        return int(event.code), event.reason or ""


def refusal(data: bytes) -> tuple[int, str]:
    reader = Reader()
    reader.feed(data)
    assert reader.messages == []
    return reader.refused


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[str | bytes], int, list[bytes]]:
    """Messages, how many Pings are among their frames, and the bytes of it all in pieces."""
    said = draw(st.lists(st.text() | st.binary() | st.just("ab" * 5000), max_size=4))
    pings, data = 0, b""
    for message in said:
        payload = message.encode() if isinstance(message, str) else message
        opcode, rsv = TEXT if isinstance(message, str) else BINARY, 0
        if draw(st.booleans()):
            payload, rsv = deflated(payload), RSV1
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True):
            data += masked(opcode, payload[start:end], fin=end == len(payload) and len(cuts) == 0, rsv=rsv)
            opcode, rsv = CONTINUATION, 0
            if cuts and draw(st.booleans()):
                data += masked(PING, b"?")
                pings += 1
        if cuts:
            data += masked(CONTINUATION)
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=5))), len(data)]
    return said, pings, [data[start:end] for start, end in pairwise(edges)]


@given(streams())
def test_each_message_is_read_compressed_or_not_in_fragments_and_in_pieces(
    stream: tuple[list[str | bytes], int, list[bytes]],
) -> None:
    said, pings, pieces = stream
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    assert reader.messages == said
    assert [type(event) for event in reader.others] == [Ping] * pings


@given(st.lists(st.tuples(st.integers(0, 15), st.booleans(), st.integers(0, 7), st.binary(max_size=20)), max_size=8))
def test_any_frames_are_read_or_refused(frames: list[tuple[int, bool, int, bytes]]) -> None:
    reader = Reader()
    for opcode, fin, rsv, payload in frames:
        if reader.others and isinstance(reader.others[-1], CloseConnection):
            break
        reader.feed(masked(opcode, payload, fin=fin, rsv=rsv))
    for event in reader.others:
        assert not isinstance(event, CloseConnection) or event.code in {1000, 1002, 1005, 1007, *range(3000, 5000)}


def test_no_message_needs_the_one_before() -> None:
    """The client has no context to take over, and one that refers to an earlier message is refused."""
    compressor = zlib.compressobj(wbits=-15)
    first, second = (
        (compressor.compress(JSON.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL) for _ in "12"
    )
    assert len(second) < len(first)
    reader = Reader()
    reader.feed(masked(TEXT, first, rsv=RSV1))
    assert reader.messages == [JSON]
    reader.feed(masked(TEXT, second, rsv=RSV1))
    assert reader.refused[0] == 1007


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
def test_the_other_reserved_bits_are_still_errors(rsv: int) -> None:
    assert refusal(masked(TEXT, b"", rsv=rsv))[0] == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_compressed_control_frame_is_an_error(opcode: int) -> None:
    """RFC 7692 section 6.1."""
    assert refusal(masked(opcode, deflated(b"?"), rsv=RSV1))[0] == 1002


@pytest.mark.parametrize("rsv", [0, RSV1])
def test_only_the_first_fragment_says_that_it_is_compressed(rsv: int) -> None:
    """RFC 7692 section 6.1."""
    assert refusal_after(masked(TEXT, b"", fin=False, rsv=rsv), masked(CONTINUATION, b"x", rsv=RSV1))[0] == 1002


def refusal_after(first: bytes, second: bytes) -> tuple[int, str]:
    reader = Reader()
    reader.feed(first)
    assert reader.others == []
    reader.feed(second)
    return reader.refused


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", deflated(os.urandom(100))[:50], deflated(b"a") + b"\x01"])
def test_what_cannot_be_inflated_is_refused(payload: bytes) -> None:
    assert refusal(masked(TEXT, payload, rsv=RSV1))[0] == 1007


def test_a_text_that_is_no_utf_8_is_refused_when_it_is_inflated() -> None:
    assert refusal(masked(TEXT, deflated(b"\xff"), rsv=RSV1))[0] == 1007


def test_the_limit_is_that_of_the_inflated_message() -> None:
    reader = Reader()
    reader.feed(masked(BINARY, deflated(bytes(LIMIT)), rsv=RSV1))
    assert reader.messages == [bytes(LIMIT)]
    assert refusal(masked(BINARY, deflated(bytes(LIMIT + 1)), rsv=RSV1)) == (1009, "a message has at most 65536 bytes")


def test_noise_that_gets_longer_when_it_is_compressed_still_fits() -> None:
    noise = os.urandom(LIMIT)
    assert len(deflated(noise)) > LIMIT
    reader = Reader()
    reader.feed(masked(BINARY, deflated(noise), rsv=RSV1))
    assert reader.messages == [noise]


def test_half_a_compressed_message_holds_what_has_come_of_it_and_no_more() -> None:
    bomb = deflated(bytes(40_000_000))
    reader = Reader()
    tracemalloc.start()
    try:
        reader.feed(masked(BINARY, bomb, fin=False, rsv=RSV1))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * len(bomb)
    assert peak < 8 * len(bomb)
    assert len(bomb) < LIMIT


# --- over a socket ---


def the_extension(client: ClientConnection) -> PerMessageDeflate:
    (extension,) = client.protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    return extension


async def answer_to(port: int, *headers: str) -> bytes:
    """The head of the answer to a handshake with *headers*."""
    head = b""
    async with await connect(port) as client:
        await client.send_all(upgrade("/ws/plain", *headers))
        while not head.endswith(b"\r\n\r\n"):
            head += await client.receive_some(1)
    return head


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_a_foreign_client_agrees_on_it_and_is_understood(path: str) -> None:
    async with running(make_app().quart, compression=True) as server, ws_connect(server.url(path)) as client:
        extension = the_extension(client)
        assert extension.remote_no_context_takeover
        assert extension.local_no_context_takeover
        assert extension.remote_max_window_bits == 12
        for message in ("hello", "grüße", JSON, JSON, "x" * LIMIT, ""):
            await client.send(message)
            assert await client.recv() == message


async def test_binary_goes_compressed_in_and_out() -> None:
    async with running(make_app().quart, compression=True) as server, ws_connect(server.url("/ws/plain")) as client:
        for message in (bytes(60_000), os.urandom(60_000), b""):
            await client.send(message)
            assert await client.recv() == message


async def test_it_is_off_unless_it_is_switched_on() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as client:
        assert client.protocol.extensions == []


@pytest.mark.parametrize(
    "factory",
    [
        ClientPerMessageDeflateFactory(server_max_window_bits=11),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=True),
    ],
)
async def test_a_client_that_cannot_keep_the_window_goes_without(factory: ClientPerMessageDeflateFactory) -> None:
    async with (
        running(make_app().quart, compression=True) as server,
        ws_connect(server.url("/ws/plain"), compression=None, extensions=[factory]) as client,
    ):
        assert client.protocol.extensions == []
        await client.send(JSON)
        assert await client.recv() == JSON


async def test_a_client_falls_back_to_its_next_offer() -> None:
    offers = [ClientPerMessageDeflateFactory(server_max_window_bits=9), ClientPerMessageDeflateFactory()]
    async with (
        running(make_app().quart, compression=True) as server,
        ws_connect(server.url("/ws/wire"), compression=None, extensions=offers) as client,
    ):
        assert the_extension(client).remote_max_window_bits == 12
        await client.send(JSON)
        assert await client.recv() == JSON


async def test_offers_in_several_headers_are_one_list() -> None:
    async with running(make_app().quart, compression=True) as server:
        answer = await answer_to(
            server.port,
            "Sec-WebSocket-Extensions: permessage-deflate; level=9",
            "sec-websocket-extensions: other, permessage-deflate",
        )
    assert f"sec-websocket-extensions: {ANSWER}\r\n".encode() in answer
    assert answer.lower().count(b"sec-websocket-extensions") == 1


async def test_no_offer_gets_no_answer() -> None:
    async with running(make_app().quart, compression=True) as server:
        for headers in ((), ("Sec-WebSocket-Extensions: other",)):
            assert b"extensions" not in (await answer_to(server.port, *headers)).lower()


async def test_a_header_that_is_no_list_of_extensions_fails_the_handshake() -> None:
    """RFC 6455 section 9.1; where nothing is agreed on, nothing is looked at."""
    broken = "Sec-WebSocket-Extensions: permessage-deflate; =12"
    async with running(make_app().quart, compression=True) as server:
        assert (await answer_to(server.port, broken)).startswith(b"HTTP/1.1 400 ")
    async with running(make_app().quart) as server:
        assert (await answer_to(server.port, broken)).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("compression", [True, False])
async def test_a_compressed_frame_that_was_not_agreed_on_closes_with_1002(compression: bool) -> None:
    async with (
        running(make_app().quart, compression=compression) as server,
        await open_websocket(server.port, "/ws/plain") as client,
    ):
        await client.send_all(masked(TEXT, deflated(b"hello"), rsv=RSV1))
        assert close_code(await read_all(client)) == 1002


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_a_bomb_closes_with_1009(path: str) -> None:
    app = make_app()
    async with running(app.quart, compression=True) as server, ws_connect(server.url(path)) as client:
        await client.send(bytes(30_000_000))
        with pytest.raises(ConnectionClosed), trio.fail_after(5):
            await client.recv()
        assert (client.close_code, client.close_reason) == (1009, "a message has at most 65536 bytes")
        await app.ended.wait()


# --- one message, many connections ---


@attrs.define
class Fanout:
    """A hub, and an application whose every WebSocket subscribes to its one topic."""

    hub: Hub = attrs.field(factory=lambda: Hub(lambda name: TopicSettings()))
    compressed: list[bytes] = attrs.field(factory=list)
    """What was compressed so far."""
    heard: int = 0
    """How many messages came from clients."""

    async def serve(self) -> None:
        wire = await open_wire(websocket)
        connection = Connection(secrets.token_hex(), wire)
        with self.hub.registered(connection):
            self.hub.subscribe(connection, "topic")
            await connection.run(self.hear)

    async def hear(self, message: str | bytes) -> None:
        assert message == JSON
        self.heard += 1
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def fanning_out(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[tuple[Fanout, Server]]:
    fanout = Fanout()
    fanout.hub.declare("topic")
    quart = QuartTrio("tests")
    quart.asgi_websocket_class = WebsocketConnection
    quart.websocket("/ws")(fanout.serve)
    compress = delivery_frames.deflate

    def counting(payload: bytes) -> bytes | None:
        compressed = compress(payload)
        if compressed is not None:
            fanout.compressed.append(payload)
        return compressed

    monkeypatch.setattr(delivery_frames, "deflate", counting)
    async with running(quart, **settings) as server, trio.open_nursery() as nursery:
        await nursery.start(fanout.hub.run)
        yield fanout, server
        nursery.cancel_scope.cancel()


async def subscribed(client: ClientConnection) -> ClientConnection:
    assert json.loads(await client.recv())["type"] == "subscribed"
    return client


async def published(client: ClientConnection, count: int) -> list[Any]:
    return [json.loads(await client.recv())["data"] for _ in range(count)]


@pytest.mark.parametrize("over", ["tcp", "tls"])
async def test_a_message_is_compressed_once_however_many_receive_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, over: str
) -> None:
    files, trust = certificate(tmp_path) if over == "tls" else ({}, None)
    async with fanning_out(monkeypatch, compression=True, **files) as (fanout, server), AsyncExitStack() as stack:
        url = server.url("/ws") if trust is None else f"wss://localhost:{server.port}/ws"
        clients = []
        for offered in ["deflate", "deflate", None, "deflate"] * 3:
            client = await stack.enter_async_context(ws_connect(url, ssl=trust, compression=offered))
            assert bool(client.protocol.extensions) == bool(offered)
            clients.append(await subscribed(client))
        said = []
        for number in range(3):
            said += [JSON + str(number), "short"]
            fanout.hub.publish_nowait("topic", "m", said[-2])
            fanout.hub.publish_nowait("topic", "m", said[-1])
        for client in clients:
            assert await published(client, len(said)) == said
        assert len(fanout.compressed) == 3


def certificate(folder: Path) -> tuple[dict[str, Any], ssl.SSLContext]:
    """The files of a server, and what its clients trust."""
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return {"certfile": folder / "server.pem", "keyfile": folder / "server.pem"}, trust


async def test_nothing_is_compressed_while_nobody_has_agreed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fanning_out(monkeypatch, compression=True) as (fanout, server):
        async with ws_connect(server.url("/ws"), compression=None) as client:
            await subscribed(client)
            fanout.hub.publish_nowait("topic", "m", JSON)
            assert await published(client, 1) == [JSON]
        assert fanout.compressed == []


async def test_a_compressed_frame_is_as_small_on_the_wire_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fanning_out(monkeypatch, compression=True) as (fanout, server):
        async with await listening(fanout, server, OFFER) as client:
            fanout.hub.publish_nowait("topic", "m", JSON * 10)
            frame = await client.receive_some()
        (payload,) = fanout.compressed
        assert frame[0] == 0xC1
        assert 50 < len(frame) < len(payload) / 10


async def test_a_connection_keeps_no_more_for_having_agreed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib's compressor takes 256 KiB and its inflater 40: nothing of the kind stays after a message each way."""
    count = 20

    async def bytes_for_each(header: str, message: bytes) -> float:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        clients = [await stack.enter_async_context(await listening(fanout, server, header)) for _ in range(count)]
        heard = fanout.heard
        for client in clients:
            await client.send_all(message)
        await until(lambda: fanout.heard == heard + count)
        fanout.hub.publish_nowait("topic", "m", JSON)
        for client in clients:
            assert len(await client.receive_some()) > 50
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / count

    plain, compressed = masked(TEXT, JSON.encode()), masked(TEXT, deflated(JSON.encode()), rsv=RSV1)
    async with fanning_out(monkeypatch, compression=True) as (fanout, server), AsyncExitStack() as stack:
        tracemalloc.start()
        try:
            await bytes_for_each(f"X-{OFFER}", plain)  # with what is made once for all
            without = await bytes_for_each(f"X-{OFFER}", plain)
            agreed = await bytes_for_each(OFFER, compressed)
        finally:
            tracemalloc.stop()
    assert agreed - without < 1024
    assert len(fanout.compressed) == 1


async def listening(fanout: Fanout, server: Server, header: str) -> trio.SocketStream:
    """A socket that has subscribed, and has read all that came of it."""
    subscribers = fanout.hub.subscribers("topic")
    client = await connect(server.port)
    await client.send_all(upgrade("/ws", header))
    await until(lambda: fanout.hub.subscribers("topic") == subscribers + 1)
    data = b""
    while b'"subscribed"' not in data or not data.endswith(b"}"):
        data += await client.receive_some()
    return client


@attrs.define
class SlowClient:
    """One that reads when the test says so, and little at a time."""

    stream: trio.SocketStream
    protocol: ClientProtocol
    heard: list[Any] = attrs.field(factory=list)
    """What was published, as far as it has been read."""

    async def read(self, count: int) -> None:
        """Until *count* messages were heard in all."""
        while len(self.heard) < count:
            self.protocol.receive_data(await self.stream.receive_some())
            for event in self.protocol.events_received():
                if isinstance(event, Frame):
                    assert event.opcode is Opcode.TEXT
                    self.heard += [said["data"] for said in [json.loads(event.data)] if said["type"] == "m"]


async def test_compressed_frames_that_a_client_takes_in_parts_are_whole_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some batches go at once, of some a part does, and the rest waits: see `realtime.delivery.topics`."""
    async with fanning_out(monkeypatch, compression=True) as (fanout, server):
        protocol = ClientProtocol(parse_uri(server.url("/ws")), extensions=[ClientPerMessageDeflateFactory()])
        protocol.send_request(protocol.connect())
        async with await connect(server.port, receive_buffer=4096) as stream:
            await stream.send_all(b"".join(protocol.data_to_send()))
            await until(lambda: fanout.hub.subscribers("topic") == 1)
            client, said = SlowClient(stream, protocol), []
            for number in range(200):
                said.append(f"{number} {os.urandom(1500).hex()}")
                fanout.hub.publish_nowait("topic", "m", said[-1])
                if number % 3:
                    await wait_all_tasks_blocked()
                if number in (50, 100):
                    await client.read(number)  # and so it is idle again
            figures = fanout.hub.statistics()
            assert 0 < figures.written < figures.deliveries
            await client.read(len(said))
        assert client.heard == said
        assert len(fanout.compressed) == len(said)
