"""The listening socket that the tree holds, and what each incarnation of the server accepts with."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

import structlog
import trio

from realtime.sections import parse_bind

from .stream import GuardedStream, prepare

# Connections that wait in the kernel while nobody accepts, as between two incarnations of the server. As many
# as Linux allows by default (net.core.somaxconn since 5.4): a crowd that reconnects at once is waited for,
# not refused.
BACKLOG = 4096
# What became of a connection before it was accepted, as accept(2) has it under "Error handling".
_GONE = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET"),
        *("EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH", "ETIMEDOUT", "ECONNRESET"),
    )
    if hasattr(errno, name)
)
# Those with which the process or the system has no room for one more connection.
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
# Seconds after which it is tried again then: Trio's figure.
_FULL_SECONDS = 0.1
# Connections accepted between two checkpoints: about as many milliseconds, with what each of them begins.
_AT_ONCE = 16

_log = structlog.get_logger(__name__)


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
    """Accepts connections as guarded streams.

    Args:
      listener: listening, non-blocking, and owned from now on.
    """

    def __init__(self, listener: socket.socket, write_timeout: float) -> None:
        self._listener = listener
        self._write_timeout = write_timeout
        prepare(listener)

    def accept_nowait(self) -> GuardedStream | None:
        """A connection that waits, or None.

        Raises:
          OSError: the process has no room for one more, or the socket failed.
        """
        while True:
            try:
                accepted, address = self._listener.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _GONE:
                    continue
                raise
            accepted.setblocking(False)
            if sys.platform != "linux":
                prepare(accepted)
            return GuardedStream(accepted, address[0], self._write_timeout)

    async def accept(self) -> GuardedStream:
        """The next connection. A checkpoint.

        Raises:
          OSError: see `accept_nowait`.
        """
        await trio.lowlevel.checkpoint()
        while (stream := self.accept_nowait()) is None:
            await trio.lowlevel.wait_readable(self._listener)
        return stream

    async def serve(self, handle: Callable[[GuardedStream], object]) -> NoReturn:
        """Call *handle* with each connection, for ever; all that wait are accepted in one go.

        While there is no room for one more it is logged, and tried again.

        Raises:
          OSError: the socket failed.
        """
        while True:
            try:
                await trio.lowlevel.wait_readable(self._listener)
                for _ in range(_AT_ONCE):
                    stream = self.accept_nowait()
                    if stream is None:
                        break
                    handle(stream)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                _log.error("cannot accept", reason=os.strerror(error.errno), next_try_s=_FULL_SECONDS)
                await trio.sleep(_FULL_SECONDS)

    async def aclose(self) -> None:
        """Close the socket it was given. A checkpoint."""
        trio.lowlevel.notify_closing(self._listener)
        self._listener.close()
        await trio.lowlevel.checkpoint()
