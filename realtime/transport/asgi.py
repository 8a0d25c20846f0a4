"""WebSockets through ASGI's own events: where there is no wire of ours, and what every server needs of the app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final

import trio
from quart.wrappers import Websocket
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection

from realtime.delivery.frames import CLOSE, TEXT, Frame
from realtime.delivery.wire import PeerClosed, Wire, WriteStalled
from realtime.messages import CloseCode

from .http2_websocket import TAKEN
from .wire import SocketWire

WIRE = "realtime.wire"
STOPPING = "realtime.stopping"
CONNECTION = "realtime.connection"

# Messages ahead of a handler that takes them from Quart: Quart's own figure.
_QUEUED: Final = 10


async def open_wire(websocket: Websocket, *, subprotocol: str | None = None, write_timeout: float = 10.0) -> Wire:
    """Accept *websocket* and return its wire: of our own server if it runs on it, else one over ASGI.

    From then on everything is read and written through the wire, and it has to be closed by `Wire.aclose`; a
    handler that ends without has failed, and its client is told so (1011), unless it left the wire to something
    that goes on without it (`Wire.detach`). A checkpoint.

    Args:
      write_timeout: seconds, for a wire over ASGI; our own server's has its settings'.
    """
    wire = _extension(websocket, WIRE)
    if isinstance(wire, SocketWire):
        wire.take()
        await websocket.accept(subprotocol=subprotocol)
        return wire
    extensions = websocket.scope.get("extensions")
    if extensions is not None and STOPPING in extensions:
        extensions[TAKEN] = {}  # over HTTP/2
    await websocket.accept(subprotocol=subprotocol)
    return AsgiWire(websocket, write_timeout)


def _extension(websocket: Websocket, name: str) -> Any:
    return (websocket.scope.get("extensions") or {}).get(name)


class AsgiWire(Wire):
    """A WebSocket of any ASGI server, or of Quart's test client.

    What ASGI cannot say, this cannot do: a Ping is not sent, the peer's Close frame ends the handler (Quart
    cancels it) without its code, and a write that the server shields from cancellation cannot be given up.

    Args:
      websocket: Quart's, accepted.
      write_timeout: seconds for one message to be written.
    """

    supports_frames = False

    def __init__(self, websocket: Websocket, write_timeout: float = 10.0) -> None:
        # `quart.websocket` stands for whichever is current where it is used; this one is meant, everywhere.
        current = getattr(websocket, "_get_current_object", None)
        self._websocket: Websocket = websocket if current is None else current()
        self._write_timeout = write_timeout
        client = self._websocket.scope.get("client")
        self.address = client[0] if client else ""
        self.last_seen = trio.current_time()
        self.rtt: float | None = None
        self._over = False
        self._close_sent = False
        self._receiving: trio.CancelScope | None = None
        stopping = _extension(self._websocket, STOPPING)
        #: Set when the server asks this connection to stop; where it does not say, it never is.
        self.stopping: trio.Event = trio.Event() if stopping is None else stopping

    async def send(self, frames: Sequence[Frame]) -> None:
        """See `Wire.send`; text and Close frames only, others are left out."""
        if self._over:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the connection has ended")
        with trio.move_on_after(self._write_timeout):
            for frame in frames:
                if frame.opcode == TEXT:
                    await self._websocket.send(frame.payload.decode())
                elif frame.opcode == CLOSE:
                    code, reason = int.from_bytes(frame.payload[:2]), frame.payload[2:].decode()
                    await self._send_close(code, reason)
            await trio.lowlevel.checkpoint()
            return
        self.abort()
        raise WriteStalled(self._write_timeout)

    async def receive(self) -> str | bytes:
        """See `Wire.receive`."""
        with trio.CancelScope() as self._receiving:
            if not self._over:
                message: str | bytes = await self._websocket.receive()
                self.last_seen = trio.current_time()
                return message
            await trio.lowlevel.checkpoint()
        raise PeerClosed

    async def aclose(self, code: int, reason: str = "") -> None:
        """See `Wire.aclose`; the server below sees to the peer's answer."""
        try:
            with trio.move_on_after(self._write_timeout):
                await self._send_close(code, reason)
        finally:
            self.abort()

    async def _send_close(self, code: int, reason: str) -> None:
        if not (self._close_sent or self._over):
            self._close_sent = True
            await self._websocket.close(code, reason)

    def abort(self) -> None:
        """Let the handler go; ASGI has no way to close the socket at once, the server does when it returns."""
        self._over = True
        if self._receiving is not None:
            self._receiving.cancel(reason="the wire was closed")


class WebsocketConnection(TrioASGIWebsocketConnection):
    """Quart's side of one WebSocket; for ``app.asgi_websocket_class``, on any server.

    A handler that failed closes with 1011, where Quart says 1000, "done". An empty binary message is ``b""``,
    where Quart has None for it, which no handler expects.

    On our own server the handler runs in the task that calls the application. Who takes the wire needs no other;
    for who does not, a second one queues the messages, once the handshake is accepted.
    """

    def __init__(self, app: QuartTrio, scope: Any) -> None:
        # Not by Quart's own, which opens a channel for messages that may never be queued.
        self.app = app
        self.scope = scope
        self._accepted = self._closed = False
        self.send_channel = self.receive_channel = _Queue()  # type: ignore[assignment]
        self._listen: Callable[[], None] | None = None

    async def __call__(self, receive: Any, send: Any) -> None:
        """Run the handler for one WebSocket."""
        wire = (self.scope.get("extensions") or {}).get(WIRE)
        if not isinstance(wire, SocketWire):
            await super().__call__(receive, send)
            return
        failures: list[Exception] = []
        with trio.CancelScope() as handling:
            bounds: Any = SimpleNamespace(cancel_scope=handling)  # all that Quart wants of its nursery

            async def listen() -> None:
                with listening:
                    try:
                        await self.handle_messages(bounds, receive)
                    except Exception as error:
                        failures.append(error)
                        handling.cancel(reason="the messages could not be queued")

            listening = trio.CancelScope()
            self._listen = lambda: None if wire.taken else wire.start_soon(listen)
            wire.handshake_within(handling)
            try:
                await self.handle_websocket(bounds, self._create_websocket_from_scope(send), send)
            finally:
                listening.cancel(reason="the handler has ended")
        if failures:
            raise failures[0]

    async def accept_connection(self, send: Any, headers: Any, subprotocol: str | None) -> None:
        """Accept, and from then on take messages for a handler that wants them from Quart."""
        first = not self._accepted
        await super().accept_connection(send, headers, subprotocol)
        if first and self._listen is not None:
            self._listen()

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, receive: Callable[[], Awaitable[Any]]
    ) -> None:
        """Queue what *receive* brings, until the client has left."""

        async def with_empty_bytes() -> Any:
            event = await receive()
            # Quart takes the text of every message without bytes, and counts empty ones as none.
            return {**event, "text": b""} if event.get("bytes") == b"" and event.get("text") is None else event

        await super().handle_messages(nursery, with_empty_bytes)

    async def handle_websocket(  # type: ignore[override]
        self, nursery: trio.Nursery, websocket: Websocket, send: Any
    ) -> None:
        """Run the handler, then close what it left open, or answer the handshake with its response."""
        response = await self.app.handle_websocket(websocket)
        if self._accepted:
            if not self._closed:
                failed = response is not None and response.status_code >= 400
                code = CloseCode.HANDLER_FAILED if failed else CloseCode.NORMAL
                await self.close_connection(send, code, "")
        elif response is not None:
            await self._refuse(response, send)
        nursery.cancel_scope.cancel()

    async def _refuse(self, response: Any, send: Any) -> None:
        if _without_response(self.scope):
            await send({"type": "websocket.close", "code": CloseCode.NORMAL})
            return
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        start = {"status": response.status_code, "headers": headers}
        await send({"type": "websocket.http.response.start", **start})
        # What Quart made is read asynchronously; Werkzeug's own, as for an unknown path, at once.
        whole = response.get_data(as_text=False)
        body = whole if isinstance(whole, bytes) else await whole
        await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


class _Queue:
    """Quart's queue of messages for one handler, made when there is something to queue or to wait for."""

    def __init__(self) -> None:
        self._ends: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]] | None = None

    def _open(self) -> tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]:
        if self._ends is None:
            self._ends = trio.open_memory_channel[Any](_QUEUED)
        return self._ends

    async def send(self, message: Any) -> None:
        """Queue *message*, waiting for room. A checkpoint."""
        await self._open()[0].send(message)

    async def receive(self) -> Any:
        """The next message. A checkpoint."""
        return await self._open()[1].receive()


def _without_response(scope: Any) -> bool:
    return "websocket.http.response" not in (scope.get("extensions") or {})
