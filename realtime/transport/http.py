"""Hypercorn's HTTP/1.1, with our WebSockets, JSON errors and an orderly stop; and the choice between it and HTTP/2."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import (
    STREAM_ID,
    H2CProtocolRequiredError,
    H2ProtocolAssumedError,
    H11Protocol,
    H11WSConnection,
)
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.worker_context import EventWrapper

from realtime.policy.bad_requests import sentence
from realtime.policy.handshake import wants_websocket

from .errors import body_headers, status_body
from .http2 import HTTP2
from .stream import GuardedStream
from .websocket import WebSocketStream

if TYPE_CHECKING:
    from .tcp import GuardedTCPServer

_CLOSE = (b"connection", b"close")
_LENGTHS = frozenset({b"transfer-encoding", b"content-length"})


class JSONHTTPStream(HTTPStream):
    """One request, whose errors of the transport's own making are JSON."""

    async def _send_error_response(self, status_code: int) -> None:
        body = status_body(status_code)
        headers = [*body_headers(body), _CLOSE]
        await self.send(Response(self.stream_id, headers=headers, status_code=status_code))
        await self.send(Body(self.stream_id, data=body))
        await self.send(EndBody(self.stream_id))
        self.state = ASGIHTTPState.CLOSED


class ReadGate(EventWrapper):
    """What the reader waits at while a pipelined request waits for the one before it.

    Hypercorn's own is opened only by the end of a response, so a client that leaves meanwhile holds the
    connection's task for ever.
    """

    def __init__(self, stream: GuardedStream) -> None:
        super().__init__()
        self._stream = stream
        self._closed = False

    def close(self) -> None:
        """Let the reader go: there is nothing more to read for."""
        self._closed = True
        self._event.set()

    async def wait(self) -> None:
        """Until the next request may be read.

        Raises:
          trio.BrokenResourceError: the peer hung up.
          trio.ClosedResourceError: the connection was closed.
        """
        if not self._closed and not await self._stream.holds(self._event.wait):
            raise trio.BrokenResourceError("the peer left between two of its requests")
        if self._closed:
            raise trio.ClosedResourceError


class HTTP1(H11Protocol):
    """HTTP/1.1 of one connection, until it ends or becomes a WebSocket."""

    def __init__(self, link: GuardedTCPServer, *args: Any) -> None:
        super().__init__(*args)
        self.link = link
        self.can_read: ReadGate = ReadGate(link.transport)
        self.websocket: WebSocketStream | None = None
        # Whether the request under way has to be the last.
        self._last = False

    async def handle(self, event: Event) -> None:
        """Take what was read, or the end."""
        if isinstance(event, RawData) and self.websocket is not None and self.websocket.wire.open:
            await self.websocket.receive_data(event.data)
            return
        if isinstance(event, Closed):
            self.can_read.close()
        await super().handle(event)

    async def stop(self) -> None:
        """Asked to stop: idle, close; running, close after the response; a WebSocket says so and closes."""
        if self.websocket is not None:
            await self.websocket.stop()
        elif self.stream is None:
            self.link.stop_reading()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream says, telling the client when no further request will be taken."""
        last = self._last or self.context.terminated.is_set()
        if isinstance(event, Response) and event.status_code >= 200 and last:
            event = replace(event, headers=[*event.headers, _CLOSE])
        await super().stream_send(event)

    async def _create_stream(self, request: h11.Request) -> None:
        common = (self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server)
        if wants_websocket(request.method, request.headers):
            self.stream = self.websocket = WebSocketStream(self.link, *common, self.stream_send, STREAM_ID)
            self.connection = H11WSConnection(cast(h11.Connection, self.connection))
        else:
            self.stream = JSONHTTPStream(*common, self.stream_send, STREAM_ID)
        self.keep_alive_requests += 1
        # RFC 9112 section 6.1: with both, who stands before us may have taken it to end elsewhere.
        self._last = {name for name, _ in request.headers} >= _LENGTHS
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        body = status_body(status_code, self._fault() if status_code == 400 else None)
        headers = [*body_headers(body), _CLOSE, *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    def _fault(self) -> str | None:
        error = sys.exception()  # which Hypercorn is handling, and tells the status of alone
        if not isinstance(error, h11.RemoteProtocolError):
            return None
        return sentence(str(error), self.connection.trailing_data[0])


class ConnectionProtocol(ProtocolWrapper):
    """Which of the two this connection speaks; it may begin as HTTP/1.1 and turn out to be HTTP/2."""

    def __init__(self, link: GuardedTCPServer, *args: Any, alpn_protocol: str | None) -> None:
        # Hypercorn's own constructor would build a protocol of its classes, to be thrown away.
        self._args = (link, *args)
        self.protocol: HTTP1 | HTTP2 = HTTP2(*self._args) if alpn_protocol == "h2" else HTTP1(*self._args)

    @property
    def websocket(self) -> WebSocketStream | None:
        """The WebSocket that this connection has become, if it has."""
        return self.protocol.websocket if isinstance(self.protocol, HTTP1) else None

    async def handle(self, event: Event) -> None:
        """Take what was read, or the end."""
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as assumed:
            await self._become_http2(assumed.data)
        except H2CProtocolRequiredError as required:
            await self._become_http2(required.data, required.headers, required.settings)

    async def _become_http2(self, data: bytes, *request: Any) -> None:
        self.protocol = HTTP2(*self._args)
        await self.protocol.initiate(*request)
        if not request:
            # Hypercorn takes the announcement for a request, and would wait for ever for the first real one.
            await self.protocol.send(Updated(idle=True))
        if data:
            await self.protocol.handle(RawData(data))

    async def stop(self) -> None:
        """Asked to stop."""
        await self.protocol.stop()
