"""Hypercorn's HTTP/2 on our sockets: bounded, stopped in an orderly way, and written by one task of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import h2.events
import h2.exceptions
import trio
from h2.errors import ErrorCodes
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request, StreamClosed
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.utils import filter_pseudo_headers
from priority.priority import DuplicateStreamError

from .http2_websocket import HTTP2WebSocket

if TYPE_CHECKING:
    from hypercorn.typing import Event as IOEvent

    from .tcp import GuardedTCPServer

# Bytes that may come without an event. h2 looks at the length of a frame only when all of it, up to 16 MiB, has
# been kept; what was agreed on is 16 KiB for a frame and 64 KiB for the headers of a request.
_MAX_UNPARSED: Final = 2**17


class BoundedBuffer(StreamBuffer):
    """What one stream has to send and its window does not allow yet: who adds to it waits while that is too much.

    Hypercorn's own lets go of who waits as soon as nothing can be taken out, which is when its peer does not read.

    Attributes:
      sent: when something was taken out last, by Trio's clock.
      held: since when a window has let nothing out of what waits; None if nothing waits for one.
    """

    def __init__(self, event_class: type[IOEvent]) -> None:
        super().__init__(event_class)
        self.sent = -math.inf
        self.held: float | None = None

    async def push(self, data: bytes) -> None:
        """Add *data*; then wait for room. If cancelled, it has been added all the same.

        Raises:
          BufferCompleteError: the stream is closed.
        """
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take out *max_length* bytes at most: 0 where a window is closed."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if data:
            self.sent, self.held = trio.current_time(), None
        elif self.buffer and self.held is None:
            self.held = trio.current_time()
        if len(self.buffer) < BUFFER_HIGH_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data

    async def close(self) -> None:
        """Drop what is left, and let go of who waits."""
        self.held = None
        await super().close()


class HTTP2(H2Protocol):
    """HTTP/2 of one connection. Its WebSockets (RFC 8441) have no wire of their own.

    What its requests write goes through one task, since they share the connection: a request that is cancelled
    while its headers are being written must not take them, or half of a frame, away from the others.

    A stream ends whose data a window has held back for the write timeout. The socket's own deadline does not see
    that: the peer takes everything there is, and allows nothing.
    """

    def __init__(self, link: GuardedTCPServer, *args: Any) -> None:
        super().__init__(*args)
        self.link = link
        self.stream_buffers: dict[int, BoundedBuffer] = {}  # type: ignore[assignment]
        self._unparsed = 0
        self._stopping = False
        self._said_goodbye = False
        self._outgoing = bytearray()
        self._wake = trio.Event()
        self._written = trio.Event()
        # When data of any stream went out last: the connection's window is one for all of them.
        self._last_sent = -math.inf
        self._sending = False
        # Of the task that ends what a window holds back for too long; None as long as none does.
        self._patience: trio.CancelScope | None = None

    async def initiate(self, *request: Any) -> None:
        """Begin, with what HTTP/1.1 has read already if this was an upgrade."""
        self.task_group.spawn(self._write_out)
        await super().initiate(*request)

    async def handle(self, event: Event) -> None:
        """Take what was read, or the end.

        Raises:
          trio.BrokenResourceError: what came makes no whole frame, and is too much to be one.
        """
        if isinstance(event, RawData):
            self._unparsed += len(event.data)
        await super().handle(event)
        if isinstance(event, Closed):
            self._wake.set()
            self._written.set()
            if self._patience is not None:
                self._patience.cancel(reason="the connection has ended")
        elif self._unparsed > _MAX_UNPARSED:
            raise trio.BrokenResourceError("the peer's frame is longer than was agreed")

    async def stop(self) -> None:
        """Asked to stop: say so and close, as soon as nothing runs and nothing is left to be written."""
        if not self._stopping:
            self._stopping = True
            for stream in self.streams.values():
                if isinstance(stream, HTTP2WebSocket):
                    self.task_group.spawn(stream.stop)
        unfinished = any(buffer.complete for buffer in self.stream_buffers.values())
        if self.idle and not unfinished and not self._said_goodbye:
            self._said_goodbye = True
            self.connection.close_connection()
            await self._flush()
            await self.send(Closed())

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream says.

        Hypercorn closes a connection that is to stop when its last request has been answered, which can be
        before the end of that answer was written.
        """
        if isinstance(event, StreamClosed):
            await self._reset_unfinished(event.stream_id)
            await self._close_stream(event.stream_id)
            await self.send(Updated(idle=self.idle))
        else:
            await super().stream_send(event)

    async def _reset_unfinished(self, stream_id: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Tell the peer of an answer that has no end, for which it would wait as long as the connection lasts."""
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None or buffer.complete:
            return
        await buffer.close()
        try:
            self.connection.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:  # the peer was first
            pass
        # Whoever sends next finds it closed, and forgets it.
        self.priority.unblock(stream_id)
        await self.has_data.set()
        await self._flush()

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers[stream_id]
        self._sending = True
        await super()._send_data(stream_id)
        self._sending = False
        self._last_sent = max(self._last_sent, buffer.sent)
        if buffer.held is not None and self._patience is None and not self.closed:
            self._patience = trio.CancelScope()
            self.task_group.spawn(self._end_held)
        if self.context.terminated.is_set():
            await self.stop()

    async def _end_held(self) -> None:
        """End each stream that a window has held back for the write timeout, until none holds back any."""
        assert self._patience is not None
        timeout = self.link.settings.write_timeout
        with self._patience:
            while held := self._held():
                since, stream_id = min((since, stream_id) for stream_id, since in held.items())
                await trio.sleep_until(since + timeout)
                if self._held().get(stream_id, math.inf) + timeout <= trio.current_time():
                    await self._reset_unfinished(stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
                    await self.stream_send(StreamClosed(stream_id))
        self._patience = None

    def _held(self) -> dict[int, float]:
        """Each stream whose data waits for a window, and since when that has let nothing out."""
        now = trio.current_time()
        moving = self._sending or self.connection.outbound_flow_control_window > 0
        held = {}
        for stream_id, buffer in self.stream_buffers.items():
            if buffer.held is not None:
                stream = self.connection.streams.get(stream_id)
                if stream is not None and stream.outbound_flow_control_window <= 0:
                    held[stream_id] = buffer.held
                else:  # the window of the connection: others may have used it up, in their turn
                    held[stream_id] = now if moving else max(buffer.held, self._last_sent)
        return held

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        if events:
            self._unparsed = 0
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                # For a stream that has been answered to its end: no fault of the client's, which may not know yet.
                self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            elif isinstance(event, h2.events.StreamReset) and event.stream_id in self.streams:
                await super()._handle_events([event])
                await self.send(Updated(idle=self.idle))
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        assert request.headers is not None
        assert request.stream_id is not None
        pseudo = {name: value for name, value in request.headers if name.startswith(b":")}
        method = pseudo.get(b":method", b"").decode("ascii").upper()
        if method == "CONNECT" and (pseudo.get(b":protocol") != b"websocket" or b":path" not in pseudo):
            # RFC 8441 section 4, and RFC 9220 section 3 for the status; Hypercorn takes all for WebSockets.
            self.connection.send_headers(request.stream_id, [(b":status", b"501")], end_stream=True)
            await self._flush()
            return
        common = (self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server)
        stream = (
            HTTP2WebSocket(self.link.settings, *common, self.stream_send, request.stream_id)
            if method == "CONNECT"
            else HTTPStream(*common, self.stream_send, request.stream_id)
        )
        self.streams[request.stream_id] = stream
        self.stream_buffers[request.stream_id] = BoundedBuffer(self.context.event_class)
        try:
            self.priority.insert_stream(request.stream_id)
        except DuplicateStreamError:  # a PRIORITY frame came before its headers
            pass
        else:
            self.priority.block(request.stream_id)
        headers = filter_pseudo_headers(request.headers)
        await stream.handle(Request(request.stream_id, headers, "2", method, pseudo[b":path"], self.connection_state))
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def _flush(self) -> None:
        """Have written what h2 wants written, and wait for that. If cancelled, it is written all the same."""
        self._outgoing += self.connection.data_to_send()
        if self._outgoing and not self.closed:
            self._wake.set()
            await self._written.wait()

    async def _write_out(self) -> None:
        """The one writer. What waits is bounded: each request waits for its own before it goes on."""
        while not self.closed:
            await self._wake.wait()
            self._wake = trio.Event()
            data, self._outgoing = bytes(self._outgoing), bytearray()
            written, self._written = self._written, trio.Event()
            if data:
                await self.send(RawData(data))
            written.set()
