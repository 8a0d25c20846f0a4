"""What is published on topics, who subscribes to them, and the flusher that brings the one to the other.

Publishing numbers a message, encodes it once and wakes the flusher, the hub's one task. Per tick, not per
message, it joins all that is pending on a topic, and writes it at once to each subscriber that has nothing
waiting; what a socket does not take, and what comes for one that lags, goes to the outbox. The hub itself is an
object, not a task: its topics, subscribers and pending messages outlive a crash of the flusher, and its next
incarnation carries on where the last one stopped.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import attrs
import trio

from realtime import messages
from realtime.delivery.catalogue import Catalogue
from realtime.delivery.connection import Connection
from realtime.delivery.directory import Directory
from realtime.delivery.errors import TooManyTopics
from realtime.delivery.outbox import MAX_BYTES
from realtime.delivery.registry import Registry
from realtime.delivery.topics import Delivered, Subscription, Topic
from realtime.delivery.wakeup import Wakeup
from realtime.messages import CloseCode
from realtime.policy import limits
from realtime.policy.lag import Overflow
from realtime.policy.pages import Cursor
from realtime.settings import TopicSettings

# Small writes between two checkpoints of the flusher, or as much other work: about a millisecond.
STEPS_PER_CHECKPOINT: Final = 256
# What may be pending on one topic before a publisher delivers it itself, in line: the flusher may be waiting
# to be restarted, or a publisher may publish without a checkpoint. No more than a quarter of an outbox, so
# that nobody who keeps up loses a message to it.
PENDING_MESSAGES: Final = 250
PENDING_BYTES: Final = 256 * 1024


@attrs.frozen
class HubStatistics:
    """Plain integers, counted since the start of the process."""

    connections: int
    topics: int
    published: int
    deliveries: int
    """Offers of what was pending on a topic to one subscriber."""
    written: int
    """Those of them of which the socket took everything at once, so that nothing had to wait."""
    dropped: int
    pending: int
    """Messages that the flusher has not taken up yet."""


class Hub(Registry, Directory):
    """Who listens to what. All methods belong to the loop's thread; only those marked async ever block.

    Args:
      history_bytes: bound of what each topic with a history keeps; more than an outbox holds could not be sent.
    """

    def __init__(
        self,
        topic_settings: Callable[[str], TopicSettings],
        *,
        max_topics_per_connection: int = 128,
        history_bytes: int = MAX_BYTES,
        epoch: str | None = None,
    ) -> None:
        Registry.__init__(self)
        epoch = secrets.token_hex(4) if epoch is None else epoch
        Directory.__init__(self, Catalogue(topic_settings, epoch, history_bytes=history_bytes, counts=self.counts))
        self._max_topics = max_topics_per_connection
        # Topics with something on its way, in the order in which the flusher serves them.
        self._unfinished: dict[Topic, None] = {}
        self._wakeup = Wakeup()
        self._fault: Exception | None = None
        self._published = 0
        self._deliveries = 0
        self._written = 0
        #: Called with each subscription to a topic with presence, right behind its confirmation, and with each that
        #: has ended; must neither block nor raise.
        self.on_subscribe: list[Callable[[Connection, Subscription], object]] = []
        self.on_leave: list[Callable[[Connection, str], object]] = []

    # --- publishing ---

    def publish_nowait(
        self, topic: str, type: str, data: object, *, key: str | None = None, offset: int | None = None
    ) -> int:
        """Publish *data* as a message of *type* and return its offset.

        Never blocks, and fails for no client's sake. Subscribers get it with the flusher's next turn. Nothing is
        encoded if nobody would get it. A topic known by its prefix alone has no numbers while nobody subscribes: then
        the message goes nowhere, as offset 0.

        Args:
          key: under `conflate`, replaces what is queued of the same key.
          offset: the message's number, from the store; else the next one.

        Raises:
          UnknownTopic: the topic was not declared.
          ValueError: *offset* is not beyond the topic's; nothing was published.
          TypeError: *data* has no JSON form; nothing was published.
        """
        state = self._catalogue.find(topic)
        if state is None:
            self._catalogue.check(topic)
            return 0
        self._publish(state, type, data, key, offset, patient=False)
        return state.offset

    async def publish(self, topic: str, type: str, data: object, *, key: str | None = None) -> int:
        """Publish like `publish_nowait`, then wait for who has no room, if the topic's policy is `wait`.

        The others get the message first. Who has no room after the topic's ``wait_seconds`` is closed with
        4000. Always a checkpoint. If cancelled, the message is published all the same, and the wait is over
        for all.

        Raises:
          UnknownTopic, TypeError: see `publish_nowait`.
        """
        state = self._catalogue.find(topic)
        if state is None:
            self._catalogue.check(topic)
            await trio.lowlevel.checkpoint()
            return 0
        patient = state.settings.overflow is Overflow.WAIT
        self._publish(state, type, data, key, None, patient=patient)
        offset = state.offset
        held, state.held = state.held, []
        try:
            with trio.move_on_after(state.settings.wait_seconds):
                await trio.lowlevel.checkpoint()
                for connection, message in held:
                    await connection.outbox.wait_admitted(message)
        finally:
            for connection, message in held:
                if connection.outbox.holds(message):
                    connection.close(CloseCode.TOO_SLOW, "too slow")
        return offset

    def set_topic_position(self, name: str, epoch: str, offset: int) -> None:
        """Let *name* count on from *offset* of *epoch*, as the store has it.

        Whoever subscribes already gets another confirmation if the epoch is not the one it was told.

        Raises:
          UnknownTopic: it was not declared.
          ValueError: *offset* is behind what was published in this epoch.
        """
        topic = self._catalogue.known(name)
        self._flush(topic)
        topic.move(epoch, offset)

    def _publish(
        self, topic: Topic, type: str, data: object, key: str | None, offset: int | None, *, patient: bool
    ) -> None:
        topic.publish(type, data, key, offset, patient=patient)
        self._published += 1
        if not topic.pending:
            return
        if patient or len(topic.pending) >= PENDING_MESSAGES or topic.pending_bytes >= PENDING_BYTES:
            self._flush(topic)
        else:
            self._unfinished[topic] = None
            self._wakeup.wake()

    # --- delivering ---

    async def run(self, *, task_status: trio.TaskStatus[Hub] = trio.TASK_STATUS_IGNORED) -> None:
        """The flusher: delivers whatever is published, for ever. One at a time, as a supervised child.

        What is published while none runs waits for the next one; from a bound on, publishers deliver it.

        Raises:
          Exception: an outbox failed, here or in a publisher's hands; its connection is being closed with
            1011, and nobody else misses anything.
        """
        task_status.started(self)
        steps = 0
        while True:
            if self._fault is not None:
                fault, self._fault = self._fault, None
                raise fault
            if not self._unfinished:
                await self._wakeup.sleep()
                steps = 0
                continue
            steps += self._deliver(next(iter(self._unfinished)), STEPS_PER_CHECKPOINT - steps)
            if steps >= STEPS_PER_CHECKPOINT:
                await trio.lowlevel.checkpoint()
                steps = 0

    def flush(self, name: str) -> None:
        """Hand on what is pending on *name*, here and now: what a subscriber is sent after this comes after it."""
        topic = self._catalogue.find(name)
        if topic is not None:
            self._flush(topic)

    def _deliver(self, topic: Topic, max_work: int | None) -> int:
        """Carry on with *topic*; what is left of it takes its turn behind the others. Returns the work it was."""
        try:
            done = topic.deliver(max_work)
        except Exception as error:
            # Not the publisher's fault, nor the next subscriber's: the flusher raises it, for its supervisor.
            self._fault = self._fault or error
            self._wakeup.wake()
            done = Delivered(1, 1, 0)
        finally:
            self._unfinished.pop(topic, None)
            if topic.unfinished:
                self._unfinished[topic] = None
        self._deliveries += done.offered
        self._written += done.written
        return done.work

    def _flush(self, topic: Topic) -> None:
        """Deliver all that is on its way, here and now."""
        while topic.unfinished:
            self._deliver(topic, None)

    # --- subscribers ---

    def subscribe(self, connection: Connection, topic: str, since: Cursor | None = None) -> Subscription:
        """Let *connection* have what is published on *topic* from now on, after a confirmation.

        After the confirmation, and before anything else of the topic, come its retained messages, if it has
        any. A connection that is subscribed already gets another confirmation, and stays subscribed.

        Args:
          since: the last message that the client has seen. If all that came after it can be sent, that is what
            follows the confirmation, which says so; see `realtime.policy.resume`.

        Raises:
          UnknownTopic: the topic was not declared.
          TooManyTopics: the connection has as many as it may have.
        """
        self.check(topic)
        state = self._catalogue.find(topic)
        if state is not None and connection in state.subscribers:
            self._flush(state)
            return self._enter(connection, state, since)
        if not limits.may_subscribe(len(connection.topics), self._max_topics):
            raise TooManyTopics(self._max_topics)
        state = state or self._catalogue.open(topic)
        self._catalogue.enter(state)
        # To those who were there before, so that the newcomer does not get what is older than its offset.
        self._flush(state)
        connection.topics[topic] = None
        return self._enter(connection, state, since)

    def unsubscribe(self, connection: Connection, topic: str, *, code: str = "requested", message: str = "") -> bool:
        """End a subscription and say so to *connection*, in order; False if there was none, and nothing is said."""
        state = self._catalogue.find(topic)
        if state is None or connection not in state.subscribers:
            return False
        self._flush(state)
        self._leave(connection, state)
        connection.outbox.release(topic)
        connection.reply(messages.unsubscribed(topic, code, message or f"{topic} is no longer sent"))
        return True

    def drop(self, connection: Connection) -> None:
        """Count *connection* out and end its subscriptions; again does no harm."""
        for name in list(connection.topics):
            self._leave(connection, self._catalogue.known(name))
        super().drop(connection)

    # --- what can be seen ---

    def statistics(self) -> HubStatistics:
        """A frozen snapshot. It takes no longer with many topics: every look at the tree has it, that of probes too."""
        return HubStatistics(
            connections=len(self._connections),
            topics=len(self._catalogue.topics()),
            published=self._published,
            deliveries=self._deliveries,
            written=self._written,
            dropped=self.counts.dropped,
            pending=sum(len(topic.pending) for topic in self._unfinished),
        )

    def _enter(self, connection: Connection, topic: Topic, since: Cursor | None) -> Subscription:
        subscription = topic.subscribe(connection, since)
        if topic.settings.presence:
            for told in self.on_subscribe:
                told(connection, subscription)
        return subscription

    def _leave(self, connection: Connection, topic: Topic) -> None:
        topic.leave(connection)
        del connection.topics[topic.name]
        if topic.settings.presence:
            for told in self.on_leave:
                told(connection, topic.name)
        if self._catalogue.forget_if_unused(topic):
            self._unfinished.pop(topic, None)
