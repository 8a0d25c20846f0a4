"""Hypercorn's HTTP/2 on our sockets: bounded, stopped in an orderly way, and written by one task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h2.events
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol

if TYPE_CHECKING:
    from .tcp import GuardedTCPServer

# Bytes that may come without an event. h2 looks at the length of a frame only when all of it, up to 16 MiB, has
# been kept; what was agreed on is 16 KiB for a frame and 64 KiB for the headers of a request.
_MAX_UNPARSED: Final = 2**17


class HTTP2(H2Protocol):
    """HTTP/2 of one connection. Its WebSockets (RFC 8441) are Hypercorn's own, so they have no wire.

    What its requests write goes through one task, since they share the connection: a request that is cancelled
    while its headers are being written must not take them, or half of a frame, away from the others.
    """

    def __init__(self, link: GuardedTCPServer, *args: Any) -> None:
        super().__init__(*args)
        self.link = link
        self._unparsed = 0
        self._said_goodbye = False
        self._outgoing = bytearray()
        self._wake = trio.Event()
        self._written = trio.Event()

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
        elif self._unparsed > _MAX_UNPARSED:
            raise trio.BrokenResourceError("the peer's frame is longer than was agreed")

    async def stop(self) -> None:
        """Asked to stop: say so and close, as soon as nothing runs and nothing is left to be written."""
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
            await self._close_stream(event.stream_id)
            await self.send(Updated(idle=self.idle))
        else:
            await super().stream_send(event)

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if self.context.terminated.is_set():
            await self.stop()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        if events:
            self._unparsed = 0
        await super()._handle_events(events)

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        # Hypercorn negotiates permessage-deflate whenever it is offered, at 100 KiB for each connection.
        assert request.headers is not None
        request.headers = [item for item in request.headers if item[0] != b"sec-websocket-extensions"]
        await super()._create_stream(request)

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
