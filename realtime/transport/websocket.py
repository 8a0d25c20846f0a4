"""Hypercorn's WebSocket over HTTP/1.1, with everything after the handshake left to a `SocketWire`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio
from hypercorn.events import RawData
from hypercorn.protocol.events import Body, Data, EndBody, Event, Request, Response, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, Handshake, WSStream
from wsproto.connection import Connection

from realtime.delivery.frames import close
from realtime.messages import CloseCode
from realtime.policy.closing import partings
from realtime.policy.deflate import MalformedExtensions, negotiate
from realtime.policy.handshake import VERSION, Fault, read_handshake

from .deflate import MessageDeflate
from .errors import body_headers, status_body
from .parser import Parser
from .reader import Reader
from .wire import SocketWire

if TYPE_CHECKING:
    from .tcp import GuardedTCPServer

_CLOSE = (b"connection", b"close")


class OpeningHandshake(Handshake):
    """The opening handshake, with no other extension than permessage-deflate as `realtime.policy.deflate` has it.

    Hypercorn's own would cost 100 KiB for each connection. Without *compression* no offer is even looked at.
    """

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str, *, compression: bool) -> None:
        # Hypercorn's own constructor keeps the last of several lines, and judges next to nothing.
        request = read_handshake(headers)
        self.accepted = False
        self.http_version = http_version
        self.extensions = None
        self.key = request.key
        self.subprotocols = list(request.subprotocols)
        self.fault = Fault(400, "a WebSocket needs HTTP/1.1") if http_version < "1.1" else request.fault
        # What the server answers to the client's offers; None if it accepts none.
        self.agreed = negotiate(list(request.offers)) if compression else None

    def is_valid(self) -> bool:
        """Whether the request is in order; see `fault` if it is not."""
        return self.fault is None

    def accept(
        self, subprotocol: str | None, additional_headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[int, list[tuple[bytes, bytes]], Connection]:
        """Status and headers of an accepted WebSocket, and a parser without extensions."""
        own = [] if self.agreed is None else [(b"sec-websocket-extensions", self.agreed.encode())]
        return super().accept(subprotocol, [*own, *additional_headers])


def _says_failed(message: Any) -> bool:
    """Whether the handler, which may have detached before, did not return but fail."""
    return message is not None and message.get("code") == CloseCode.HANDLER_FAILED


class WebSocketStream(WSStream):
    """One WebSocket, from its request to its end.

    The application may take the wire, and then owns all that is written; until it does, ASGI's events work as
    usual. Everything goes out whole and in order either way.
    """

    def __init__(self, link: GuardedTCPServer, *args: Any) -> None:
        super().__init__(*args)
        self.link = link
        address = self.client[0] if self.client is not None else ""
        self.wire = SocketWire(link, address, link.settings)
        self._settled = trio.Event()
        self._connect_told = False
        self._refused = False

    # --- from the peer ------------------------------------------------------------------------------------------

    async def handle(self, event: Event) -> None:
        """Take the request, bytes that came too early, or the end."""
        if self.closed:
            return
        if isinstance(event, Request):
            await self._open(event)
        elif isinstance(event, StreamClosed):
            self.closed = True
            self.wire.hung_up()
            self._settled.set()
        elif (
            isinstance(event, Body | Data)
            and self.state is ASGIWebsocketState.HANDSHAKE
            and not self._settled.is_set()  # the application is just answering, and there must not be two answers
        ):
            # Frames before our answer: the client cannot know yet that it may send any.
            await self._refuse(Fault(400, "frames came before the handshake was answered"))

    async def receive_data(self, data: bytes) -> None:
        """Take what was read after the handshake; held back by an application that does not take its messages.

        Raises:
          trio.BrokenResourceError: the peer hung up while it was held back.
        """
        await self.wire.feed(data)
        if self.wire.ended and not self.wire.taken and not self.closed:
            await self.wire.say_goodbye(CloseCode.NORMAL)
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _open(self, request: Request) -> None:
        self.start_time = time()  # for Hypercorn's access log, which asks for it even where there is none
        try:
            self.handshake: OpeningHandshake = OpeningHandshake(
                request.headers, request.http_version, compression=self.link.settings.compression
            )
            path, _, query_string = request.raw_path.partition(b"?")
        except UnicodeDecodeError:
            await self._refuse(Fault(400, "Sec-WebSocket-Protocol and Sec-WebSocket-Extensions have to be ASCII"))
            return
        except MalformedExtensions:
            await self._refuse(Fault(400, "Sec-WebSocket-Extensions is not as RFC 6455 section 9.1 has it"))
            return
        if self.handshake.fault is not None:
            # RFC 6455 section 4.4: say which version is spoken.
            await self._refuse(self.handshake.fault, [(b"sec-websocket-version", VERSION)])
            return
        scope: Any = {  # typed as Hypercorn has it, an extension could only be a dict
            "type": "websocket",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "scheme": self.scheme,
            "http_version": request.http_version,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query_string,
            "root_path": self.config.root_path,
            "headers": request.headers,
            "client": self.client,
            "server": self.server,
            "state": request.state.copy(),
            "subprotocols": self.handshake.subprotocols,
            "extensions": {"websocket.http.response": {}, "realtime.wire": self.wire},
        }
        self.scope = scope
        self.link.tasks.start_app(self.app, self.scope, self.app_receive, self.app_send)

    async def _refuse(self, fault: Fault, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self._refused = True
        self.wire.hung_up()  # for the application, if it has begun
        await self._answer(fault.status, status_body(fault.status, fault.message), headers or [])
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_error_response(self, status_code: int) -> None:
        await self._answer(status_code, status_body(status_code), [])

    async def _answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        all_headers = [*body_headers(body), _CLOSE, *headers]
        await self.send(Response(self.stream_id, headers=all_headers, status_code=status))
        await self.send(Body(self.stream_id, data=body))
        await self.send(EndBody(self.stream_id))

    # --- from and to the application ----------------------------------------------------------------------------

    async def app_receive(self) -> Any:
        """ASGI's ``receive``. With the wire taken it has nothing more to say; the wire tells of the end."""
        if not self._connect_told:
            self._connect_told = True
            await trio.lowlevel.checkpoint()
            return {"type": "websocket.connect"}
        await self._settled.wait()
        if self.wire.taken and self.wire.open:
            await trio.sleep_forever()
        try:
            message = await self.wire.next_message()
        except trio.EndOfChannel:
            code, reason = self.wire.how_it_ended()
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        text = message if isinstance(message, str) else None
        return {"type": "websocket.receive", "text": text, "bytes": message if text is None else None}

    async def app_send(self, message: Any) -> None:
        """ASGI's ``send``; None when the application has ended. A checkpoint, also after the end."""
        if self.closed or self._refused or (self.wire.detached and not _says_failed(message)):
            await trio.lowlevel.checkpoint()
        elif message is None:
            await self._app_ended()
        elif message["type"] == "websocket.accept" and self.state is ASGIWebsocketState.HANDSHAKE:
            await self._accept(message)
        elif message["type"] == "websocket.send" and self.state is ASGIWebsocketState.CONNECTED:
            await self._send_message(message)
        elif message["type"] == "websocket.close" and self.state is ASGIWebsocketState.CONNECTED:
            await self._close(message)
        else:
            await super().app_send(message)

    async def _accept(self, message: Any) -> None:
        status_code, headers, _ = self.handshake.accept(message.get("subprotocol"), message.get("headers", []))
        self.state = ASGIWebsocketState.CONNECTED
        settings = self.link.settings
        deflates = self.handshake.agreed is not None
        limits = (settings.max_message_bytes, settings.max_frames_per_second)
        parser = Parser(*limits, [MessageDeflate(settings.max_message_bytes)]) if deflates else Reader(*limits)
        self.wire.opened(parser, deflates=deflates)
        if message.get("headers"):
            await self.send(Response(self.stream_id, headers=headers, status_code=status_code))
        else:
            await self.link.protocol_send(RawData(self._switching(headers)))
        self._settled.set()
        if self.wire.taken:
            self.link.unwatch()

    def _switching(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The response 101 with nothing of the application's in *headers*, so that h11 need not judge them again."""
        lines = [b"%b: %b" % header for header in (*headers, *self.config.response_headers("h11"))]
        return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""])

    async def _send_message(self, message: Any) -> None:
        data = message.get("bytes")
        data = message["text"] if data is None else bytes(data)
        if not isinstance(data, str | bytes):
            raise TypeError(f"websocket.send must carry text (str) or bytes, not {data!r}")
        await self.wire.send_message(data)

    async def _close(self, message: Any) -> None:
        code, reason = int(message.get("code", CloseCode.NORMAL)), message.get("reason") or ""
        if self.wire.taken:
            # Whoever takes the wire closes it. Here the handler has ended without, and a framework says "done".
            code, reason = CloseCode.HANDLER_FAILED, ""
            self.link.detach(None)
        close(code, reason)  # raises for one that must not be sent, as long as another still can be
        self.state = ASGIWebsocketState.CLOSED
        await self.wire.aclose(code, reason)

    async def _app_ended(self) -> None:
        if self.state is ASGIWebsocketState.HANDSHAKE:
            self._settled.set()
            await self._send_error_response(500)
        elif self.state is ASGIWebsocketState.CONNECTED:
            await self.wire.aclose(CloseCode.HANDLER_FAILED)
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_rejection(self, message: Any) -> None:
        if self.state is ASGIWebsocketState.HANDSHAKE:
            # A request for an upgrade is the last one of its connection.
            self.response["headers"] = [*self.response.get("headers", []), _CLOSE]
            self._settled.set()
        await super()._send_rejection(message)

    # --- from the tree ------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Asked to stop: say when to come back, unless somebody took the wire; they watch for it themselves."""
        await self._settled.wait()
        if self.state is ASGIWebsocketState.CONNECTED and not self.wire.taken:
            (parting,) = partings(1, 0.0, random.Random())
            await self.wire.aclose(CloseCode.RESTART, parting.reason)
