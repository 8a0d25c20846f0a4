"""A WebSocket over HTTP/2 (RFC 8441), through ASGI's events: the general path, which has no wire.

What RFC 6455 says of frames and of closing holds here as well; what it says of TCP is said of the stream. Nothing
here waits for the peer in the task that reads: that has to go on, for the sake of all other streams and of the
windows without which this one cannot be written to.
"""

from __future__ import annotations

import random
from typing import Any

import trio
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Event, Response, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping

from realtime.delivery import frames
from realtime.delivery.frames import CLOSE, Frame
from realtime.messages import CloseCode
from realtime.policy.closing import partings

from .config import ServerConfig
from .errors import body_headers, status_body
from .parser import Parser

TAKEN = "realtime.taken"
"""In the scope's extensions: whoever has taken the WebSocket watches for the stop and closes it."""
# RFC 6455 section 7.1.5: no Close frame came; or one without a code, and the answer to that.
_VANISHED = 1006
_WITHOUT_CODE = 1005
_NO_CODE = Frame(CLOSE, bytes((0x80 | CLOSE, 0)), 2)


class HTTP2WebSocket(WSStream):
    """One WebSocket, from its request to its end."""

    def __init__(self, settings: ServerConfig, *args: Any) -> None:
        super().__init__(*args)
        self._settings = settings
        self._end: tuple[int, str] | None = None
        self._ended = trio.Event()
        self._settled = trio.Event()
        self._refused = False
        self._pong: bytes | None = None
        self._finishing = False
        self._finished = trio.Event()

    @property
    def idle(self) -> bool:
        """Whether the connection need not stay for it: not before all has been written."""
        if self._refused:
            return self._finished.is_set()
        return self.closed or self.state is ASGIWebsocketState.HTTPCLOSED

    # --- from the peer ------------------------------------------------------------------------------------------

    async def handle(self, event: Event) -> None:
        """Take the request, what follows it, or the end."""
        if isinstance(event, StreamClosed):
            self._ended.set()
            self._settled.set()
            if not self.closed and self.app_put is not None:
                code, reason = self._end or (_VANISHED, "")
                await self.app_put({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.closed = True
        elif isinstance(event, EndBody):
            self._ended.set()
            if self.state is ASGIWebsocketState.CONNECTED:  # RFC 8441 section 5: as the end of a TCP connection
                self.state = ASGIWebsocketState.CLOSED
                self._finish()
        elif isinstance(event, Body | Data) and not self.handshake.accepted:
            # Frames before our answer: the client cannot know yet that it may send any. One that was answered just now
            # has its answer, and there must not be two.
            if not self._settled.is_set():
                await self._send_error_response(400)
        elif self._end is None:  # after a Close frame nothing counts
            await super().handle(event)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                self.buffer.extend(event)
                if event.message_finished:
                    assert self.app_put is not None
                    await self.app_put(self.buffer.to_message())
                    self.buffer.clear()
            elif isinstance(event, Ping):
                self._answer(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                await self._peer_closes(int(event.code), event.reason or "")
                return

    def _answer(self, payload: bytes) -> None:
        """Send a Pong, from another task; while that waits for the peer, the latest Ping counts (section 5.5.3)."""
        idle, self._pong = self._pong is None, payload
        if idle:
            self.task_group.spawn(self._send_pongs)

    async def _send_pongs(self) -> None:
        while self._pong is not None and self.state is ASGIWebsocketState.CONNECTED:
            payload = self._pong
            await self._write(frames.pong(payload))
            if self._pong is payload:
                self._pong = None

    async def _peer_closes(self, code: int, reason: str) -> None:
        """Its Close frame, or our verdict on what it sent: answer that, unless we have said the last word already."""
        failed = self.connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)
        self._end = (code, reason)
        self._ended.set()
        if self.state is ASGIWebsocketState.CONNECTED:
            self.state = ASGIWebsocketState.CLOSED
            without = code == _WITHOUT_CODE and not failed
            self._finish(_NO_CODE if without else frames.close(code, reason))

    # --- from the application and the tree ----------------------------------------------------------------------

    async def app_send(self, message: Any) -> None:
        """ASGI's ``send``; None when the application has ended."""
        connected = self.state is ASGIWebsocketState.CONNECTED and not self.closed
        opening = self.state is ASGIWebsocketState.HANDSHAKE and not self.closed
        if self._refused:
            await trio.lowlevel.checkpoint()
        elif opening and (message is None or message["type"] == "websocket.close"):
            await self._send_error_response(500 if message is None else 403)
            await self._finished.wait()
        elif message is None and self._finishing:
            await self._finished.wait()  # what is still to be written must not be cut off
        elif connected and message is None:
            await self.close(CloseCode.HANDLER_FAILED)
            await super().app_send(None)
        elif connected and message["type"] == "websocket.close":
            await self.close(int(message.get("code", CloseCode.NORMAL)), message.get("reason") or "")
        elif self.state is ASGIWebsocketState.CLOSED and message is not None:
            await trio.lowlevel.checkpoint()  # too late, which an application cannot know
        else:
            await super().app_send(message)

    async def close(self, code: int, reason: str = "") -> None:
        """Send a Close frame, wait a while for the peer's, and end the stream.

        Raises:
          ValueError: *code* is none that may be sent; nothing has changed.
        """
        frame = frames.close(code, reason)
        self.state = ASGIWebsocketState.CLOSED
        with trio.move_on_after(self._settings.close_timeout):
            await self._write(frame)
            await self._ended.wait()
        await self._end_stream()

    async def stop(self) -> None:
        """Asked to stop: say when to come back, unless somebody has taken it; they watch for it themselves."""
        await self._settled.wait()
        if self.state is ASGIWebsocketState.CONNECTED and TAKEN not in self.scope["extensions"]:
            (parting,) = partings(1, 0.0, random.Random())
            await self.close(CloseCode.RESTART, parting.reason)

    # --- what goes out ------------------------------------------------------------------------------------------

    def _finish(self, frame: Frame | None = None) -> None:
        """Send *frame* and end the stream, from another task."""
        if not self._finishing:
            self._finishing = True
            self.task_group.spawn(self._send_last, frame)

    async def _send_last(self, frame: Frame | None) -> None:
        if frame is not None:
            with trio.move_on_after(self._settings.close_timeout):
                await self._write(frame)
        await self._end_stream()

    async def _end_stream(self) -> None:
        with trio.move_on_after(self._settings.close_timeout):
            await self.send(EndData(stream_id=self.stream_id))
        await self.send(StreamClosed(stream_id=self.stream_id))
        self._finished.set()

    async def _write(self, frame: Frame) -> None:
        await self.send(Data(stream_id=self.stream_id, data=frame.data))

    async def _accept(self, message: Any) -> None:
        self.handshake.extensions = None  # Hypercorn negotiates permessage-deflate whenever it is offered
        accepted = self.handshake.accept(message.get("subprotocol"), message.get("headers", []))
        self.connection = Parser(self._settings.max_message_bytes, self._settings.max_frames_per_second)
        self.state = ASGIWebsocketState.CONNECTED
        await self.send(Response(self.stream_id, status_code=accepted[0], headers=accepted[1]))
        self._settled.set()

    async def _send_rejection(self, message: Any) -> None:
        self._settled.set()
        await super()._send_rejection(message)

    async def _send_error_response(self, status_code: int) -> None:
        """Answer the handshake with an error and end the stream, from another task."""
        self._refused = True
        self._settled.set()
        self.task_group.spawn(self._send_refusal, status_code)

    async def _send_refusal(self, status_code: int) -> None:
        body = status_body(status_code)
        headers = [*body_headers(body), *([(b"sec-websocket-version", b"13")] if status_code == 400 else [])]
        await self.send(Response(self.stream_id, headers=headers, status_code=status_code))
        await self.send(Body(self.stream_id, data=body))
        await self.send(EndBody(self.stream_id))
        self._finished.set()
        await self.send(StreamClosed(self.stream_id))
