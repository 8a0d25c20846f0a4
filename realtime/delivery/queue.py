"""What waits for one client, in order and within bounds, with a gap where something had to go.

Pure: `realtime.policy.lag` decides, this carries it out. Everything here is made for the common case, in
which nothing ever overflows: queueing is an append and taking is a pop, of objects that all clients share.
What an overflow needs is built when the first one happens and forgotten when the queue has run empty.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import attrs

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.frames import Frame
from realtime.delivery.message import Message
from realtime.policy import lag
from realtime.policy.lag import Overflow, Room, Verdict

# Dead entries are swept out when there are more of them than this and than half of the queue: each is then
# swept at most twice, and they never hold more than the living do.
_SWEEP_FROM = 64
# Stands for a deque until there is something to put into one: an empty deque takes 700 bytes, and ten thousand idle
# connections have two queues each. Never added to.
_NONE: Final[deque[Any]] = deque()


@attrs.define(eq=False)
class Gap:
    """Stands where *missed* messages of *topic* were dropped, the last of them *offset*; 0 missed: merged."""

    topic: str
    offset: int
    missed: int = 1


@attrs.frozen(eq=False)
class Confirmation:
    """A reply that begins a subscription to *topic*: nothing after it counts into a gap before it."""

    topic: str
    frame: Frame


# Of a topic, in their order: its queued messages, and never two gaps side by side.
_Strand = deque[Message | Gap]


class MessageQueue:
    """A bounded queue of shared messages, in which replies keep their place and losses leave gaps.

    The bounds count messages and their bytes. Replies count into the bytes but are never refused: who makes
    them stops at a number of them. Gaps are bounded by what they stand between: there is one more than queued
    messages of a topic at most.

    Of a message that is partly written already the rest can stand at the head. It counts as a message, but nothing
    can be done about it any more: no policy drops it, nothing overtakes it, and only who hangs up forgets it.
    """

    __slots__ = (
        "_dead",
        "_gone",
        "_held",
        "_items",
        "_latest",
        "_rest",
        "_strands",
        "bytes",
        "conflated",
        "dropped",
        "max_bytes",
        "max_messages",
        "messages",
        "replies",
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ValueError(f"bounds must be at least 1, not {max_messages} messages and {max_bytes} bytes")
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.messages = 0
        self.bytes = 0
        self.replies = 0
        self.dropped = 0
        self.conflated = 0
        self._items: deque[Any] = _NONE  # of Message, Gap, Confirmation, Frame
        # Messages that are still among the items but no longer to be sent, with the gap that stands in their
        # place, if one does. The messages are shared, so the mark cannot be on them.
        self._gone: dict[Message, Gap | None] = {}
        self._dead = 0
        # Per slot, the queued message that the next one of that slot replaces.
        self._latest: dict[tuple[str, str | None], Message] = {}
        self._rest: Frame | None = None
        # Per topic, what is queued of it; None until something does not fit.
        self._strands: dict[str, _Strand] | None = None
        # Patient messages for which there was no room, in order; bounded by the publishers that wait for
        # them.
        self._held: deque[Message] = _NONE

    def __len__(self) -> int:
        """How many frames `take` would return without a limit."""
        return len(self._items) - self._dead + (self._rest is not None)

    @property
    def held(self) -> int:
        """How many messages wait for room."""
        return len(self._held)

    @property
    def room(self) -> Room:
        """What is left before the bounds; replies can take the bytes beyond theirs, which leaves none."""
        return Room(self.max_messages - self.messages, max(0, self.max_bytes - self.bytes))

    def offer(self, message: Message) -> Verdict:
        """Queue *message*, or what its topic's policy says if there is no room; what was done is returned.

        A verdict to disconnect is the caller's to carry out.
        """
        size = message.size
        slot = message.slot
        replaces = self._latest.get(slot) if slot is not None else None
        crowded = self.messages >= self.max_messages or self.bytes + size > self.max_bytes
        if replaces is None and not crowded and not (self._held and message.overflow is Overflow.WAIT):
            self._append(message)
            return lag.QUEUE
        verdict = self._judge(message, replaces, crowded)
        if verdict.replace and replaces is not None:
            self._remove(replaces)
            self.conflated += 1
        for _ in range(verdict.evict):
            self._evict(message.topic)
        if verdict.queue:
            self._append(message)
        elif verdict.hold:
            if self._held is _NONE:
                self._held = deque()
            self._held.append(message)
        elif not verdict.disconnect:
            self._miss(message)
        self.dropped += verdict.dropped
        return verdict

    def begin(self, rest: Frame) -> None:
        """Put *rest*, of a message that is partly written, before all else, whatever the bounds."""
        if self._rest is not None or self._items:
            raise ValueError("what is partly written comes first: nothing can be queued before it")
        self._rest = rest
        self.messages += 1
        self.bytes += len(rest.data)

    def take_rest(self) -> list[Frame]:
        """Remove and return what `begin` was given, if it is still there; to be written before anything."""
        rest, self._rest = self._rest, None
        if rest is None:
            return []
        self.messages -= 1
        self.bytes -= len(rest.data)
        return [rest]

    def append(self, reply: Frame | Confirmation) -> None:
        """Queue *reply* in order, whatever the bounds."""
        frame = reply.frame if isinstance(reply, Confirmation) else reply
        if isinstance(reply, Confirmation) and self._strands is not None:
            self._strands.pop(reply.topic, None)
        self.replies += 1
        self.bytes += len(frame.data)
        self._enqueue(reply)

    def take(self, max_bytes: int) -> list[Frame]:
        """Remove and return what comes next, in order: at least one frame if there is any, *max_bytes* at
        most. Not what `take_rest` is for.

        Held messages move up into the room that this makes.
        """
        taken: list[Frame] = []
        size = 0
        while self._items:
            frame = self._frame(self._items[0])
            if frame is not None:
                size += len(frame.data)
                if taken and size > max_bytes:
                    break
                taken.append(frame)
            self._pop()
        self._admit()
        if not self._items:
            self._items = _NONE
            self._strands = None
        return taken

    def holds(self, message: Message) -> bool:
        """Whether *message* still waits for room."""
        return message in self._held

    def release(self, topic: str | None = None) -> None:
        """Give up the messages that wait for room, those of *topic* or all."""
        if self._held:
            self._held = deque(message for message in self._held if topic not in (None, message.topic))

    def clear(self) -> None:
        """Forget everything but what `begin` was given; the counters of losses stay."""
        self._items = _NONE
        self._gone.clear()
        self._latest.clear()
        self._held = _NONE
        self._strands = None
        self._dead = self.messages = self.bytes = self.replies = 0
        if self._rest is not None:
            self.messages, self.bytes = 1, len(self._rest.data)

    # --- the two ends ---

    def _enqueue(self, item: Message | Gap | Confirmation | Frame) -> None:
        if self._items is _NONE:
            self._items = deque()
        self._items.append(item)

    def _append(self, message: Message) -> None:
        self._enqueue(message)
        self.messages += 1
        self.bytes += message.size
        if message.slot is not None:
            self._latest[message.slot] = message
        if self._strands is not None:
            self._strands.setdefault(message.topic, deque()).append(message)

    def _frame(self, item: Message | Gap | Confirmation | Frame) -> Frame | None:
        """What *item* sends, if it is still alive."""
        if isinstance(item, Message):
            if item not in self._gone:
                return item.frame
            gap = self._gone[item]
            return None if gap is None else self._frame(gap)
        if isinstance(item, Gap):
            if not item.missed:
                return None
            return frames.text(messages.gap(item.topic, item.offset, item.missed))
        return item.frame if isinstance(item, Confirmation) else item

    def _pop(self) -> None:
        """Remove the first item and all account of it."""
        item: Message | Gap | Confirmation | Frame | None = self._items.popleft()
        if isinstance(item, Message) and item in self._gone:
            item = self._gone.pop(item)
        if item is None or (isinstance(item, Gap) and not item.missed):
            self._dead -= 1
        elif isinstance(item, Message):
            self._uncount(item)
            self._leave_strand(item)
        elif isinstance(item, Gap):
            self._leave_strand(item)
        else:
            self.replies -= 1
            self.bytes -= len((item.frame if isinstance(item, Confirmation) else item).data)

    def _admit(self) -> None:
        while self._held and self.room.fits(self._held[0].size):
            self._append(self._held.popleft())

    # --- overflow ---

    def _judge(self, message: Message, replaces: Message | None, crowded: bool) -> Verdict:
        if self._held and message.overflow is Overflow.WAIT:
            # Nothing may pass those that wait, not even what would fit.
            return lag.HOLD if message.patient else lag.DISCONNECT
        own = (
            (item.size for item in self._strand(message.topic) if isinstance(item, Message) and item is not replaces)
            if crowded
            else ()
        )
        return lag.judge(
            message.overflow,
            message.size,
            self.room,
            own=own,
            replaces=None if replaces is None else replaces.size,
            patient=message.patient,
        )

    def _evict(self, topic: str) -> None:
        """Drop the oldest queued message of *topic*, and let a gap tell of it."""
        strand = self._strand(topic)
        place = 1 if isinstance(strand[0], Gap) else 0
        message = strand[place]
        assert isinstance(message, Message)
        before = strand[0] if place else None
        after = strand[place + 1] if len(strand) > place + 1 else None
        gap: Gap | None = None
        if isinstance(after, Gap):
            after.missed += 1
        elif isinstance(before, Gap):
            before.missed += 1
            before.offset = message.offset
        else:
            gap = Gap(topic, message.offset)
        self._bury(message, gap)
        del strand[place]
        if gap is not None:
            strand.appendleft(gap)
        self._merge(strand, place)

    def _remove(self, message: Message) -> None:
        """Take *message* out, wherever it is: it has been replaced."""
        self._bury(message, None)
        if self._strands is not None:
            strand = self._strands.get(message.topic)
            if strand is not None and message in strand:
                place = strand.index(message)
                del strand[place]
                self._merge(strand, place)

    def _merge(self, strand: _Strand, place: int) -> None:
        """Make one of the gaps that stand side by side at *place* - 1 and *place*, if two do."""
        if not 0 < place < len(strand):
            return
        before, after = strand[place - 1], strand[place]
        if isinstance(before, Gap) and isinstance(after, Gap):
            after.missed += before.missed
            before.missed = 0
            del strand[place - 1]
            self._died()

    def _miss(self, message: Message) -> None:
        """Let a gap at the end tell of *message*, which was not queued."""
        strand = self._strand(message.topic)
        last = strand[-1] if strand else None
        if isinstance(last, Gap):
            last.missed += 1
            last.offset = message.offset
        else:
            gap = Gap(message.topic, message.offset)
            strand.append(gap)
            self._enqueue(gap)

    def _strand(self, topic: str) -> _Strand:
        """What is queued of *topic*; the first time, all topics are looked through."""
        if self._strands is None:
            self._strands = {}
            for item in self._items:
                if isinstance(item, Confirmation):
                    self._strands.pop(item.topic, None)
                elif isinstance(item, Message) and item not in self._gone:
                    self._strands.setdefault(item.topic, deque()).append(item)
        return self._strands.setdefault(topic, deque())

    def _leave_strand(self, item: Message | Gap) -> None:
        if self._strands is None:
            return
        strand = self._strands.get(item.topic)
        # A confirmation has begun a new strand, to which what stood before it does not belong.
        if strand and strand[0] is item:
            strand.popleft()
            if not strand:
                del self._strands[item.topic]

    def _uncount(self, message: Message) -> None:
        self.messages -= 1
        self.bytes -= message.size
        if message.slot is not None and self._latest.get(message.slot) is message:
            del self._latest[message.slot]

    def _bury(self, message: Message, gap: Gap | None) -> None:
        self._uncount(message)
        self._gone[message] = gap
        if gap is None:
            self._died()

    def _died(self) -> None:
        self._dead += 1
        if self._dead > _SWEEP_FROM and self._dead * 2 > len(self._items):
            living: deque[Message | Gap | Confirmation | Frame] = deque()
            for item in self._items:
                stands = self._gone.get(item, item) if isinstance(item, Message) else item
                if stands is not None and not (isinstance(stands, Gap) and not stands.missed):
                    living.append(stands)
            self._items = living
            self._gone.clear()
            self._dead = 0
