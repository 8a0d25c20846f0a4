"""The listening socket that the tree holds, and what each incarnation of the server accepts with."""

from __future__ import annotations

import os
import socket

import trio

from realtime.sections import parse_bind

from .stream import GuardedStream

# Connections that wait in the kernel while nobody accepts, as between two incarnations of the server. As many
# as Linux allows by default (net.core.somaxconn since 5.4): a crowd that reconnects at once is waited for,
# not refused.
BACKLOG = 4096


def open_listener(bind: str) -> socket.socket:
    """Bind and listen on *bind* (``host:port``; port 0 lets the system choose) and return the socket.

    Not a Trio socket: it belongs to no event loop, is accepted on through a `dup`, and can be handed on. A
    host name is looked up here and now, which may block.

    Raises:
      ValueError: *bind* is not of that form.
      OSError: naming the address; nothing is left open.
    """
    host, port = parse_bind(bind)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(bind, error) from error
    try:
        # Without it a restarted server could not bind for a minute, while old connections linger.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(bind, error) from error
    return listener


def _cannot_listen(bind: str, error: OSError) -> OSError:
    # Looking a name up fails with numbers of its own, for which only its own text is right.
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return type(error)(error.errno, f"cannot listen on {bind}: {reason}")


class GuardedListener(trio.abc.Listener[GuardedStream]):
    """Accepts connections as guarded streams; otherwise as `trio.SocketListener`, which it owns."""

    def __init__(self, listener: trio.SocketListener, write_timeout: float) -> None:
        self._listener = listener
        self._write_timeout = write_timeout

    async def accept(self) -> GuardedStream:
        """The next connection. A checkpoint.

        Raises:
          OSError: as `trio.SocketListener.accept`.
        """
        while True:
            stream = await self._listener.accept()
            try:
                address = stream.socket.getpeername()[0]
            except OSError:  # reset before it was accepted
                stream.socket.close()
                continue
            return GuardedStream(stream, address, self._write_timeout)

    async def aclose(self) -> None:
        """Close the socket it was given. A checkpoint."""
        await self._listener.aclose()
