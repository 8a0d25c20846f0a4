"""How an external program tells that it is ready: by a line, a connection it accepts, or a descriptor it inherits."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio
from attrs import validators as v

Stream = Literal["stdout", "stderr"]
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")

CONNECT_INTERVAL: Final = 0.05
"""Seconds between two attempts to connect: noticed at once by human measure, for 20 refused packets a second."""

CONNECT_ATTEMPT: Final = 1.0
"""Seconds that one attempt may take, so that a packet that is dropped does not cost the whole start_timeout."""

CLOSED_GRACE: Final = 0.1
"""Seconds in which a program that closed its descriptor has to be seen as ended if that is why it was closed.

The kernel closes the descriptors of a dying process a moment before its end can be seen.  Were the moment longer, the
program would be up and crash at once, instead of having failed to start.
"""


def _as_pattern(pattern: bytes | re.Pattern[bytes]) -> re.Pattern[bytes]:
    return re.compile(pattern) if isinstance(pattern, bytes) else pattern


def _bytes_pattern(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, re.Pattern) or not isinstance(value.pattern, bytes):
        raise TypeError(f"{attribute.name} must be a regular expression of bytes, such as rb'listening', got {value!r}")


@attrs.frozen
class Line:
    """Ready when a line of output matches *pattern* anywhere (:func:`re.search`); *stream* None looks at both.

    Programs that find no terminal often hold their output back until a buffer is full: make them flush.
    """

    pattern: re.Pattern[bytes] = attrs.field(converter=_as_pattern, validator=_bytes_pattern)
    stream: Stream | None = attrs.field(default=None, validator=v.in_((None, *STREAMS)))

    def matches(self, stream: Stream, line: bytes) -> bool:
        """Whether *line* of *stream* says that the program is ready."""
        return self.stream in (None, stream) and self.pattern.search(line) is not None


@attrs.frozen
class Port:
    """Ready when a TCP connection to *host* and *port* is accepted; it is closed again at once.

    Whoever accepts there counts: a second program on the same port makes this one ready too early.
    """

    host: str = attrs.field(validator=v.instance_of(str))
    port: int = attrs.field(validator=[v.instance_of(int), v.ge(1), v.le(65535)])

    async def wait_accepting(self) -> None:
        """Return once a connection was accepted.  A checkpoint."""
        while True:
            with trio.move_on_after(CONNECT_ATTEMPT):
                try:
                    stream = await trio.open_tcp_stream(self.host, self.port)
                except OSError:
                    pass  # nobody accepts yet
                else:
                    await trio.aclose_forcefully(stream)
                    return
            await trio.sleep(CONNECT_INTERVAL)


@attrs.frozen
class FileDescriptor:
    """Ready when the program writes a newline to a descriptor that it inherits, or closes it while it goes on.

    The descriptor's number stands in the environment *variable*; it may have two digits, which not every ``sh`` can
    redirect to.  Source: s6's ``notification-fd``, which wants the newline; closing is for what has no better way.
    """

    variable: str = attrs.field(default="READY_FD", validator=v.matches_re(r"[A-Za-z_][A-Za-z0-9_]*"))


Readiness: TypeAlias = Line | Port | FileDescriptor


async def wait_notified(stream: trio.abc.ReceiveStream) -> None:
    """Return once a newline came, or the other end was closed and :data:`CLOSED_GRACE` is over.  A checkpoint."""
    while data := await stream.receive_some(64):
        if b"\n" in data:
            return
    await trio.sleep(CLOSED_GRACE)
