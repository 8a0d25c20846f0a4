"""The writing side of a connection: what is sent at once, and the send actor for what has to wait.

While nothing waits in the outbox nobody is writing, and whatever is to be sent next may be written directly, without a
task. As soon as something has to wait, the send actor begins: it drains the outbox into the wire, and rests again when
that is empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import trio

from realtime.delivery import frames
from realtime.delivery.counts import Counts
from realtime.delivery.ending import ABORT_SECONDS, Closed
from realtime.delivery.frames import Frame
from realtime.delivery.outbox import Outbox
from realtime.delivery.wire import DIRECT_BYTES, Wire, WriteStalled
from realtime.messages import CloseCode


class _Direct:
    """What each delivery reads, at the front of a sender.

    Slots lie in the order of the classes, and by name within one: so it shares its line of the processor's cache with
    the count of references, which a loop over senders writes anyway. In the middle it was a line of its own, to be
    fetched for each delivery: 3 % of what one costs.
    """

    __slots__ = ("direct",)

    #: What writes whole frames to the socket at once, as `Wire.writer`, while that is their place in the order:
    #: nothing waits in the outbox and the send actor rests. Else None.
    direct: Callable[[bytes], int] | None


class Sender(_Direct):
    """An outbox, the wire that it goes to, and what has become of both.

    To read is up to the subclass. While it does `_reading` is set, and `_nursery` is where the send actor runs: the end
    of that nursery is the end of both.
    """

    __slots__ = (
        "_broken",
        "_nursery",
        "_pinged_at",
        "_pings",
        "_reading",
        "_sending",
        "_waiting_since",
        "_writing",
        "closed",
        "counts",
        "direct_deflated",
        "id",
        "outbox",
        "wire",
    )

    def __init__(self, id: str, wire: Wire, outbox: Outbox) -> None:
        self.id = id
        self.wire = wire
        self.outbox = outbox
        #: How it ended; None while it is open.
        self.closed: Closed | None = None
        self._nursery: trio.Nursery | None = None
        # Whether the reader listens, and whether the send actor is a task.
        self._reading = self._sending = False
        # Whether a write is under way, or never came to its end.
        self._writing = False
        self._broken = False
        self.direct = None
        #: As `direct`, for the compressed form of frames; of the two that one is set which the wire wants.
        self.direct_deflated: Callable[[bytes], int] | None = None
        #: Where the hub counts what its connections do; None before it knows of this one.
        self.counts: Counts | None = None
        self._waiting_since: float | None = None
        self._pinged_at = -math.inf
        self._pings = 0

    # --- at once ---

    def owe(self, rest: Frame) -> None:
        """`direct` cut a frame off: *rest* is what goes out next, and nothing before it."""
        # Neither is a Close frame possible before: the write comes to its end with the send actor's next one.
        self._writing = True
        self.wire.owe(rest)
        self.outbox.begin(rest)

    def reply(self, message: bytes, *, begins: str | None = None) -> None:
        """Send *message*, encoded JSON, in order; it is never dropped. See `Outbox.reply` for *begins*.

        Where nothing waits it is written at once, like what is published: a task for each would cost more than it does.
        """
        frame = frames.text(message)
        taken = 0
        if self.direct is not None and len(frame.data) <= DIRECT_BYTES:
            taken = self._write_at_once(self.direct, frame.data)
        if not taken:
            self.outbox.reply(frame, begins=begins)
        elif taken < len(frame.data):
            self.owe(frames.rest(frame.data[taken:]))

    def _write_first(self) -> None:
        """Write what waits from before the beginning, without the send actor if the socket takes it at once."""
        outbox = self.outbox
        writer = None if self.wire.deflates or outbox.closing is not None else self.wire.writer()
        # As much as is written in one call anyway: of more, the rest could not be told from what waits behind it.
        if writer is None or outbox.ping_waits or not 0 < outbox.waiting_bytes <= min(DIRECT_BYTES, outbox.max_bytes):
            return
        data = b"".join([frame.data for frame in outbox.receive_nowait()])
        taken = self._write_at_once(writer, data)
        if taken < len(data):
            self.owe(frames.rest(data[taken:]))

    def _write_at_once(self, write: Callable[[bytes], int], data: bytes) -> int:
        """Write *data*, whole frames, as what comes next; return how many bytes of it were taken."""
        try:
            taken = write(data)
        except OSError:  # nothing now, or never again: the send actor will find out
            return 0
        if self.counts is not None:
            self.counts.written_bytes += taken
        return taken

    # --- the send actor ---

    def _rest(self) -> None:
        """Do without the send actor until something has to wait; what does not have to may be written directly."""
        if self._waiting_since is not None and self.counts is not None:
            self.counts.queued.observe(trio.current_time() - self._waiting_since)
        if self.outbox.max_bytes >= DIRECT_BYTES:
            writer = self.wire.writer()
            if self.wire.deflates:
                self.direct_deflated = writer
            else:
                self.direct = writer
        self.outbox.rest(self._start_writing)

    def _start_writing(self) -> None:
        """There is something to send: let the send actor begin, unless the reader has seen the end of it all."""
        self.direct = self.direct_deflated = None
        self._waiting_since = trio.current_time()
        if self._reading and self._nursery is not None:
            self._sending = True
            # In the reader's context, not in that of the task that happened to have something to say.
            context = self._nursery.parent_task.context.copy()
            context.run(partial(self._nursery.start_soon, self._send_actor, name=f"send actor of {self.id}"))

    async def _send_actor(self) -> None:
        """Write until nothing is left; if nothing can follow, end the reader."""
        try:
            done = await self._write()
        finally:
            self._sending = False
        if done and self._reading and self.outbox.closing is None:
            self._rest()
        elif self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the send actor ended")

    async def _write(self) -> bool:
        """Write what the outbox gives until it has nothing; False if nothing can be written any more."""
        while batch := self.outbox.receive_nowait():
            if self.outbox.pings_taken != self._pings:
                self._pings = self.outbox.pings_taken
                # Before the write: an answer can be here before the write has returned.
                if self.unanswered_since is None:
                    self._pinged_at = trio.current_time()
            self._writing = True
            try:
                await self.wire.send(batch)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._broken = True
                if self.closed is None:
                    # The reader ends this: it may yet find what the client said before it left, and its Close frame.
                    self._limit(ABORT_SECONDS)
                    await trio.sleep_forever()
                return False
            except WriteStalled as stalled:
                self.closed = self.closed or Closed(CloseCode.TOO_SLOW, str(stalled), "server")
                return False
            self._writing = False
            if self.counts is not None:
                self.counts.sent_bytes += sum(len(frame.data) for frame in batch)
        return True

    @property
    def unanswered_since(self) -> float | None:
        """When the oldest ping without any sign of life after it went to the wire; None if there is none."""
        return self._pinged_at if self.wire.last_seen < self._pinged_at else None

    def _limit(self, seconds: float) -> None:
        """End reader and send actor after *seconds* at the latest."""
        if self._nursery is not None:
            scope = self._nursery.cancel_scope
            scope.deadline = min(scope.deadline, trio.current_time() + seconds)
