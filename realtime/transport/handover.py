"""A listening socket that outlives its process: taken over from whoever started this one, handed on to who comes next.

Both by systemd's protocol (sd_listen_fds(3)), so that one door serves a service manager's socket activation and our
own restarts: the socket is file descriptor 3, ``LISTEN_FDS`` says how many there are, and ``LISTEN_PID`` for whom.
The kernel goes on queueing connections on it while nobody accepts, so nobody is refused between the two.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from realtime.sections import parse_bind

# Where the first socket handed over is: SD_LISTEN_FDS_START.
FIRST: Final = 3

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def take_over(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The listening socket that was handed to this process; None if there is none.

    What *environ* says of it is removed, so that no program started by this one believes to be meant.

    Raises:
      OSError: what was handed over is not one listening TCP socket.
    """
    count, pid, _ = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise _unfit(f"LISTEN_FDS is {count!r}, but one socket is wanted")
    try:
        listener = socket.socket(fileno=FIRST)
    except OSError as error:
        raise _unfit(f"descriptor {FIRST} is no socket ({os.strerror(error.errno or 0)})") from error
    try:
        _check(listener)
        # Neither is promised by who hands it over: Trio wants the one, and our own child processes the other.
        listener.setblocking(False)
        listener.set_inheritable(False)
    except OSError:
        listener.detach()  # it is not ours to close
        raise
    return listener


def hand_on(listener: socket.socket, environ: MutableMapping[str, str]) -> None:
    """Put *listener* where the program finds it that replaces this one, and say so in *environ*.

    To be followed by ``os.execve`` at once: descriptor 3 is overwritten, whosever it was.
    """
    os.dup2(listener.fileno(), FIRST)
    os.set_inheritable(FIRST, True)  # where it was there already, dup2 did nothing
    environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))


def listens_on(listener: socket.socket, bind: str) -> bool:
    """Whether *listener* is what *bind* (``host:port``) asks for; a port 0 asks for any. May look up a name."""
    host, port = parse_bind(bind)
    own_host, own_port = listener.getsockname()[:2]
    if port not in (0, own_port):
        return False
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return any(address[0] == own_host for *_, address in found)


def _check(listener: socket.socket) -> None:
    if listener.type is not socket.SOCK_STREAM or listener.family not in _FAMILIES:
        raise _unfit(f"descriptor {FIRST} is a socket of {listener.family!r} and {listener.type!r}, but TCP is wanted")
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise _unfit(f"descriptor {FIRST} is a socket that does not listen")


def _unfit(reason: str) -> OSError:
    return OSError(errno.EINVAL, f"cannot take over the listening socket: {reason}")
