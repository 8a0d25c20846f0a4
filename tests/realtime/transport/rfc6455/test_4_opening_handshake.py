"""Section 4, and 1.3: the opening handshake, as the server has to read and to answer it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ..harness import connect
from .kit import PING, PONG, TEXT, Client, close, closed, frame, serving, talking

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""1.3: what the RFC works out for that key."""
LINES = [
    "GET /ws/plain HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
]


def request(*more: str, without: str | None = None, first: str = LINES[0]) -> bytes:
    """The handshake of section 1.2, with *more* headers, *without* those of a name."""
    headers = [line for line in LINES[1:] if without is None or not line.startswith(f"{without}:")]
    return "\r\n".join([first, *headers, *more, "", ""]).encode("latin1")


def replaced(name: str, *lines: str) -> bytes:
    """The handshake with *lines* in place of the header *name*."""
    return request(*lines, without=name)


class Answer:
    """A response's status and headers, and what follows."""

    def __init__(self, data: bytes) -> None:
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        self.version, status, _ = (first + b" ").split(b" ", 2)
        self.status = int(status)
        self.headers: dict[bytes, bytes] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            assert name.lower() not in self.headers, f"{name!r} twice"
            self.headers[name.lower()] = value.strip()


async def ask(stream: trio.SocketStream, sent: bytes, pieces: Iterable[bytes] = ()) -> Answer:
    """Send *sent*, or *pieces* each in a segment of its own, and read the answer's headers and what comes with them."""
    for piece in pieces or [sent]:
        await stream.send_all(piece)
        if pieces:
            await wait_all_tasks_blocked()
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        assert chunk, f"no answer but {data!r}"
        data += chunk
    return Answer(data)


async def opens(sent: bytes, pieces: Iterable[bytes] = (), app: Any = None) -> Answer:
    """The answer to *sent*, which has to open a WebSocket that works."""
    async with serving(app) as server, await connect(server.port) as stream:
        answer = await ask(stream, sent, pieces)
        assert answer.status == 101
        client = Client(stream)
        await client.send(frame(PING, b"open?") + close(1000))
        await client.hear_end((PONG, b"open?"), closed(1000))
    return answer


async def refuses(sent: bytes, status: int) -> Answer:
    """The answer to *sent*, which has to have *status*; then the connection ends."""
    async with serving() as server, await connect(server.port) as stream:
        answer = await ask(stream, sent)
        assert answer.status == status
        assert answer.headers[b"connection"] == b"close"
        while await stream.receive_some():
            pass
    return answer


# --- 4.2.2: the answer ----------------------------------------------------------------------------------------


async def test_1_3_the_example_of_the_rfc():
    answer = await opens(request())
    assert answer.version == b"HTTP/1.1"
    assert answer.headers[b"upgrade"].lower() == b"websocket"
    assert answer.headers[b"connection"].lower() == b"upgrade"
    assert answer.headers[b"sec-websocket-accept"] == ACCEPT
    assert answer.rest == b""


@pytest.mark.parametrize("name", [b"sec-websocket-extensions", b"sec-websocket-protocol"])
async def test_4_1_nothing_is_agreed_on_that_was_not_offered(name):
    assert name not in (await opens(request())).headers


@pytest.mark.parametrize("name", [b"content-length", b"transfer-encoding"])
async def test_no_body_is_announced(name):
    assert name not in (await opens(request())).headers


@pytest.mark.parametrize(
    ("key", "accept"),
    [
        ("AAAAAAAAAAAAAAAAAAAAAA==", b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
        ("/////////////////////w==", b"XXpj4jYzLM2yUE0C7TIgMwTQh2g="),
        ("x3JJHMbDL1EzLkh9GBhXDw==", b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ],
)
async def test_4_2_2_the_accept_value_belongs_to_the_key(key, accept):
    answer = await opens(replaced("Sec-WebSocket-Key", f"Sec-WebSocket-Key:   {key}  "))
    assert answer.headers[b"sec-websocket-accept"] == accept


# --- 4.2.1: what has to be taken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        request().replace(b"websocket", b"WebSocket"),
        request().replace(b"websocket", b"WEBSOCKET"),
        request().replace(b"Connection: Upgrade", b"Connection: upgrade"),
        request().replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
        request().replace(b"Connection: Upgrade", b"Connection: Upgrade,keep-alive"),
        replaced("Connection", "Connection: Upgrade", "Connection: keep-alive"),
        replaced("Connection", "Connection: keep-alive", "Connection: Upgrade"),
        replaced("Upgrade", "Upgrade: websocket, other/1"),
        replaced("Upgrade", "Upgrade: other/1", "Upgrade: websocket"),
        request()
        .lower()
        .replace(KEY.lower().encode(), KEY.encode())
        .replace(b"get /ws/plain http", b"GET /ws/plain HTTP"),
        request().replace(b": ", b":"),
        request().replace(b": ", b": \t "),
        request("Origin: http://example.com", "Cookie: a=b", "User-Agent: x", "Authorization: Basic eDp5"),
        request("X-Long: " + "x" * 8000),
        request("Content-Length: 0"),
        request("Sec-WebSocket-Extensions: x-unknown; a=1, x-other"),
        request("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat, other"),
        request(first="GET /ws/plain?a=b&c=%20 HTTP/1.1"),
        request(first="GET /ws/pl%61in HTTP/1.1"),
        request(first="GET http://server.example.com/ws/plain HTTP/1.1"),
    ],
    ids=[
        "upgrade in camel case",
        "upgrade in capitals",
        "connection in small letters",
        "connection among others",
        "connection without blanks",
        "connection first of two",
        "connection second of two",
        "upgrade among others",
        "upgrade second of two",
        "names in small letters",
        "no blanks",
        "many blanks",
        "more headers",
        "long header",
        "empty body",
        "unknown extensions",
        "subprotocols in two headers",
        "query",
        "escaped path",
        "absolute form",
    ],
)
async def test_4_2_1_a_valid_handshake_opens(sent):
    answer = await opens(sent)
    assert b"sec-websocket-extensions" not in answer.headers


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_it_may_come_in_any_pieces(size):
    sent = request()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert (await opens(sent, pieces)).headers[b"sec-websocket-accept"] == ACCEPT


async def test_it_may_follow_an_ordinary_request():
    async with serving() as server, await connect(server.port) as stream:
        answer = await ask(stream, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.status == 200
        while b"}" not in answer.rest:
            answer.rest += await stream.receive_some()
        assert (await ask(stream, request())).status == 101
        client = Client(stream)
        await client.send(frame(TEXT, b"open"))
        await client.hear((TEXT, b"open"))


# --- 4.2.1 and 4.4: what must not -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        request(without="Host"),
        request("Host: again.example.com"),
        request(without="Sec-WebSocket-Key"),
        request("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key:"),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE="),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhl*HNhbXBsZSBub25jZQ=="),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ\xfc=="),
        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: " + "A" * 1000),
        request(without="Sec-WebSocket-Version"),
        request(first="GET /ws/plain HTTP/1.0"),
        request(first="GET /ws/plain HTTP/1.0").replace(b"Host: server.example.com\r\n", b""),
        request("Content-Length: 5") + b"hello",
        request("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        request() + frame(TEXT, b"too early"),
        request("Sec-WebSocket-Protocol: \xfc"),
    ],
    ids=[
        "no host",
        "two hosts",
        "no key",
        "two keys",
        "empty key",
        "key of 15 bytes",
        "key of 17 bytes",
        "key without padding",
        "key that is no base64",
        "key that is not ascii",
        "long key",
        "no version",
        "http/1.0",
        "http/1.0 without host",
        "body",
        "chunked body",
        "frames before the answer",
        "subprotocol that is not ascii",
    ],
)
async def test_4_2_1_a_handshake_that_is_none_is_400(sent):
    answer = await refuses(sent, 400)
    assert answer.headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize("version", ["0", "4", "7", "8", "12", "14", "25", "255", "256", "013", "13.0", "-13", "x", ""])
async def test_4_4_another_version_is_426_and_told_ours(version):
    answer = await refuses(replaced("Sec-WebSocket-Version", f"Sec-WebSocket-Version: {version}"), 426)
    assert answer.headers[b"sec-websocket-version"] == b"13"


@pytest.mark.parametrize("versions", [("13, 8",), ("8", "13"), ("13", "8"), ("13", "13")])
async def test_11_3_5_a_client_names_one_version(versions):
    lines = [f"Sec-WebSocket-Version: {version}" for version in versions]
    async with serving() as server, await connect(server.port) as stream:
        answer = await ask(stream, replaced("Sec-WebSocket-Version", *lines))
        assert answer.status in (400, 426)
        assert answer.headers[b"sec-websocket-version"] == b"13"


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "get"])
async def test_4_2_1_another_method_opens_nothing(method):
    async with serving() as server, await connect(server.port) as stream:
        answer = await ask(stream, request("Content-Length: 0", first=f"{method} /ws/plain HTTP/1.1"))
        assert answer.status >= 400


@pytest.mark.parametrize(
    "sent",
    [
        request(without="Upgrade"),
        replaced("Upgrade", "Upgrade: other"),
        replaced("Upgrade", "Upgrade: websocket2"),
        request(without="Connection"),
        replaced("Connection", "Connection: keep-alive"),
        replaced("Connection", "Connection: Upgrader"),
    ],
    ids=["no upgrade", "to something else", "to something like it", "no connection", "no token", "a token like it"],
)
async def test_4_2_1_without_an_upgrade_it_is_an_ordinary_request(sent):
    async with serving() as server, await connect(server.port) as stream:
        answer = await ask(stream, sent)
        assert answer.status in (400, 404, 426)
        assert b"sec-websocket-accept" not in answer.headers


# --- 4.2.2: subprotocols --------------------------------------------------------------------------------------


def choosing(subprotocol: str | None) -> Any:
    """An application that accepts *subprotocol*."""

    async def app(scope: Any, receive: Any, send: Any, *more: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return app


@pytest.mark.parametrize(
    "offers",
    [("chat",), ("superchat, chat",), ("chat,superchat",), ("superchat", "chat"), ("chat", "superchat"), (" chat ,x",)],
)
async def test_11_3_4_the_chosen_subprotocol_is_the_only_one_answered(offers):
    sent = request(*(f"Sec-WebSocket-Protocol: {offer}" for offer in offers))
    assert (await opens(sent, app=choosing("chat"))).headers[b"sec-websocket-protocol"] == b"chat"


async def test_4_2_2_none_need_be_chosen():
    answer = await opens(request("Sec-WebSocket-Protocol: chat"), app=choosing(None))
    assert b"sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize("offers", [(), ("Sec-WebSocket-Protocol: chat",)])
async def test_4_2_2_one_that_was_not_offered_cannot_be_chosen(offers):
    async with serving(choosing("other"), fails=True) as server, await connect(server.port) as stream:
        assert (await ask(stream, request(*offers))).status == 500


# --- and then -------------------------------------------------------------------------------------------------


async def test_the_first_frame_may_come_with_the_first_byte_after_the_answer(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"first"))
        await client.hear(way.echo(TEXT, b"first"))
