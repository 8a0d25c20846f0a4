"""The socket as a connection sees it: messages in, frames out, and an end that always comes.

`Wire` is what the transport implements: once on our own server, once over plain ASGI. A connection calls
`send` and `receive` from one task each, `writer` only while nothing is being sent and nothing waits to be, and
`aclose` only when both have ended, so a wire never has two writers and its bytes keep their order.
"""

from __future__ import annotations

import abc
import math
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from realtime.delivery.frames import Frame

# The largest message that is given to a `Wire.writer`. Its rest has to wait in the outbox, whatever the bound of that,
# so a smaller outbox does without.
DIRECT_BYTES: Final = 64 * 1024
# The payload of a Ping: when it was made, in seconds of the trio clock. Nothing has to be remembered to learn
# the round-trip time.
_PING: Final = struct.Struct("!d")


Life = Callable[[], Awaitable[object]]
"""What goes on with a connection whose handler has returned."""


@attrs.frozen
class PeerClosed(Exception):
    """The peer closed the connection, or vanished: then *code* is 1006 (RFC 6455 section 7.1.5)."""

    code: int = 1006
    reason: str = ""

    def __str__(self) -> str:
        return f"peer closed with {self.code}{f' ({self.reason})' if self.reason else ''}"


@attrs.frozen
class PeerMisbehaved(Exception):
    """The peer broke the protocol or a limit: the connection is to close with *code* (1002, 1007, 1009, 4429)."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        return f"peer broke the protocol: {self.code} {self.reason}".rstrip()


@attrs.frozen
class WriteStalled(Exception):
    """A write made no progress for *seconds*: the peer does not read, and nothing more can be said to it."""

    seconds: float

    def __str__(self) -> str:
        return f"no write progress for {self.seconds:g} s"


class Wire(abc.ABC):
    """One open WebSocket, after its opening handshake."""

    #: The peer's address for humans and limits, without its port.
    address: str
    #: Trio time of the last sign of life: any inbound byte, Pong frames included.
    last_seen: float
    #: Seconds that the last Ping took to be answered; None before the first answer, or where Ping frames
    #: cannot be sent.
    rtt: float | None
    #: False where only messages can be sent, as over plain ASGI: then `send` gets text frames and nothing
    #: else.
    supports_frames: bool
    #: Whether permessage-deflate was agreed on: then `send` writes each frame's compressed form, and it is what
    #: a `writer` is to be given.
    deflates: bool = False
    #: Set by the connection: called with the payload of each Ping of the peer's, so that the Pong goes out by
    #: the one writer. A wire below which somebody else answers Pings does not call it.
    on_ping: Callable[[bytes], None] | None = None

    def writer(self) -> Callable[[bytes], int] | None:
        """A function that writes without a task; None where that cannot be done, or while somebody is writing.

        It takes one or several whole frames, writes what can be written at once, and returns how many bytes that was,
        or raises `OSError` where it was none: also where the peer is gone, which the next `send` tells. Of a frame
        that was cut off the rest has to be told to `owe` before anything else happens.

        It is good until the next call of `send` or `aclose`, and as long as `on_ping` is set, because of what a wire
        may write itself while nobody answers Pings. After `abort` it raises.
        """
        return None

    def owe(self, rest: Frame) -> None:
        """Let nothing be written any more until `send` is given *rest* as its first frame.

        Only for whoever had a frame cut off by a `writer`; *rest* is what was left of it. A wire that gives out writers
        overrides this.

        Raises:
          RuntimeError: the wire gives out no writer, so no frame can have been cut off by one.
        """
        raise RuntimeError(f"{type(self).__name__} can be owed nothing: it gave out no writer to cut a frame off")

    @abc.abstractmethod
    async def send(self, frames: Sequence[Frame]) -> None:
        """Write *frames* whole and in order, if possible in one call. Always a checkpoint.

        If cancelled, a frame may have been cut off: the wire remembers that, and `aclose` then ends it
        without a Close frame.

        Raises:
          trio.BrokenResourceError: the peer is gone.
          WriteStalled: nothing could be written for the write timeout, however long the whole takes.
        """

    @abc.abstractmethod
    async def receive(self) -> str | bytes:
        """The next message of the peer's, text as `str`, binary as `bytes`.

        Always a checkpoint; cancelling loses nothing. Not calling it is how the connection holds the peer
        back: what the wire reads ahead is bounded and small.

        Raises:
          PeerClosed: the peer closed, or vanished; so does every call after it.
          PeerMisbehaved: what came was no valid frame, no UTF-8 or too big; so does every call after it.
        """

    def detach(self, life: Life) -> bool:
        """Let *life* own the wire, after the handler that does so now has returned, if the wire can outlive that.

        Returns whether it can. If not nothing was done, and the handler goes on by calling *life* itself.
        """
        return False

    async def attend(self, work: Awaitable[None]) -> None:
        """Wait for *work*, during which `receive` is not called; cancel it if the peer leaves and it does not end.

        Only for a wire that nobody reads while its owner does not: the others see by themselves that the peer left.
        """
        await work

    @abc.abstractmethod
    async def aclose(self, code: int, reason: str = "") -> None:
        """The closing handshake: send a Close frame, wait for the peer's for a while, close the socket.

        The wait has a deadline of the wire's own. Answers the peer's Close frame if that came first. Sends
        nothing after a `send` that was cut off. Neither `send` nor `receive` runs any more. Raises nothing
        for the peer's sake; when it returns or is cancelled the socket is closed.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Close the socket at once, saying nothing. Never blocks, never raises; may be called repeatedly."""


def ping_payload(now: float) -> bytes:
    """What a Ping sent at *now* (seconds, trio clock) carries, so that its Pong tells the round-trip time."""
    return _PING.pack(now)


def round_trip(payload: bytes, now: float) -> float | None:
    """Seconds since the Ping whose Pong brought *payload* at *now*; None where no Ping of ours did.

    A peer can forge it and so falsify the figure shown for itself, nothing else.
    """
    if len(payload) != _PING.size:
        return None
    (sent,) = _PING.unpack(payload)
    elapsed = now - sent
    return elapsed if math.isfinite(elapsed) and 0 <= elapsed < 3600 else None
