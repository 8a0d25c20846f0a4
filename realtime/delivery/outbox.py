"""The one outbox of a connection: everything that is written to its socket after the handshake.

It is a bounded memory channel whose receiver is the send actor. What differs from Trio's own: an offer never
blocks, the topic's policy decides what becomes of it when there is no room; it is bounded by bytes as well as
by messages; and it has a control lane. Pongs, pings and the aborting closes overtake what waits; replies,
gaps and every other close keep their place behind it. Nothing overtakes the rest of a frame that is partly
written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import trio

from realtime.delivery.frames import Frame
from realtime.delivery.message import Message
from realtime.delivery.queue import Confirmation, MessageQueue
from realtime.delivery.wakeup import Wakeup
from realtime.messages import CloseCode
from realtime.policy.lag import Room, Verdict

# Closes after which nothing that waits is worth sending: the client is too slow for it, dead, or told to come
# back and resume.
ABORTING: Final = frozenset({CloseCode.TOO_SLOW, CloseCode.NO_SIGN_OF_LIFE, CloseCode.RESTART})

# A minute of a lively topic, ten of a quiet one: who lags further behind is better served by a gap and a
# resume.
MAX_MESSAGES: Final = 1000
# A thousand messages of 1 KiB. It is the bound that counts for memory: 5 % of 10 000 clients stalled hold at
# most 500 MiB if each got messages of its own, and a few MiB in truth, because messages are shared.
MAX_BYTES: Final = 1024 * 1024
# Replies are never dropped, so their number is bounded where they are caused: the socket is not read
# meanwhile. 64 lets a client send all its subscriptions at once.
MAX_REPLIES: Final = 64
# Written in one call. Large enough that a call's cost vanishes in it, small enough that what follows can
# still be conflated, dropped or overtaken by a ping while it is on its way.
BATCH_BYTES: Final = 64 * 1024


@attrs.frozen
class OutboxStatistics:
    """What waits in an outbox, and what it has cost its client so far."""

    queued_messages: int
    """Everything that waits to be sent, control frames and gaps included."""
    queued_bytes: int
    """Bytes of messages and replies."""
    replies: int
    held: int
    """Messages that wait outside, each with its publisher."""
    dropped: int
    """Messages lost to overflow, each told in a gap."""
    conflated: int
    """Messages replaced by a newer one of their key."""


class Outbox(trio.abc.ReceiveChannel[list[Frame]]):
    """Bounded by *max_messages* and *max_bytes*; one task receives, any task of the same loop offers."""

    __slots__ = (
        "_batch_bytes",
        "_close",
        "_ping",
        "_pongs",
        "_queue",
        "_ready",
        "_room",
        "max_bytes",
        "pings_taken",
    )

    def __init__(
        self,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        *,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._queue = MessageQueue(max_messages, max_bytes)
        self.max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        # Where the receiver sleeps or rests, and it does that only while nothing waits: whatever is put in, and the
        # close, wakes it at once.
        self._ready = Wakeup()
        # Where publishers and the reader wait for room; made when the first one has to.
        self._room: trio.lowlevel.ParkingLot | None = None
        # By opcode: the answer to the latest Ping frame, and to the latest `ping` message.
        self._pongs: dict[int, Frame] = {}
        self._ping: tuple[Frame, ...] = ()
        self._close: tuple[int, str] | None = None
        #: How many pings were handed out by `receive`.
        self.pings_taken = 0

    # --- what is put in: nothing here blocks, and nothing is an error once the outbox is closed ---

    def offer(self, message: Message) -> Verdict | None:
        """Queue *message*, or do what its topic's policy says if there is no room.

        Returns what was done; None if the outbox is closed. To carry out a verdict to disconnect, and to wait
        for one to hold, is up to the caller.
        """
        if self._close is not None:
            return None
        verdict = self._queue.offer(message)
        self._ready.wake()
        return verdict

    def begin(self, rest: Frame) -> None:
        """Put *rest*, of a message that is partly written, before all else; only for an outbox that is `idle`."""
        self._queue.begin(rest)
        self._ready.wake()

    def reply(self, frame: Frame, *, begins: str | None = None) -> None:
        """Queue *frame* in order, even beyond the bounds; *begins* names the topic whose subscription it confirms."""
        if self._close is None:
            self._queue.append(frame if begins is None else Confirmation(begins, frame))
            self._ready.wake()

    def pong(self, frame: Frame) -> None:
        """Answer a ping with *frame*, a Pong or a text message, ahead of what waits; of each kind the latest waits."""
        if self._close is None:
            self._pongs[frame.opcode] = frame
            self._ready.wake()

    def ping(self, *frames: Frame) -> None:
        """Ping with *frames*, ahead of what waits; they replace a ping that has not gone out yet."""
        if self._close is None:
            self._ping = frames
            self._ready.wake()

    def close(self, code: int, reason: str = "") -> bool:
        """Take nothing more, and end with *code*: after what waits, or at once if *code* is one of
        `ABORTING`.

        The first close wins; returns whether this was it.
        """
        if self._close is not None:
            return False
        self._close = (code, reason)
        self._queue.release()
        if code in ABORTING:
            self._forget()
        self._unpark()
        self._ready.wake()
        return True

    def discard(self, *, rest: bool = True) -> None:
        """Forget everything and take nothing more: there is nobody left to send it to.

        Args:
          rest: also what `begin` was given, without which not even a Close frame can be sent.

        A receiver that rests is not called any more; one that waits learns of the end.
        """
        if self._close is None:
            self._close = (CloseCode.NORMAL, "")
        self._ready.forget()
        self._forget()
        if rest:
            self._queue.take_rest()
        self._unpark()
        self._ready.wake()

    # --- what is taken out ---

    async def receive(self) -> list[Frame]:
        """The next frames to write in one call, in order: one at least, `batch_bytes` at most unless one is
        larger.

        Always a checkpoint. Cancelling it loses nothing.

        Raises:
          trio.EndOfChannel: nothing is left to send but the Close frame.
          trio.BusyResourceError: another task is receiving.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._empty:
            while self._empty:
                await self._ready.sleep()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        taken = self.receive_nowait()
        if not taken:
            raise trio.EndOfChannel
        return taken

    def receive_nowait(self) -> list[Frame]:
        """What `receive` would return now; empty if nothing waits."""
        taken = [*self._queue.take_rest(), *self._pongs.values(), *self._ping]
        if taken:
            self.pings_taken += bool(self._ping)
            self._pongs.clear()
            self._ping = ()
        taken += self._queue.take(self._batch_bytes)
        self._unpark()
        return taken

    def rest(self, start: Callable[[], object]) -> None:
        """Receive no more for now: *start* is called once, when there is something to receive, if not at once.

        Raises:
          trio.BusyResourceError: a task is receiving, or rests already.
        """
        self._ready.leave(start)
        if not self._empty:
            self._ready.wake()

    async def aclose(self) -> None:
        """The receiver's end: `discard`, and a checkpoint as everywhere in Trio."""
        self.discard()
        await trio.lowlevel.checkpoint()

    # --- waiting for room ---

    @property
    def replies_full(self) -> bool:
        """Whether so many replies wait that the client is not to be read."""
        return self._queue.replies >= MAX_REPLIES

    async def wait_reply_room(self) -> None:
        """Wait until fewer than `MAX_REPLIES` replies wait, or the outbox is closed. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        while self.replies_full and self._close is None:
            await self._park()

    async def wait_admitted(self, message: Message) -> None:
        """Wait until *message*, on which the verdict was to hold, has room, or nobody is left. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        while self.holds(message):
            await self._park()

    def holds(self, message: Message) -> bool:
        """Whether *message* still waits for room."""
        return self._queue.holds(message)

    def release(self, topic: str) -> None:
        """Give up the messages of *topic* that wait for room: its subscription has ended."""
        self._queue.release(topic)
        self._unpark()

    async def _park(self) -> None:
        if self._room is None:
            self._room = trio.lowlevel.ParkingLot()
        await self._room.park()

    def _unpark(self) -> None:
        if self._room is not None:
            self._room.unpark_all()

    # --- what can be seen ---

    @property
    def closing(self) -> tuple[int, str] | None:
        """Code and reason of the close that won; None while open."""
        return self._close

    @property
    def room(self) -> Room:
        """What is left before the bounds; none while messages wait for room, which nothing may pass."""
        return Room(0, 0) if self._queue.held else self._queue.room

    @property
    def waiting_bytes(self) -> int:
        """Bytes of messages and replies that wait."""
        return self._queue.bytes

    @property
    def ping_waits(self) -> bool:
        """Whether a ping has not been handed out yet."""
        return bool(self._ping)

    @property
    def idle(self) -> bool:
        """Whether it is open, nothing waits, and the receiver sleeps or rests: nobody is writing to the socket."""
        return self._ready.asleep

    def statistics(self) -> OutboxStatistics:
        """A frozen snapshot."""
        queue = self._queue
        return OutboxStatistics(
            queued_messages=len(queue) + len(self._pongs) + len(self._ping),
            queued_bytes=queue.bytes,
            replies=queue.replies,
            held=queue.held,
            dropped=queue.dropped,
            conflated=queue.conflated,
        )

    @property
    def _empty(self) -> bool:
        return not (self._queue or self._ping or self._pongs or self._close is not None)

    def _forget(self) -> None:
        self._queue.clear()
        self._pongs.clear()
        self._ping = ()
