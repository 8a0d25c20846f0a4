"""One topic: its numbers, who subscribes to it, and what is on its way to them.

A published message first waits among the pending ones, and is then delivered together with all that are
pending at that moment. A delivery can pause between two subscribers and be carried on by anyone, to its end
or for some steps. There is only one at a time, and the next begins when it is over: so each subscriber gets
every message once and in order, whoever carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import length_hint
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs
import trio

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.batch import Batch
from realtime.delivery.counts import Counts
from realtime.delivery.frames import Frame
from realtime.delivery.history import History
from realtime.delivery.message import Message
from realtime.delivery.wire import DIRECT_BYTES
from realtime.messages import CloseCode
from realtime.policy import lag, resume
from realtime.policy.lag import Overflow
from realtime.policy.pages import Cursor
from realtime.settings import TopicSettings

if TYPE_CHECKING:
    from realtime.delivery.connection import Connection

# Values remembered for those who subscribe later, one per key, those last updated: as many as a new
# subscriber can be sent at once and still have most of its outbox for what follows.
RETAINED_KEYS: Final = 100
# What costs as much as a small write, some 4 us: so many bytes more in it, and so many messages queued.
BYTES_PER_WORK: Final = 16 * 1024
QUEUED_PER_WORK: Final = 4
# Subscribers served before the work is counted: few enough that it is not far beyond its limit then, and so many
# that counting costs 1 % of it.
STRIDE: Final = 32


@attrs.frozen
class Subscription:
    """What a subscriber was told: messages follow from *offset* + 1 on, counted within *epoch*."""

    topic: str
    epoch: str
    offset: int
    conflate: bool
    recovered: bool = False
    """Whether everything follows first that the subscriber said it had missed."""


class Delivered(NamedTuple):
    """What one call of `Topic.deliver` did."""

    work: int
    """In units of one small write."""
    offered: int
    """Subscribers that it came to."""
    written: int
    """Those of them to whose socket all went at once."""


@attrs.frozen
class TopicStatistics:
    """What `GET /api/topics` tells of one topic."""

    topic: str
    subscribers: int
    published: int
    dropped: int
    epoch: str
    offset: int
    overflow: Overflow


class Topic:
    """The state of a topic. Nothing here blocks, and no client makes anything here fail."""

    __slots__ = (
        "_batch",
        "_due",
        "_left",
        "_since",
        "arrivals",
        "counts",
        "dropped",
        "epoch",
        "held",
        "history",
        "kept",
        "name",
        "offset",
        "pending",
        "pending_bytes",
        "pending_since",
        "published",
        "retained",
        "retains",
        "settings",
        "subscribers",
    )

    def __init__(
        self,
        name: str,
        epoch: str,
        settings: TopicSettings,
        *,
        kept: bool,
        retains: bool,
        history_bytes: int,
        counts: Counts,
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.settings = settings
        self.counts = counts
        #: Whether it stays when nobody subscribes to it.
        self.kept = kept
        self.retains = retains
        self.offset = 0
        self.published = 0
        self.dropped = 0
        self.subscribers: dict[Connection, Subscription] = {}
        self.pending: list[Message] = []
        self.pending_bytes = 0
        #: When the oldest of them was published, and the oldest of those on their way, by `time.perf_counter`.
        self.pending_since = self._since = 0.0
        #: Who holds a patient message of the last delivery outside its outbox, until the publisher takes it
        #: up.
        self.held: list[tuple[Connection, Message]] = []
        #: The last message of each key.
        self.retained: dict[str | None, Message] = {}
        #: The last messages of all keys, if the settings say that some are kept.
        self.history = History(min(settings.history, resume.MOST), history_bytes) if settings.history else None
        #: Where tasks wait for somebody to subscribe; made when the first one does.
        self.arrivals: trio.lowlevel.ParkingLot | None = None
        self._batch = Batch(())
        self._due: Iterator[Connection] | None = None
        # Whether anybody has left since this delivery began, and so may be among those to come.
        self._left = False

    # --- publishing ---

    def publish(
        self, type: str, data: object, key: str | None, offset: int | None, *, patient: bool = False
    ) -> Message | None:
        """Number a message and let it wait for its delivery; None if nobody would get it, now or later.

        Raises:
          ValueError: *offset* is not beyond the last one; nothing was published.
          TypeError: *data* has no JSON form; nothing was published.
        """
        number = self.offset + 1 if offset is None else offset
        if number <= self.offset:
            raise ValueError(f"offset of {self.name!r} must be greater than {self.offset}, not {offset}")
        message = None
        if self.subscribers or self.retains or self.history is not None:
            # Encoded before it counts, so that what cannot be encoded leaves no hole in the numbers.
            frame = frames.text(messages.published(type, self.name, number, data))
            message = Message(frame, self.name, number, self.settings.overflow, key, patient)
        self.offset = number
        self.published += 1
        if message is not None and self.retains:
            self._retain(message)
        if message is not None and self.history is not None:
            self.history.add(message)
        if message is not None and self.subscribers:
            if not self.pending:
                self.pending_since = perf_counter()
            self.pending.append(message)
            self.pending_bytes += message.size
        return message

    def _retain(self, message: Message) -> None:
        self.retained.pop(message.key, None)
        self.retained[message.key] = message
        if len(self.retained) > RETAINED_KEYS:
            del self.retained[next(iter(self.retained))]

    # --- delivering ---

    @property
    def unfinished(self) -> bool:
        """Whether anything is still on its way."""
        return self._due is not None or bool(self.pending)

    def deliver(self, max_work: int | None = None) -> Delivered:
        """Deliver what is pending to the subscribers, until all is done or about *max_work*, and tell what was.

        What is left when it returns, or raises, is carried on by the next call. A subscriber whose outbox
        fails is closed with 1011, so that what it misses is no secret, and the failure is raised.
        """
        work = served = written = 0
        while self.unfinished and (max_work is None or work < max_work):
            if self._due is None:
                self._batch = Batch(self.pending)
                self._due = iter(list(self.subscribers))
                self._left = False
                self._since = self.pending_since
                self.pending.clear()
                self.pending_bytes = 0
            weight = 1 + self._batch.size // BYTES_PER_WORK
            few = STRIDE if max_work is None else min(STRIDE, -((work - max_work) // weight))
            before = length_hint(self._due)
            waited, absent = self._serve(islice(self._due, few))
            after = length_hint(self._due)
            work += (before - after) * weight + waited * len(self._batch.messages) // QUEUED_PER_WORK
            served += before - after - absent
            written += before - after - absent - waited
            self.counts.written_bytes += (before - after - absent - waited) * self._batch.size
            if not after:
                self.counts.latency.observe(perf_counter() - self._since)
                self._due = None
                self._batch = Batch(())
        return Delivered(work, served, written)

    def _serve(self, connections: Iterator[Connection]) -> tuple[int, int]:
        """Write the batch to those that can be written to directly; queue it with the others, or what is left of it.

        Returns for how many something waits now, and how many do not subscribe any more.
        """
        batch = self._batch
        data, size = batch.data, batch.size
        subscribers, left = self.subscribers, self._left
        fits = batch.largest <= DIRECT_BYTES
        waited = absent = 0
        # With a thousand connections and more, each object touched in here is a cache line to be fetched, 1 to 2 % of a
        # delivery, and each call of ours 2 %: hence one attribute of the connection in place of five questions to
        # its outbox, its wire and its socket.
        for connection in connections:
            if left and connection not in subscribers:
                absent += 1
                continue
            write = connection.direct
            if write is not None and fits:
                try:
                    taken = write(data)
                except OSError:  # it takes nothing now, or never again: the send actor will find out
                    taken = 0
                except Exception:
                    connection.close(CloseCode.HANDLER_FAILED, "internal error")
                    raise
                if taken == size:
                    continue
                self.counts.written_bytes += taken
                self._queue(connection, *batch.left(taken))
            elif connection.direct_deflated is not None and fits:
                if self._write_deflated(connection, connection.direct_deflated):
                    continue
            else:
                self._offer(connection, batch.messages)
            waited += 1
        return waited, absent

    def _write_deflated(self, connection: Connection, write: Callable[[bytes], int]) -> bool:
        """Write the compressed form of the batch by *write*; return whether all of it was taken."""
        data = self._batch.deflated
        try:
            taken = write(data)
        except OSError:
            taken = 0
        if taken == len(data):
            self.counts.written_bytes += taken - self._batch.size  # which `deliver` adds for all alike
        else:
            self.counts.written_bytes += taken
            self._queue(connection, *self._batch.left(taken, deflated=True))
        return taken == len(data)

    def _queue(self, connection: Connection, rest: Frame | None, messages: Sequence[Message]) -> None:
        """Let what is left of a batch that is partly written, or not at all, wait in the outbox."""
        if rest is not None:
            connection.owe(rest)
        self._offer(connection, messages)

    def _offer(self, connection: Connection, batch: Iterable[Message]) -> None:
        try:
            for message in batch:
                verdict = connection.outbox.offer(message)
                if verdict is lag.QUEUE or verdict is None:
                    continue
                self.dropped += verdict.dropped
                self.counts.dropped += verdict.dropped
                if verdict.hold:
                    self.held.append((connection, message))
                elif verdict.disconnect:
                    connection.close(CloseCode.TOO_SLOW, "too slow")
        except Exception:
            connection.close(CloseCode.HANDLER_FAILED, "internal error")
            raise

    # --- subscribing ---

    def subscribe(self, connection: Connection, since: Cursor | None = None) -> Subscription:
        """Begin at the current offset: confirm to *connection*, then send it what is retained.

        In place of that, who has seen everything up to *since* is sent all that came after it, if that can be.

        Everything pending has to be delivered before.
        """
        conflate = self.settings.overflow is Overflow.CONFLATE
        missed = self._missed(connection, since)
        subscription = Subscription(self.name, self.epoch, self.offset, conflate, missed is not None)
        self.subscribers[connection] = subscription
        self.confirm(connection)
        # Copies: the originals may still wait in this very outbox, from an earlier subscription.
        if missed is None:
            self._offer(connection, [attrs.evolve(message, patient=False) for message in self.retained.values()])
        else:
            # Under every policy each of them is sent, and not the last of its key alone.
            self._offer(connection, [Message(message.frame, self.name, message.offset) for message in missed])
        if self.arrivals is not None:
            self.arrivals.unpark_all()
        return subscription

    def _missed(self, connection: Connection, since: Cursor | None) -> list[Message] | None:
        """What came after *since*, if all of it can be sent to *connection*."""
        if since is None or self.history is None:
            return None
        kept, room = self.history.sizes(self.offset), connection.outbox.room
        count = resume.replay(since, epoch=self.epoch, offset=self.offset, kept=kept, room=room)
        return None if count is None else list(self.history.last(count))

    def recall(self, type: str, data: object, offset: int) -> bool:
        """Keep an older message, from before this process began; False if it is not wanted.

        Wanted is the one right before the oldest that is kept, as long as there is room.
        """
        first = None if self.history is None else self.history.first
        if self.history is None or offset != (self.offset if first is None else first - 1):
            return False
        return self.history.prepend(
            Message(frames.text(messages.published(type, self.name, offset, data)), self.name, offset)
        )

    def leave(self, connection: Connection) -> None:
        """End a subscription; what is on its way to the others does not reach *connection*."""
        del self.subscribers[connection]
        self._left = True

    def confirm(self, connection: Connection) -> None:
        """Tell *connection* where its subscription stands."""
        told = self.subscribers[connection]
        text = messages.subscribed(
            told.topic, told.epoch, told.offset, conflate=told.conflate, recovered=told.recovered
        )
        connection.reply(text, begins=self.name)

    def move(self, epoch: str, offset: int) -> None:
        """Go on from *offset* of *epoch*; subscribers are told by another confirmation if the epoch is new to
        them.

        Everything pending has to be delivered before.

        Raises:
          ValueError: *offset* is behind the current one of the same epoch.
        """
        if epoch == self.epoch and offset < self.offset:
            raise ValueError(f"offset of {self.name!r} must be at least {self.offset} in this epoch, not {offset}")
        changed = epoch != self.epoch
        self.epoch, self.offset = epoch, offset
        if changed:
            self.retained.clear()
            if self.history is not None:
                self.history.clear()
            for connection, told in self.subscribers.items():
                self.subscribers[connection] = attrs.evolve(told, epoch=epoch, offset=offset, recovered=False)
                self.confirm(connection)

    async def wait_for_subscriber(self) -> None:
        """Wait until somebody subscribes to it, if nobody does. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self.subscribers:
            if self.arrivals is None:
                self.arrivals = trio.lowlevel.ParkingLot()
            await self.arrivals.park()

    def statistics(self) -> TopicStatistics:
        """A frozen snapshot."""
        return TopicStatistics(
            self.name,
            len(self.subscribers),
            self.published,
            self.dropped,
            self.epoch,
            self.offset,
            self.settings.overflow,
        )
