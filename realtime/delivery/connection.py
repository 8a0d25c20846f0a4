"""One open WebSocket: who reads it, who writes it, and how it ends.

There are two parts: the reader, which hands each message of the client's to a handler, and the send actor,
which drains the outbox into the wire (`realtime.delivery.sender`). The reader is whoever calls
`Connection.run`. The send actor is a task of the connection nursery as long as there is something to send;
while there is not, an open connection has no other task than its reader. Whichever comes to its end first
ends the other. Only then, with nobody reading or writing any more, comes the closing handshake, and after it
the socket is gone, whatever happened.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import structlog
import trio

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.ending import (
    ABORT_SECONDS,
    ANSWER_SECONDS,
    FLUSH_SECONDS,
    LAST_WORD_SECONDS,
    NO_CODE,
    VANISHED,
    Closed,
)
from realtime.delivery.frames import Frame
from realtime.delivery.outbox import ABORTING, Outbox
from realtime.delivery.refusals import Refusals
from realtime.delivery.sender import Sender
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, Wire
from realtime.messages import CloseCode
from realtime.policy import closing, limits
from realtime.policy.access import ANONYMOUS, Principal

# Half a KiB less than to bind once more what is bound.
_BOUND: Final = contextlib.nullcontext()

Handler = Callable[[str | bytes], Awaitable[None] | None]
"""What is done about one message of the client's; waited for if it returns something to wait for."""

logger = structlog.get_logger("realtime.delivery")


@attrs.frozen
class ConnectionStatistics:
    """What `GET /api/connections` tells of one connection; durations in seconds."""

    id: str
    session: str | None
    principal: str | None
    address: str
    topics: tuple[str, ...]
    queued_messages: int
    queued_bytes: int
    dropped: int
    rtt_s: float | None
    connected_s: float


class Connection(Sender):
    """A client, its outbox and its wire. Made once the opening handshake is over; `run` is its life."""

    __slots__ = (
        "_bad",
        "_draining",
        "_inbound",
        "address",
        "connected_at",
        "heartbeat_message",
        "number",
        "principal",
        "refusals",
        "session",
        "topics",
    )

    def __init__(
        self,
        id: str,
        wire: Wire,
        *,
        session: str | None = None,
        outbox: Outbox | None = None,
        max_inbound_per_second: int = 50,
        heartbeat_message: Callable[[], bytes] = messages.ping,
        principal: Principal = ANONYMOUS,
        refusals: Refusals | None = None,
    ) -> None:
        super().__init__(id, wire, Outbox() if outbox is None else outbox)
        self.session = session
        self.principal = principal
        self.refusals = refusals
        self.address = wire.address
        self.heartbeat_message = heartbeat_message
        self.connected_at = trio.current_time()
        #: Its place among all connections of the hub, in the order of registration; 0 before that.
        self.number = 0
        #: Names of the topics that it is subscribed to, in that order; kept by the hub.
        self.topics: dict[str, None] = {}
        self._bad = limits.bad_messages()
        self._inbound = limits.inbound(max_inbound_per_second)
        self._draining = False

    # --- its life ---

    async def run(self, handle_message: Handler) -> Closed:
        """Read and write until either ends, then close; return how it ended.

        Nothing is left when this returns or raises: no task, no open socket, nothing in the outbox. If it is
        cancelled, the client is told to come back (1012) as far as that takes no waiting.

        Args:
          handle_message: called with one message of the client's at a time; the next is not read meanwhile.

        Raises:
          ExceptionGroup: *handle_message* raised; the connection was closed with 1011.
        """
        bound = structlog.contextvars.get_contextvars().get("connection_id") == self.id
        with _BOUND if bound else structlog.contextvars.bound_contextvars(connection_id=self.id):
            try:
                async with trio.open_nursery() as connection_nursery:
                    self._nursery = connection_nursery
                    self._hurry()
                    self.wire.on_ping = self._answer_ping
                    self._reading = True
                    self._write_first()
                    self._rest()
                    try:
                        await self._read(handle_message)
                    finally:
                        self._reading = False
                        if not self._sending:
                            connection_nursery.cancel_scope.cancel(reason="the reader ended")
            finally:
                self._nursery = None
                cancelled = trio.current_effective_deadline() == -math.inf
                with trio.move_on_after(LAST_WORD_SECONDS if cancelled else ANSWER_SECONDS, shield=True):
                    await self._part(cancelled)
        assert self.closed is not None
        return self.closed

    async def _read(self, handle_message: Handler) -> None:
        """The reader: one message after the other, until the peer has closed or must not be listened to."""
        while True:
            if self.outbox.replies_full:
                await self.outbox.wait_reply_room()
            try:
                message = await self.wire.receive()
            except PeerClosed as gone:
                self._gone(gone)
                return
            except PeerMisbehaved as fault:
                self.close(fault.code, fault.reason)
                return
            if self.counts is not None:
                self.counts.came(message)
            if not self._inbound.allow(trio.current_time()):
                self.close(CloseCode.TOO_MANY_MESSAGES, "too many messages")
            # While it closes it is still read, for the peer's own Close frame, but no longer listened to.
            if self.outbox.closing is None:
                await self._handle(handle_message, message)

    async def _handle(self, handle_message: Handler, message: str | bytes) -> None:
        try:
            work = handle_message(message)
            if work is not None:
                await self.wire.attend(work)
        except Exception:
            self.close(CloseCode.HANDLER_FAILED, "internal error")
            raise

    def _gone(self, peer: PeerClosed) -> None:
        """The peer is done with us: nothing more is sent but the rest of a write and the answer to its Close."""
        vanished = peer.code == VANISHED
        self.closed = self.closed or Closed(peer.code, peer.reason, "nobody" if vanished else "client")
        self.direct = self.direct_deflated = None
        self.outbox.discard(rest=False)
        self._limit(0.0 if vanished or self._broken else ABORT_SECONDS)

    async def _part(self, cancelled: bool) -> None:
        """The closing handshake, where there is anybody to hold it with, and the end of the socket."""
        self.direct = self.direct_deflated = None
        try:
            if self.closed is None and self._broken:
                self.closed = Closed(VANISHED, "", "nobody")
            elif self.closed is None:
                restart = (CloseCode.RESTART, closing.cut_off(random.random).reason)
                unasked = restart if cancelled else (CloseCode.HANDLER_FAILED, "")
                self.closed = Closed(*(self.outbox.closing or unasked), "server")
            # A frame that was cut off can have no other behind it. Whether one was when the peer closed and the
            # write failed for it, only the wire can know.
            if self.closed.by != "nobody" and (self._broken or not self._writing):
                # 1005 stands for a Close frame without a code, and is itself never sent (RFC 6455 section
                # 7.4.1).
                code = CloseCode.NORMAL if self.closed.code == NO_CODE else self.closed.code
                await self.wire.aclose(code, self.closed.reason if self.closed.by == "server" else "")
        finally:
            self.wire.abort()
            self.wire.on_ping = None
            self.outbox.discard()

    # --- what others tell it to do: from any task of the loop, never blocking, never failing ---

    def refuse(self, code: str, message: str, *, topic: str | None = None, id: str | None = None) -> None:
        """Answer with the error *code*, and count it; the connection and its subscriptions stay."""
        if self.refusals is not None:
            self.refusals.error(code)
        self.reply(messages.error(code, message, topic=topic, id=id))

    def pong(self, timestamp: str | None = None) -> None:
        """Answer the client's ``ping`` message, ahead of what waits."""
        self.outbox.pong(frames.text(messages.pong(timestamp)))

    def ping(self, frame: Frame, message: Frame) -> None:
        """Ask for a sign of life, ahead of what waits: the Ping *frame* if the wire can send one, and *message*."""
        self.outbox.ping(*((frame, message) if self.wire.supports_frames else (message,)))

    def reject(self, problem: str) -> None:
        """Answer a malformed message with the error ``bad_message``; after too many of them close with 4400."""
        logger.warning("bad_message", connection_id=self.id, problem=problem)
        self.refuse("bad_message", problem)
        if not self._bad.allow(trio.current_time()):
            self.close(CloseCode.TOO_MANY_BAD_MESSAGES, "too many bad messages")

    def close(self, code: int, reason: str = "") -> None:
        """Close with *code*: behind what waits, which gets `FLUSH_SECONDS`, or for `ABORTING` ahead of it.

        The first close wins; calling it again, or after the end, does nothing.
        """
        if self.outbox.close(code, reason):
            self._hurry()

    def start_soon(self, work: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Let *work* run beside reader and send actor, in the context of the caller, and end with them.

        Should it raise, it ends them: the connection is then closed with 1011.

        Raises:
          RuntimeError: the connection does not run.
        """
        if self._nursery is None:
            raise RuntimeError(f"connection {self.id!r} does not run")
        self._nursery.start_soon(work, *args, name=f"{name}, {self.id}")

    def drain(self, delay: float, reason: str) -> None:
        """Close with 1012 after *delay* seconds, or at the end if that comes first; the first call counts."""
        if self._nursery is None or delay <= 0:
            self.close(CloseCode.RESTART, reason)
        elif not self._draining:
            self._draining = True
            self._nursery.start_soon(self._close_after, delay, reason, name=f"drain of {self.id}")

    # --- what can be seen ---

    def statistics(self) -> ConnectionStatistics:
        """A frozen snapshot."""
        outbox = self.outbox.statistics()
        return ConnectionStatistics(
            id=self.id,
            session=self.session,
            principal=self.principal.name,
            address=self.address,
            topics=tuple(self.topics),
            queued_messages=outbox.queued_messages,
            queued_bytes=outbox.queued_bytes,
            dropped=outbox.dropped,
            rtt_s=self.wire.rtt,
            connected_s=trio.current_time() - self.connected_at,
        )

    def _answer_ping(self, payload: bytes) -> None:
        self.outbox.pong(frames.pong(payload))

    async def _close_after(self, delay: float, reason: str) -> None:
        await trio.sleep(delay)
        self.close(CloseCode.RESTART, reason)

    def _hurry(self) -> None:
        """Let the send actor end within what its close allows, if there is one."""
        if self.outbox.closing is not None:
            self._limit(ABORT_SECONDS if self.outbox.closing[0] in ABORTING else FLUSH_SECONDS)
