"""Opens a WebSocket as a client, and says at once why there is none; it needs the extra ``client``.

trio-websocket begins TLS when its reader first writes and drops the error if that fails.  It then waits for the answer
to its handshake although its reader has ended, and whatever else ends the reader before there is an answer has the same
effect.  So TLS is opened here, and the library is waited for no longer than its reader runs.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

import h11
import outcome
import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

from realtime.policy.trust import unverified

CONNECT: Final = 10.0
"""Seconds for TCP, TLS and the opening handshake together."""
PART: Final = 2.0
"""Seconds for the closing handshake: several round trips to anywhere."""

Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")


class Unreachable(Exception):
    """There is no connection for now; the text says why."""


class Untrusted(Exception):
    """The certificate of the server cannot be verified; the text says why, and what to do."""


async def connected(url: str, headers: Headers, use: Callable[[WebSocketConnection], Awaitable[T]]) -> T:
    """Open a WebSocket to *url*, await *use* of it, and close it; returns what *use* does.

    What *use* raises leaves as it is.

    Raises:
      Unreachable: there is no connection, or nobody answers the handshake.
      Untrusted: the server's certificate cannot be verified.
      ConnectionRejected: the server answered the handshake with another status than 101.
    """
    parts = urlsplit(url)
    with trio.CancelScope(deadline=trio.current_time() + CONNECT) as opening:
        async with await _open_tcp(parts) as tcp:
            stream = await _secured(tcp, parts) if parts.scheme == "wss" else tcp
            async with trio.open_nursery() as nursery:
                # Captured, so that it leaves the nursery without a group.
                result = await outcome.acapture(_use, _Reader(nursery), stream, parts, headers, opening, use)
                nursery.cancel_scope.cancel(reason="the WebSocket is closed")
            return result.unwrap()
    raise Unreachable(f"no handshake within {CONNECT:g} s")


async def _open_tcp(parts: SplitResult) -> trio.SocketStream:
    assert parts.hostname is not None
    try:
        return await trio.open_tcp_stream(parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80))
    except OSError as error:
        raise Unreachable(str(error)) from error


async def _secured(tcp: trio.SocketStream, parts: SplitResult) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    stream = trio.SSLStream(tcp, context, server_hostname=parts.hostname, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as broken:
        error = broken.__cause__
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Untrusted(unverified(_host(parts), error)) from error
        raise Unreachable(f"TLS failed: {error or broken}") from broken
    return stream


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


async def _use(
    reader: _Reader,
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
    parts: SplitResult,
    headers: Headers,
    opening: trio.CancelScope,
    use: Callable[[WebSocketConnection], Awaitable[T]],
) -> T:
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = None
    with reader.needed():
        # It does nothing with a nursery but start its reader.
        nursery = cast(trio.Nursery, reader)
        connection = await wrap_client_stream(nursery, stream, _host(parts), resource, extra_headers=headers)
    if connection is None:
        raise reader.refusal or Unreachable("the server did not answer the handshake as WebSocket servers do")
    opening.deadline = math.inf
    result = await outcome.acapture(use, connection)
    with trio.move_on_after(PART), reader.needed():
        await connection.aclose()
    return result.unwrap()


class _Reader:
    """Stands where the library expects a nursery for its reader, and learns when and how that ends."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._ended = False
        self._needed = trio.CancelScope()
        self.refusal: ConnectionRejected | None = None

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        """What the library calls."""
        self._nursery.start_soon(self._run, read)

    def needed(self) -> trio.CancelScope:
        """For a block that waits for what only the reader can bring: left when the reader has ended."""
        self._needed = trio.CancelScope()
        if self._ended:
            self._needed.cancel(reason="the reader of the WebSocket has ended")
        return self._needed

    # So that Ctrl-C interrupts the main task, which no nursery makes a group of.
    @trio.lowlevel.enable_ki_protection
    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except ConnectionRejected as refusal:
            self.refusal = refusal
        except (LocalProtocolError, h11.LocalProtocolError):
            pass  # what the library makes of a Ping that comes while it closes, and of an answer that is no HTTP
        self._ended = True
        self._needed.cancel(reason="the reader of the WebSocket has ended")
