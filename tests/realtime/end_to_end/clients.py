"""Clients: one that behaves, made with the ``websockets`` package, and raw sockets for those that do not."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.trio.client import ClientConnection, connect
from websockets.uri import parse_uri

from tests.realtime.server_process import PATIENCE, Answer, ServerProcess, eventually

Message = dict[str, Any]


@attrs.frozen
class Closed:
    """How the server ended a connection; 1006 is without a Close frame."""

    code: int
    reason: str


@attrs.define(eq=False)
class News:
    """Wakes those who wait for something to become true, so that they look again."""

    _event: trio.Event = attrs.field(factory=trio.Event)

    def tell(self) -> None:
        """Wake all who wait."""
        event, self._event = self._event, trio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait until there is something to look at."""
        await self._event.wait()


@attrs.define(eq=False)
class Listener:
    """A client that reads everything at once and keeps it, with the time (seconds) at which it came."""

    socket: ClientConnection
    received: list[Message] = attrs.field(factory=list)
    arrivals: list[float] = attrs.field(factory=list)
    closed: Closed | None = None
    _news: News = attrs.field(factory=News)

    async def read(self) -> None:
        """Until the connection ends."""
        try:
            while True:
                text = await self.socket.recv(decode=True)
                self.received.append(json.loads(text))
                self.arrivals.append(trio.current_time())
                self._news.tell()
        except ConnectionClosed as end:
            self.closed = Closed(1006, "") if end.rcvd is None else Closed(end.rcvd.code, end.rcvd.reason)
            self._news.tell()

    async def send(self, message: object) -> None:
        """Send *message* as JSON; a string as it is."""
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """What *condition* returns, once that is true; asked again whenever a message comes, and at the end."""
        with trio.move_on_after(seconds):
            while not (found := condition()):
                if self.closed is not None:
                    break
                await self._news.wait()
            else:
                return found
        raise AssertionError(f"closed: {self.closed}; received: {self.received[-20:]}")

    def all(self, type: str, **fields: object) -> list[Message]:
        """The messages of *type* so far with these fields."""
        return [m for m in self.received if m["type"] == type and all(m.get(k) == v for k, v in fields.items())]

    async def first(self, type: str, seconds: float = PATIENCE, **fields: object) -> Message:
        """The first message of *type* with these fields, waiting for it."""
        found: list[Message] = await self.until(partial(self.all, type, **fields), seconds)
        return found[0]

    async def several(self, count: int, type: str, seconds: float = PATIENCE, **fields: object) -> list[Message]:
        """The first *count* messages of *type* with these fields, waiting for them."""
        await self.until(lambda: len(self.all(type, **fields)) >= count, seconds)
        return self.all(type, **fields)[:count]

    def arrivals_of(self, type: str, **fields: object) -> list[float]:
        """When the messages of *type* with these fields came."""
        wanted = {id(message) for message in self.all(type, **fields)}
        return [at for message, at in zip(self.received, self.arrivals, strict=True) if id(message) in wanted]

    async def end(self, seconds: float = PATIENCE) -> Closed:
        """How the server closed it, waiting for it."""
        with trio.fail_after(seconds):
            while self.closed is None:
                await self._news.wait()
        return self.closed

    async def ask(self, message: object, type: str, seconds: float = PATIENCE, **fields: object) -> Message:
        """Send *message* and return the first message of *type* that comes after it."""
        before = len(self.all(type, **fields))
        await self.send(message)
        return (await self.several(before + 1, type, seconds, **fields))[-1]


@asynccontextmanager
async def listening(server: ServerProcess, path: str, **options: Any) -> AsyncIterator[Listener]:
    """A client of *path*, once its first subscription is confirmed; *options* as for websockets' ``connect``."""
    # Neither a proxy of the machine's nor pings of the client's: only what the server does counts.
    defaults: dict[str, Any] = {"proxy": None, "ping_interval": None, "open_timeout": PATIENCE}
    async with connect(server.ws(path), **{**defaults, **options}) as connection, trio.open_nursery() as nursery:
        listener = Listener(connection)
        nursery.start_soon(listener.read)
        await listener.first("subscribed")
        yield listener
        nursery.cancel_scope.cancel(reason="the test has seen enough")


@asynccontextmanager
async def many_listening(server: ServerProcess, path: str, count: int, **options: Any) -> AsyncIterator[list[Listener]]:
    """*count* clients of *path*."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(listening(server, path, **options)) for _ in range(count)]


async def ask(server: ServerProcess, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """An HTTP request, made in a thread so that other clients go on meanwhile."""
    return await trio.to_thread.run_sync(server.request, method, path, body, headers)


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What blocks for long, in a thread, so that the clients go on meanwhile."""
    return await trio.to_thread.run_sync(partial(function, *args, **kwargs))


async def wait_until(check: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """As `eventually`, in a thread."""
    return await in_thread(eventually, check, seconds)


# --- raw sockets ----------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class RawClient:
    """A WebSocket that does nothing by itself: it neither reads nor answers, nor says that it leaves."""

    stream: trio.SocketStream
    protocol: ClientProtocol
    frames: list[Frame] = attrs.field(factory=list)
    """Received and not yet looked at; the first may come together with the answer to the handshake."""

    async def write(self) -> None:
        """Send what the protocol wants sent."""
        for data in self.protocol.data_to_send():
            await self.stream.send_all(data)

    async def read(self) -> list[Message]:
        """The next messages; Pings and the Close frame among them are not answered.

        Raises:
          EOFError: the server hung up.
        """
        while not self.frames:
            data = await self.stream.receive_some(65_536)
            if not data:
                raise EOFError("the server hung up")
            self.take(data)
        frames, self.frames = self.frames, []
        return [json.loads(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]

    def take(self, data: bytes) -> None:
        """Parse what was read."""
        self.protocol.receive_data(data)
        self.frames += [event for event in self.protocol.events_received() if isinstance(event, Frame)]

    async def read_until_closed(self, seconds: float = PATIENCE) -> Closed:
        """Read, but say nothing, until the server's Close frame comes; returns what it says."""
        with trio.fail_after(seconds):
            while self.protocol.close_rcvd is None:
                await self.read()
        return Closed(self.protocol.close_rcvd.code, self.protocol.close_rcvd.reason)

    def reset(self) -> None:
        """Leave with a TCP reset, as a process does that is killed with something unread."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    def leave(self) -> None:
        """Leave with TCP's own goodbye, but without a Close frame."""
        self.stream.socket.close()


@asynccontextmanager
async def raw_client(
    server: ServerProcess, path: str, *, receive_buffer: int | None = None
) -> AsyncIterator[RawClient]:
    """A WebSocket by hand; *receive_buffer* bytes make one that soon takes no more when it does not read."""
    connection = trio.socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await connection.connect(("127.0.0.1", server.port))
    client = RawClient(trio.SocketStream(connection), ClientProtocol(parse_uri(server.ws(path))))
    async with client.stream:
        with trio.fail_after(PATIENCE):
            client.protocol.send_request(client.protocol.connect())
            await client.write()
            while client.protocol.state is State.CONNECTING:
                client.take(await client.stream.receive_some(65_536))
        assert client.protocol.handshake_exc is None, client.protocol.handshake_exc
        yield client
