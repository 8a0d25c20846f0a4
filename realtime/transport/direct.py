"""WebSockets that one task opens, serves and closes, with nothing of HTTP or of a framework in between.

An ASGI application costs several times as much as the connection itself: parsers, a scope, a task, two queues, a
request's context. One that has a method ``open_directly`` can do without. It is asked about each plain opening
handshake (`realtime.policy.opening`) on a socket without TLS, and returns how it is accepted and what is then to be
called with the wire, or None. Whatever is not plain, and what it returns None for, goes the general way, byte for
byte; so nothing is ever refused here, and the same answers come from the same place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import Final

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import MAX_RECV

from realtime.delivery.wire import WriteStalled
from realtime.policy.opening import Opening, read_opening

from .config import ServerConfig
from .link import DirectLink
from .reader import Reader
from .stream import GuardedStream
from .wire import SocketWire

Serve = Callable[[SocketWire], Awaitable[object]]
"""Owns the wire that it is called with, and has to close it."""


@attrs.frozen
class Acceptance:
    """What becomes of a handshake that is opened directly."""

    serve: Serve
    subprotocol: str | None = None
    """One of those that were offered, or none (RFC 6455 section 4.2.2)."""


OpenDirectly = Callable[[Opening], Acceptance | None]
"""Decides about one opening handshake, at once."""

_UNREADABLE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, WriteStalled)


@attrs.define
class DirectOpener:
    """Accepts opening handshakes for an application that opens directly."""

    settings: ServerConfig
    hypercorn: Config
    open_directly: OpenDirectly
    _common: bytes = attrs.field(default=b"", init=False)
    _common_at: int = attrs.field(default=0, init=False)

    def open(
        self, data: bytes, stream: GuardedStream, id: str, stopping: trio.Event
    ) -> tuple[SocketWire, Serve] | None:
        """Accept the opening handshake in *data*; None if it is to go the general way, and nothing was done.

        The answer is written before anything else that is written to the wire.
        """
        opening = read_opening(data)
        if opening is None or (self.settings.compression and "sec-websocket-extensions" in opening.headers):
            return None
        acceptance = self.open_directly(opening)
        if acceptance is None:
            return None
        settings = self.settings
        wire = SocketWire(DirectLink(stream, id, stopping), stream.address, settings)
        wire.open_directly(
            Reader(settings.max_message_bytes, settings.max_frames_per_second), self._switching(opening, acceptance)
        )
        return wire, acceptance.serve

    def _switching(self, opening: Opening, acceptance: Acceptance) -> bytes:
        now = int(time())
        if now != self._common_at:  # in a burst of connections all of a second have the same
            lines = [b"%b: %b\r\n" % header for header in self.hypercorn.response_headers("h11")]
            self._common_at, self._common = now, b"".join(lines)
        agreed = acceptance.subprotocol
        return (
            b"HTTP/1.1 101 Switching Protocols\r\n%bsec-websocket-accept: %b\r\nupgrade: WebSocket\r\n"
            b"connection: Upgrade\r\n%b\r\n"
            % (
                b"" if agreed is None else b"sec-websocket-protocol: %b\r\n" % agreed.encode(),
                opening.accept,
                self._common,
            )
        )


async def first_bytes(stream: GuardedStream, seconds: float) -> bytes:
    """What the peer says first, if it comes within *seconds*; else nothing, and whoever reads next learns why.

    Not a checkpoint if it is there already, as in a crowd that connects faster than it is accepted.
    """
    try:
        return stream.socket.recv(MAX_RECV)
    except OSError:  # nothing yet, or never
        pass
    with trio.move_on_after(seconds):
        try:
            return await stream.receive_some(MAX_RECV)
        except _UNREADABLE:
            pass
    return b""
