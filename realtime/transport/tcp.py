"""One accepted connection: Hypercorn's TCP server, with an end that nothing can put off.

| the connection ends when | and then |
|---|---|
| the peer closes or vanishes | the application is told, and cancelled if it does not notice |
| a deadline passes: TLS, headers, keep-alive, a write | it is closed, or reset where a write stalled |
| it is asked to stop | idle: closed unless a request comes soon; a request: closed after its response; \
a WebSocket: see `WebSocketStream.stop` |
| it is cancelled | a WebSocket is told to come back as far as that takes no waiting |
| anything raises | it is logged with the connection's id; no other connection notices |
"""

from __future__ import annotations

import math
import random
from typing import Final

import attrs
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from realtime.delivery.wire import Life, WriteStalled
from realtime.messages import CloseCode
from realtime.policy.closing import cut_off

from .admission import Admission
from .config import ServerConfig
from .direct import DirectOpener, Serve, first_bytes
from .http import HTTP1, ConnectionProtocol
from .http2 import HTTP2
from .stream import GuardedStream
from .tasks import ConnectionContext, ConnectionTasks
from .wire import SocketWire

Stream = GuardedStream | trio.SSLStream[GuardedStream]

# Seconds for a Close frame on a connection that is cancelled: one round trip, so that a stop is not held up.
_LAST_WORD: Final = 0.5
# What reading or writing raises when there is nobody to read from or write to any more.
_ENDED = (trio.BrokenResourceError, trio.ClosedResourceError, WriteStalled)

_log = structlog.get_logger(__name__)


@attrs.frozen
class Service:
    """What all connections of one incarnation of the server share."""

    app: AppWrapper
    settings: ServerConfig
    hypercorn: Config
    opener: DirectOpener | None = None
    """For the application that opens WebSockets directly; None for any other, and with TLS."""


async def run_connection(
    service: Service, stream: Stream, id: str, admission: Admission, *, stopping: trio.Event
) -> None:
    """One child of ``connections``: serve *stream* until it ends, and leave nothing behind.

    Raises nothing but a cancellation: what fails is logged, with *id* in every line.
    """
    transport = transport_of(stream)
    structlog.contextvars.bind_contextvars(connection_id=id)  # ends with this task
    try:
        opened, begun = None, b""
        if service.opener is not None:
            begun = await first_bytes(transport, service.settings.last_request)
            opened = service.opener.open(begun, transport, id, stopping)
        if opened is not None:
            del begun
            await live(*opened)
        else:
            server = GuardedTCPServer(service, stream, id, stopping, begun)
            await server.run()
            await server.live_on()
    except* Exception as failures:
        _log.error("connection failed", exc_info=failures)
    finally:
        transport.close()
        admission.release(transport.address)


def transport_of(stream: Stream) -> GuardedStream:
    """The socket below *stream*."""
    return stream.transport_stream if isinstance(stream, trio.SSLStream) else stream


async def live(wire: SocketWire, serve: Serve) -> None:
    """Call *serve*, which owns *wire*, and see to it that the client has a Close frame at the end."""
    try:
        await serve(wire)
    finally:
        restart = (CloseCode.RESTART, cut_off(random.random).reason)
        code, reason = restart if _cancelled() else (CloseCode.HANDLER_FAILED, "")
        with trio.move_on_after(_LAST_WORD, shield=True):
            await wire.say_goodbye(code, reason)


def _cancelled() -> bool:
    return trio.current_effective_deadline() == -math.inf


class GuardedTCPServer(TCPServer):
    """Reads one connection and writes to it; what the bytes mean is its protocol's business."""

    def __init__(self, service: Service, stream: Stream, id: str, stopping: trio.Event, begun: bytes = b"") -> None:
        context = ConnectionContext(stopping)
        super().__init__(service.app, service.hypercorn, context, {}, stream)  # type: ignore[arg-type]
        self.id = id
        self.settings = service.settings
        self.stopping = stopping
        self.transport = transport_of(stream)
        self.protocol: ConnectionProtocol
        self.tasks = ConnectionTasks(
            self.transport,
            service.hypercorn,
            {"realtime.connection": id, "realtime.stopping": stopping},
        )
        # What has been read before.
        self._first = begun
        self._life: Life | None = None
        self._begun = False
        self._ended = False
        self._idle = True
        self._between_requests = False
        self._receiving = False
        self._lingering = False
        self._reading = trio.CancelScope()
        self._watching = trio.CancelScope()

    async def run(self) -> None:
        """Serve until the connection has ended and the application with it."""
        try:
            async with self.tasks:
                self.tasks.spawn(self._watch)
                await self._read_data()
        finally:
            if self._life is None or _cancelled():
                with trio.move_on_after(_LAST_WORD, shield=True):
                    await self._last_word()

    async def _last_word(self) -> None:
        """If this was cancelled with a WebSocket open: say so, as far as that takes no waiting."""
        websocket = self.protocol.websocket if self._begun else None
        if websocket is not None and websocket.wire.open:
            await websocket.wire.say_goodbye(CloseCode.RESTART, cut_off(random.random).reason)

    def detach(self, life: Life | None) -> None:
        """Stop reading, and let *life* do so once the application's task has ended; None takes that back."""
        self._life = life
        if self._receiving:
            self._reading.cancel(reason="detached")

    async def live_on(self) -> None:
        """What the application left to go on, if it did."""
        life, self._life = self._life, None
        if life is None:
            return
        assert self.protocol.websocket is not None
        wire = self.protocol.websocket.wire
        self._forget_http()
        await live(wire, lambda _: life())

    def _forget_http(self) -> None:
        """Let go of everything that only the handshake needed: some 15 KiB."""
        http = self.protocol.protocol
        assert isinstance(http, HTTP1)
        http.stream = http.websocket = None  # and thereby of what refers to itself through them
        del self.protocol, self.tasks, self.context, self.idle_task, self._reading, self._watching

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read_data(self) -> None:
        """Read until the peer or we have ended the connection, and tell the protocol."""
        with self._reading:
            try:
                await self._begin()
                await self.protocol.initiate()
                await self._read_on()
            except _ENDED:
                self._ended = True  # the peer is gone, or we are: either way this was all
        self.unwatch()
        if not self._begun or (self._life is not None and not self._ended):
            return
        await self.protocol.handle(Closed())
        answered = self._lingering and self.protocol.websocket is None
        if not answered:
            # Nobody is left to be answered. A request that has been may still have something to tidy up.
            self.tasks.cancel_within(self.settings.disconnect_grace)

    async def _begin(self) -> None:
        """Make the TLS handshake, if there is one, and find out which protocol is spoken."""
        self._reading.deadline = trio.current_time() + self.settings.handshake_timeout
        tls, alpn = isinstance(self.stream, trio.SSLStream), None
        if isinstance(self.stream, trio.SSLStream):
            await self.stream.do_handshake()
            alpn = self.stream.selected_alpn_protocol()
        sock = self.transport.socket
        try:
            peer, own = (parse_socket_addr(sock.family, name()) for name in (sock.getpeername, sock.getsockname))
        except OSError as error:
            raise trio.BrokenResourceError("the peer left before it said anything") from error
        common = (self.app, self.config, self.context, self.tasks, ConnectionState({}))
        self.protocol = ConnectionProtocol(self, *common, tls, peer, own, self.protocol_send, alpn_protocol=alpn)
        self._begun = True
        self._reading.deadline = trio.current_time() + self.settings.handshake_timeout

    async def _read_on(self) -> None:
        if self.stopping.is_set():  # it was before there was a protocol to be told
            await self.protocol.stop()
        if self._first:
            first, self._first = self._first, b""
            await self.protocol.handle(RawData(first))
            self._limit_headers()
        while self._life is None:
            self._receiving = True
            data = await self.stream.receive_some(MAX_RECV)
            self._receiving = False
            if not data:
                self._ended = True
                return
            if self._lingering:
                continue
            await self.protocol.handle(RawData(bytes(data)))
            self._limit_headers()

    def _limit_headers(self) -> None:
        """A request has begun but its headers are not complete: now they have their own deadline."""
        stopping = self.stopping.is_set()
        if self._idle and self._between_requests and not stopping and not isinstance(self.protocol.protocol, HTTP2):
            self._between_requests = False
            self._reading.deadline = trio.current_time() + self.settings.handshake_timeout

    def stop_reading(self) -> None:
        """End the connection between two requests, unless one comes within `ServerConfig.last_request`.

        A client that has just connected, or just got its last answer, is about to send one; closing at once would
        leave it without knowing whether that was taken.
        """
        self._reading.deadline = min(self._reading.deadline, trio.current_time() + self.settings.last_request)

    # --- writing ------------------------------------------------------------------------------------------------

    async def write(self, data: bytes | bytearray, *, resumes: bool = False) -> None:
        """Write *data* after everything that was to be written before it. A checkpoint.

        Args:
          resumes: see `GuardedStream.send_all`; not with TLS.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError, WriteStalled: as `GuardedStream.send_all`.
        """
        try:
            self.send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.send_lock.acquire()
        try:
            if resumes:
                await self.transport.send_all(data, resumes=True)
            else:
                await self.stream.send_all(data)
        finally:
            self.send_lock.release()

    async def written(self) -> None:
        """Until what was to be written before this has been, or could not be. A checkpoint."""
        async with self.send_lock:
            pass

    def close(self) -> None:
        """Close the socket now; what was written is delivered."""
        self.transport.close()

    def abort(self) -> None:
        """Reset the connection now."""
        self.transport.abort()

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol wants done."""
        if isinstance(event, RawData):
            if event.data:
                await self._write_or_end(event.data)
        elif isinstance(event, Closed):
            await self._hang_up()
        elif isinstance(event, Updated):
            await self._set_idle(event.idle)

    async def _write_or_end(self, data: bytes) -> None:
        try:
            await self.write(data)
        except _ENDED:
            self.abort()
            await self.protocol.handle(Closed())
            # An application that only sends must not spin when there is nobody to send to.
            await trio.lowlevel.checkpoint()

    async def _hang_up(self) -> None:
        """Say that we are done, and go on reading for a while.

        Closing at once while the peer still sends would answer it with a reset, and that can reach it before
        our last words do.
        """
        # No checkpoint before all is done: this runs in the application's task, and once its request is over
        # Quart cancels that.
        self.transport.finish()
        self._lingering = True
        self._reading.deadline = trio.current_time() + self.settings.close_timeout
        await self.protocol.handle(Closed())

    async def _set_idle(self, idle: bool) -> None:
        self._idle = self._between_requests = idle
        if not idle:
            self._reading.deadline = math.inf
        elif self.stopping.is_set():
            await self.protocol.stop()
        else:
            self._reading.deadline = trio.current_time() + self.settings.keep_alive_timeout

    # --- being stopped ------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wait to be asked to stop."""
        with self._watching:
            await self.stopping.wait()
            if self._begun:
                await self.protocol.stop()
            else:
                self.stop_reading()

    def unwatch(self) -> None:
        """Nobody need wait for that any more: it has ended, or a wire's owner watches."""
        self._watching.cancel(reason="no need to watch")
