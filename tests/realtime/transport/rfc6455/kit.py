"""A client that says exactly what it is told to, and hears nothing that a server must not say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ..harness import Server, connect, make_app, running, until, upgrade

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# Any four bytes: section 5.3 wants them unpredictable, which no server can check.
KEY = b"\x37\xfa\x21\x3d"
MAX_MESSAGE = 70_000


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = KEY,
    length: int | None = None,
    form: int | None = None,
) -> bytes:
    """A client's frame.

    Args:
      key: None sends it unmasked.
      length: what the header announces, if not the payload's own.
      form: bits of the length field, 7, 16 or 64; the shortest if not given.
    """
    announced = len(payload) if length is None else length
    form = form or (7 if announced < 126 else 16 if announced < 65_536 else 64)
    mask = 0 if key is None else 0x80
    second = {7: bytes([mask | announced & 0x7F]), 16: bytes([mask | 126]), 64: bytes([mask | 127])}[form]
    extended = b"" if form == 7 else announced.to_bytes(form // 8)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + second + extended
    return head + payload if key is None else head + key + masking(payload, key)


def masking(payload: bytes, key: bytes) -> bytes:
    """Section 5.3: each byte with that of the key whose turn it is."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(len(payload))


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason)


Heard = tuple[int, bytes]


def text(payload: str | bytes) -> Heard:
    """A text message, as it is heard."""
    return TEXT, payload.encode() if isinstance(payload, str) else payload


def closed(code: int | None = None, reason: bytes = b"") -> Heard:
    """A Close frame, as it is heard."""
    return CLOSE, b"" if code is None else code.to_bytes(2) + reason


def heard_in(data: bytes) -> Iterator[Heard]:
    """The frames in *data*, none of which breaks a rule that a server has to keep."""
    while data:
        assert len(data) >= 2, "half a header"
        first, second, start = data[0], data[1], 2
        assert first & 0x70 == 0, "5.2: no reserved bit without an extension"
        assert second & 0x80 == 0, "5.1: a server must not mask any frames"
        opcode, length = first & 0x0F, second
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), "5.2: no reserved opcode"
        if second == 126:
            start, length = 4, int.from_bytes(data[2:4])
            assert length > 125, "5.2: the shortest form of the length"
        elif second == 127:
            start, length = 10, int.from_bytes(data[2:10])
            assert 65_535 < length < 2**63, "5.2: the shortest form of the length"
        if opcode >= CLOSE:
            assert first & 0x80, "5.5: a control frame must not be fragmented"
            assert length <= 125, "5.5: a control frame has at most 125 bytes"
        assert len(data) >= start + length, "half a frame"
        yield opcode, data[start : start + length]
        data = data[start + length :]
        assert opcode != CLOSE or not data, "5.5.1: nothing may follow a Close frame"


@attrs.define
class Client:
    """A raw socket, after its opening handshake."""

    stream: trio.SocketStream
    byte_by_byte: bool = False

    async def send(self, data: bytes) -> None:
        """In one piece; or each byte in a segment of its own, the next one when the server has read it."""
        pieces = [data]
        if self.byte_by_byte:
            # Headers stand at the beginning; the middle of a long payload teaches nothing.
            middle = slice(300, max(300, len(data) - 100))
            pieces = [*_bytes_of(data[: middle.start]), data[middle], *_bytes_of(data[middle.stop :])]
        for piece in pieces:
            try:
                await self.stream.send_all(piece)
            except trio.BrokenResourceError:
                return  # the server has judged already, and does not wait for the rest
            if self.byte_by_byte:
                await wait_all_tasks_blocked()

    async def hear(self, *expected: Heard) -> None:
        """These frames and no others, as far as they have come."""
        data, wanted = b"", sum(len(payload) + _head(payload) for _, payload in expected)
        while len(data) < wanted:
            chunk = await self.stream.receive_some(wanted - len(data))
            assert chunk, f"the end, after {list(heard_in(data))}"
            data += chunk
        assert list(heard_in(data)) == list(expected)

    async def hear_end(self, *expected: Heard) -> None:
        """These frames, then an orderly end: 7.1.1, the server closes first, while the client only listens."""
        assert list(heard_in(await self._rest())) == list(expected)

    async def hear_failure(self, code: int, *before: Heard) -> None:
        """*before*, then the connection is failed with *code* and a reason in UTF-8, and ended: section 7.1.7."""
        *others, (opcode, payload) = heard_in(await self._rest())
        assert others == list(before)
        assert (opcode, int.from_bytes(payload[:2])) == (CLOSE, code)
        assert payload[2:].decode()

    async def _rest(self) -> bytes:
        data = b""
        while chunk := await self.stream.receive_some():
            data += chunk
        return data


def _bytes_of(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def _head(payload: bytes) -> int:
    return 2 if len(payload) < 126 else 4 if len(payload) < 65_536 else 10


@attrs.frozen
class Way:
    """To whom a case is told, and how."""

    path: str
    byte_by_byte: bool

    def echo(self, opcode: int, payload: bytes) -> Heard:
        """What comes back for a message: a wire of ours sends text alone."""
        return (TEXT if self.path == "/ws/wire" else opcode), payload


WAYS = [
    pytest.param(Way(path, by_byte), id=f"{name}{'-by-byte' if by_byte else ''}")
    for path, name in (("/ws/plain", "plain"), ("/ws/wire", "wire"))
    for by_byte in (False, True)
]


@asynccontextmanager
async def serving(app: Any = None, **settings: Any) -> AsyncIterator[Server]:
    """An echo server, or *app*'s; at the end every client has left, and nothing of theirs may be there still."""
    settings = {"max_message_bytes": MAX_MESSAGE, "disconnect_grace": 0.5} | settings
    async with running(make_app().quart if app is None else app, **settings) as server:
        idle = tasks()
        yield server
        await until(lambda: server.open == 0)
        assert tasks() == idle
        assert server.admission.statistics().open == 0


@asynccontextmanager
async def talking(way: Way, **settings: Any) -> AsyncIterator[Client]:
    """A client of an echo server."""
    async with serving(**settings) as server, await connect(server.port) as stream:
        await shake_hands(stream, way.path)
        yield Client(stream, way.byte_by_byte)


async def shake_hands(stream: trio.SocketStream, path: str) -> None:
    """Become a WebSocket."""
    await stream.send_all(upgrade(path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = await stream.receive_some(1)
        assert byte, head
        head += byte
    assert head.startswith(b"HTTP/1.1 101"), head


def tasks() -> int:
    """How many there are in all."""
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    count = 0
    while waiting:
        count += 1
        for nursery in waiting.pop().child_nurseries:
            waiting.extend(nursery.child_tasks)
    return count
