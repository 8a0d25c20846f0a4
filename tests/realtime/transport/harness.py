"""A small application behind our server, the same behind Hypercorn's own worker, and clients that misbehave."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve
from quart import request, websocket
from quart_trio import QuartTrio
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from realtime.delivery import frames
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, Wire
from realtime.transport import Admission, ServerConfig, WebsocketConnection, open_listener, open_wire, serve
from supervisors import ChildSpec, DynamicSupervisorSpec, SupervisorRef, SupervisorSpec, Tree, open_tree
from tests.realtime import waiting

HOST = "127.0.0.1"


@attrs.define
class App:
    """An application and what its handlers saw."""

    quart: QuartTrio
    release: trio.Event = attrs.field(factory=trio.Event)
    """Lets the handlers of ``/wait`` and ``/ws/deaf`` go on."""
    seen: list[Any] = attrs.field(factory=list)
    wires: list[Wire] = attrs.field(factory=list)
    opened: trio.Event = attrs.field(factory=trio.Event)
    """A WebSocket has been accepted."""
    ended: trio.Event = attrs.field(factory=trio.Event)
    """A handler of a WebSocket has ended."""

    async def own(self, wire: Wire) -> None:
        """Echo what comes over *wire*, and note how it ended."""
        try:
            while True:
                message = await wire.receive()
                payload = message.encode() if isinstance(message, str) else message
                await wire.send([frames.text(payload)])
        except (PeerClosed, PeerMisbehaved) as end:
            self.seen.append(end)


def make_app() -> App:
    quart = QuartTrio("tests")
    quart.asgi_websocket_class = WebsocketConnection
    app = App(quart)

    @quart.get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    @quart.post("/echo")
    async def echo() -> bytes:
        return await request.get_data()

    @quart.get("/wait")
    async def wait() -> dict[str, str]:
        app.opened.set()
        await app.release.wait()
        return {"waited": "yes"}

    @quart.get("/endless")
    async def endless() -> Any:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65_536

        return body(), 200, {"content-type": "application/octet-stream"}

    @quart.get("/fail")
    async def fail() -> None:
        raise RuntimeError("on purpose")

    @quart.websocket("/ws/plain")
    async def plain() -> None:
        """A handler as users write them."""
        try:
            await websocket.accept()
            app.opened.set()
            while True:
                await websocket.send(await websocket.receive())
        finally:
            app.ended.set()

    @quart.websocket("/ws/wire")
    async def wired() -> None:
        wire = await open_wire(websocket)
        app.wires.append(wire)
        app.opened.set()
        try:
            await app.own(wire)
            await wire.aclose(1000)
        finally:
            app.ended.set()

    @quart.websocket("/ws/flood")
    async def flood() -> None:
        """Writes for ever over the wire."""
        wire = await open_wire(websocket)
        app.wires.append(wire)
        app.opened.set()
        try:
            while True:
                await wire.send([frames.text(b"x" * 65_536)])
        except Exception as error:
            app.seen.append(error)
        finally:
            app.ended.set()

    @quart.websocket("/ws/deaf")
    async def deaf() -> None:
        """Never receives."""
        await websocket.accept()
        app.opened.set()
        try:
            await app.release.wait()
        finally:
            app.ended.set()

    @quart.websocket("/ws/pour")
    async def pour() -> None:
        """Writes for ever, as users write it."""
        await websocket.accept()
        app.opened.set()
        try:
            while True:
                await websocket.send("x" * 65_536)
        finally:
            app.ended.set()

    @quart.websocket("/ws/fail")
    async def fail_after_accept() -> None:
        await websocket.accept()
        raise RuntimeError("on purpose")

    @quart.websocket("/ws/fail-wire")
    async def fail_with_wire() -> None:
        await open_wire(websocket)
        raise RuntimeError("on purpose")

    @quart.websocket("/ws/forbidden")
    async def forbidden() -> Any:
        return {"error": {"code": "forbidden", "message": "no", "details": {}}}, 403

    @quart.websocket("/ws/close/<int:code>")
    async def close(code: int) -> None:
        await websocket.accept()
        await websocket.close(code, "as asked")

    return app


@attrs.frozen
class Server:
    """One that runs in a tree of its own."""

    tree: Tree
    connections: SupervisorRef
    admission: Admission
    port: int
    log: list[Any]
    """The lines that were logged, with what is bound to their task."""

    def url(self, path: str) -> str:
        return f"ws://{HOST}:{self.port}{path}"

    async def stop(self, seconds: float) -> None:
        """Stop the tree in an orderly way within *seconds*."""
        await self.tree.stop(deadline=trio.current_time() + seconds)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self.connections.which_children())


@asynccontextmanager
async def running(
    app: Any, *, fails: bool = False, max_connections: int = 1000, per_address: int = 1000, **settings: Any
) -> AsyncIterator[Server]:
    """Serve *app* in a tree: ``connections`` and ``server``, as in the real one.

    Unless something is said to fail, nothing may be logged as failed.
    """
    listener = open_listener(f"{HOST}:0")
    connections = SupervisorRef()
    admission = Admission(max_connections, per_address)
    config = ServerConfig(**settings)
    spec = SupervisorSpec(
        [
            ChildSpec("connections", DynamicSupervisorSpec(), ref=connections),
            ChildSpec("server", serve, args=(app, listener, config, connections, admission)),  # type: ignore[arg-type]
        ]
    )
    try:
        with capture_logs(processors=[merge_contextvars]) as log:
            # A test that hangs is a test that fails.
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    tree = await nursery.start(run_tree, spec)
                    yield Server(tree, connections, admission, listener.getsockname()[1], log)
                    await tree.stop()
                    nursery.cancel_scope.cancel()
        assert fails or [line for line in log if line["log_level"] in ("warning", "error")] == []
    finally:
        listener.close()


async def run_tree(spec: SupervisorSpec, *, task_status: trio.TaskStatus[Tree]) -> None:
    """Run a tree beside the test: one around it would cancel what the test does after it has stopped the tree."""
    async with open_tree(spec) as tree:
        task_status.started(tree)
        await trio.sleep_forever()


@attrs.frozen
class BareServer:
    """Hypercorn's own worker."""

    port: int
    stop: trio.Event
    ended: trio.Event
    failures: list[Exception] = attrs.field(factory=list)
    """With what it ended, if not in an orderly way."""

    def url(self, path: str) -> str:
        return f"ws://{HOST}:{self.port}{path}"


@asynccontextmanager
async def bare(app: Any, **settings: Any) -> AsyncIterator[BareServer]:
    """Serve *app* with what ``hypercorn -k trio`` runs."""
    config = Config()
    config.errorlog = None
    config.graceful_timeout = 0.2
    for name, value in settings.items():
        setattr(config, name, value)
    listener = open_listener(f"{HOST}:0")
    server = BareServer(listener.getsockname()[1], trio.Event(), trio.Event())

    async def work(*, task_status: trio.TaskStatus[Any]) -> None:
        try:
            await worker_serve(
                ASGIWrapper(app),
                config,
                sockets=Sockets([], [listener], []),
                shutdown_trigger=server.stop.wait,
                task_status=task_status,
            )
        except* Exception as failures:
            server.failures.extend(failures.exceptions)
        finally:
            server.ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(work)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
            listener.close()


async def connect(port: int, *, receive_buffer: int | None = None) -> trio.SocketStream:
    """A plain TCP connection; *receive_buffer* bytes make a client that soon takes no more."""
    client = trio.socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await client.connect((HOST, port))
    except OSError:
        client.close()
        raise
    return trio.SocketStream(client)


def reset(stream: trio.SocketStream) -> None:
    """Leave as a process that was killed does: with a reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def upgrade(path: str, *headers: str) -> bytes:
    """The opening handshake's request."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin1")


async def open_websocket(port: int, path: str, *, receive_buffer: int | None = None) -> trio.SocketStream:
    """A WebSocket whose frames the test writes and reads itself."""
    stream = await connect(port, receive_buffer=receive_buffer)
    await stream.send_all(upgrade(path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return stream


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, masked with zeros."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        length = bytes([0x80 | 126]) + len(payload).to_bytes(2)
    else:
        length = bytes([0x80 | 127]) + len(payload).to_bytes(8)
    return bytes([first]) + length + bytes(4) + payload


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the end.

    Raises:
      trio.BrokenResourceError: the end was a reset.
    """
    data = b""
    while chunk := await stream.receive_some():
        data += chunk
    return data


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the end; a reset counts as one."""
    data = b""
    try:
        while chunk := await stream.receive_some():
            data += chunk
    except trio.BrokenResourceError:
        pass
    return data


def whole_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each whole frame in *data*, a server's, of which the last may be cut off."""
    found = []
    while len(data) >= 2:
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10]), 10
        if len(data) < start + length:
            break
        found.append((data[0] & 0x0F, data[start : start + length]))
        data = data[start + length :]
    return found


def close_code(data: bytes) -> int:
    """The code of the Close frame with which *data*, a server's frames, ends."""
    found = whole_frames(data)
    opcodes = [opcode for opcode, _ in found]
    assert 0x8 in opcodes, "no Close frame"
    assert opcodes.index(0x8) == len(opcodes) - 1, "frames after a Close frame"
    payload = found[-1][1]
    return int.from_bytes(payload[:2]) if payload else 1005


async def http(port: int, request_bytes: bytes) -> bytes:
    """Send a request whose connection the server closes, and read the whole answer."""
    async with await connect(port) as stream:
        await stream.send_all(request_bytes)
        return await read_all(stream)


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def vanish(stream: trio.SocketStream, how: str) -> None:
    """End *stream* as a client does that says nothing: in good order ("close"), or not ("reset")."""
    if how == "close":
        await stream.aclose()
    else:
        reset(stream)


async def until(condition: Any, seconds: float = 1.0) -> None:
    """Poll *condition*: for what only the server's own state tells."""
    await waiting.until(condition, seconds)
