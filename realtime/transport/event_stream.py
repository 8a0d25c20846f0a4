"""Server-sent events over ASGI: the same connection as that of a WebSocket, with a response for a wire."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

import trio
from quart import Quart
from quart.asgi import ASGIHTTPConnection
from quart.wrappers import Request, Response
from quart_trio.asgi import TrioASGIHTTPConnection

from realtime.delivery.event_stream import EventStream, retry
from realtime.delivery.frames import TEXT, Frame
from realtime.delivery.wire import PeerClosed, Wire, WriteStalled
from realtime.messages import CloseCode
from realtime.policy.pages import Cursor

# Bytes handed over at a time. Each has the write timeout to itself, so that who reads slowly is told from who does
# not read at all: at 1.6 KiB/s it is still reading.
_PIECE: Final = 16 * 1024
_RETRY_AFTER: Final = re.compile(r"retry-after=([0-9.]+)")
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    # For nginx, which else collects a response before it hands it on.
    "X-Accel-Buffering": "no",
}

Send = Callable[[Any], Awaitable[None]]
Life = Callable[["EventStreamWire"], Awaitable[object]]


class EventStreamWire(Wire):
    """The body of one response, which ends when the connection does.

    The peer says nothing: what it takes is its sign of life. So a ping, sent as a comment, is answered by being
    written.

    Args:
      send: ASGI's.
      gone: set when the client has left.
      write_timeout: seconds for `_PIECE` bytes.
    """

    supports_frames = False

    def __init__(
        self, send: Send, stream: EventStream, gone: trio.Event, *, address: str, write_timeout: float
    ) -> None:
        self.address = address
        self.last_seen = trio.current_time()
        self.rtt: float | None = None
        self._send = send
        self._stream = stream
        self._gone = gone
        self._write_timeout = write_timeout
        self._over = False

    async def send(self, frames: Sequence[Frame]) -> None:
        """See `Wire.send`; text frames only, others are left out."""
        await self._write(b"".join(self._stream.event(frame.payload) for frame in frames if frame.opcode == TEXT))

    async def _write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        for start in range(0, len(data), _PIECE):
            if self._over or self._gone.is_set():
                raise trio.BrokenResourceError("the client has left")
            with trio.move_on_after(self._write_timeout) as patience:
                await self._body(data[start : start + _PIECE], more=True)
            if patience.cancelled_caught:
                self.abort()
                raise WriteStalled(self._write_timeout)
            self.last_seen = trio.current_time()

    async def _body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def receive(self) -> NoReturn:
        """See `Wire.receive`: nothing comes but the end."""
        await self._gone.wait()
        raise PeerClosed

    async def aclose(self, code: int, reason: str = "") -> None:
        """End the response; who is to come back after a time is told when. See `Wire.aclose`."""
        wait = _RETRY_AFTER.fullmatch(reason)
        last = retry(float(wait[1])) if code == CloseCode.RESTART and wait is not None else b""
        if not (self._over or self._gone.is_set()):
            self._over = True
            with trio.move_on_after(self._write_timeout):
                if last:
                    await self._body(last, more=True)
                await self._body(b"", more=False)

    def abort(self) -> None:
        """Send nothing more; the server closes what was left unfinished when the request ends."""
        self._over = True


class EventStreamResponse(Response):
    """A response whose body is written by a connection.

    Args:
      live: the life of that connection, given its wire.
      since: what the client has seen last.
    """

    def __init__(self, live: Life, since: Cursor | None, *, address: str, write_timeout: float) -> None:
        super().__init__(b"", headers=HEADERS)
        del self.headers["Content-Length"]
        self.timeout = None
        self._live = live
        self._make = partial(EventStreamWire, stream=EventStream(since), address=address, write_timeout=write_timeout)

    async def serve(self, send: Send, gone: trio.Event) -> None:
        """Run the connection, after the headers."""
        await self._live(self._make(send, gone=gone))


class HTTPConnection(TrioASGIHTTPConnection):
    """Quart's side of one request; for ``app.asgi_http_class``, on any server.

    An event stream is told that its client has left; everything else is cancelled then, as by Quart's own.
    """

    def __init__(self, app: Quart, scope: Any) -> None:
        super().__init__(app, scope)
        self._gone = trio.Event()
        self._streaming = False

    async def handle_messages(  # type: ignore[override]
        self, nursery: trio.Nursery, request: Request, receive: Callable[[], Awaitable[Any]]
    ) -> None:
        """Take the request's body, until the client has left or the response is complete."""
        await ASGIHTTPConnection.handle_messages(self, request, receive)
        self._gone.set()
        if not self._streaming:
            nursery.cancel_scope.cancel(reason="the client has left")

    async def _send_response(self, send: Send, response: Any) -> None:
        if not isinstance(response, EventStreamResponse):
            await super()._send_response(send, response)
            return
        self._streaming = True
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await response.serve(send, self._gone)
