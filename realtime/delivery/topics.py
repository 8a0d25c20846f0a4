"""One topic: its numbers, who subscribes to it, and what is on its way to them.

A published message first waits among the pending ones, and is then delivered together with all that are
pending at that moment. A delivery can pause between two subscribers and be carried on by anyone, to its end
or for some steps. There is only one at a time, and the next begins when it is over: so each subscriber gets
every message once and in order, whoever carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs
import trio

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.message import Message
from realtime.messages import CloseCode
from realtime.policy import lag
from realtime.policy.lag import Overflow
from realtime.settings import TopicSettings

if TYPE_CHECKING:
    from realtime.delivery.connection import Connection

# Values remembered for those who subscribe later, one per key, those last updated: as many as a new
# subscriber can be sent at once and still have most of its outbox for what follows.
RETAINED_KEYS = 100


@attrs.frozen
class Subscription:
    """What a subscriber was told: messages follow from *offset* + 1 on, counted within *epoch*."""

    topic: str
    epoch: str
    offset: int
    conflate: bool


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
        "arrivals",
        "dropped",
        "epoch",
        "held",
        "kept",
        "name",
        "offset",
        "pending",
        "pending_bytes",
        "published",
        "retained",
        "retains",
        "settings",
        "subscribers",
    )

    def __init__(self, name: str, epoch: str, settings: TopicSettings, *, kept: bool, retains: bool) -> None:
        self.name = name
        self.epoch = epoch
        self.settings = settings
        #: Whether it stays when nobody subscribes to it.
        self.kept = kept
        self.retains = retains
        self.offset = 0
        self.published = 0
        self.dropped = 0
        self.subscribers: dict[Connection, Subscription] = {}
        self.pending: list[Message] = []
        self.pending_bytes = 0
        #: Who holds a patient message of the last delivery outside its outbox, until the publisher takes it
        #: up.
        self.held: list[tuple[Connection, Message]] = []
        #: The last message of each key.
        self.retained: dict[str | None, Message] = {}
        #: Where tasks wait for somebody to subscribe; made when the first one does.
        self.arrivals: trio.lowlevel.ParkingLot | None = None
        self._batch: tuple[Message, ...] = ()
        self._due: Iterator[Connection] | None = None

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
        if self.subscribers or self.retains:
            # Encoded before it counts, so that what cannot be encoded leaves no hole in the numbers.
            frame = frames.text(messages.published(type, self.name, number, data))
            message = Message(frame, self.name, number, self.settings.overflow, key, patient)
        self.offset = number
        self.published += 1
        if message is not None and self.retains:
            self._retain(message)
        if message is not None and self.subscribers:
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

    def deliver(self, max_steps: int | None = None) -> int:
        """Offer what is pending to the subscribers, to *max_steps* of them or to all; return to how many.

        What is left when it returns, or raises, is carried on by the next call. A subscriber whose outbox
        fails is closed with 1011, so that what it misses is no secret, and the failure is raised.
        """
        steps = 0
        while self.unfinished and (max_steps is None or steps < max_steps):
            connection = self._next()
            if connection is not None and connection in self.subscribers:
                self._offer(connection, self._batch)
                steps += 1
        return steps

    def _next(self) -> Connection | None:
        """Whose turn it is; None between two deliveries."""
        if self._due is None:
            self._batch = tuple(self.pending)
            self._due = iter(list(self.subscribers))
            self.pending.clear()
            self.pending_bytes = 0
        connection = next(self._due, None)
        if connection is None:
            self._due = None
            self._batch = ()
        return connection

    def _offer(self, connection: Connection, batch: Iterable[Message]) -> None:
        try:
            for message in batch:
                verdict = connection.outbox.offer(message)
                if verdict is lag.QUEUE or verdict is None:
                    continue
                self.dropped += verdict.dropped
                if verdict.hold:
                    self.held.append((connection, message))
                elif verdict.disconnect:
                    connection.close(CloseCode.TOO_SLOW, "too slow")
        except Exception:
            connection.close(CloseCode.HANDLER_FAILED, "internal error")
            raise

    # --- subscribing ---

    def subscribe(self, connection: Connection) -> Subscription:
        """Begin at the current offset: confirm to *connection*, then send it what is retained.

        Everything pending has to be delivered before.
        """
        conflate = self.settings.overflow is Overflow.CONFLATE
        subscription = Subscription(self.name, self.epoch, self.offset, conflate)
        self.subscribers[connection] = subscription
        self.confirm(connection)
        # Copies: the originals may still wait in this very outbox, from an earlier subscription.
        self._offer(connection, [attrs.evolve(message, patient=False) for message in self.retained.values()])
        if self.arrivals is not None:
            self.arrivals.unpark_all()
        return subscription

    def confirm(self, connection: Connection) -> None:
        """Tell *connection* where its subscription stands."""
        told = self.subscribers[connection]
        text = messages.subscribed(told.topic, told.epoch, told.offset, conflate=told.conflate)
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
            for connection, told in self.subscribers.items():
                self.subscribers[connection] = attrs.evolve(told, epoch=epoch, offset=offset)
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
