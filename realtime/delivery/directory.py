"""The topics as they are asked for by name; what is on its way to their subscribers is the hub's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from realtime.delivery.catalogue import Catalogue, FamilyStatistics
from realtime.delivery.connection import Connection
from realtime.delivery.topics import TopicStatistics
from realtime.policy.pages import Cursor


class Directory:
    """Which topics there are, where each stands, and who listens. Nothing here delivers anything."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._noted: list[str] | None = None

    # --- what is declared ---

    def declare(self, name: str, *, retain: bool = False) -> None:
        """Make a topic known, or with a ``*`` at the end of *name* all that begin so. See `Catalogue.declare`."""
        self._catalogue.declare(name, retain=retain)
        if self._noted is not None:
            self._noted.append(name)

    def declared(self) -> frozenset[str]:
        """What has been declared and not retracted: names, and prefixes with their ``*``."""
        return self._catalogue.declared()

    @contextmanager
    def noting(self) -> Iterator[list[str]]:
        """The names that are declared within the block, in which nothing may wait; known or not before."""
        outer, self._noted = self._noted, []
        try:
            yield self._noted
        finally:
            self._noted = outer

    def retract(self, name: str) -> None:
        """The owner of *name* publishes no more: the topic goes when its last subscriber has left.

        With a ``*`` at the end, no more topics that begin so come into being.
        """
        self._catalogue.retract(name)

    def check(self, name: str) -> None:
        """Whether *name* may be subscribed to.

        Raises:
          UnknownTopic: it was not declared.
        """
        state = self._catalogue.find(name)
        if state is None or not state.kept:
            self._catalogue.check(name)

    # --- where a topic stands, and what is kept of it ---

    def knows(self, name: str) -> bool:
        """Whether a topic of this very *name* exists now."""
        return self._catalogue.find(name) is not None

    def position(self, name: str) -> Cursor | None:
        """Where *name* stands: its epoch, and the offset of its last message; None if it does not exist now."""
        topic = self._catalogue.find(name)
        return None if topic is None else Cursor(topic.epoch, topic.offset)

    def offset(self, topic: str) -> int:
        """The offset of the last message of *topic*; 0 if it does not exist now."""
        state = self._catalogue.find(topic)
        return 0 if state is None else state.offset

    def oldest(self, name: str) -> tuple[int, int]:
        """How far back the history of *name* reaches: the offset of its oldest message, and room for how many more.

        An empty one begins behind the topic's present offset; one that keeps nothing has no room.

        Raises:
          UnknownTopic: it was not declared.
        """
        topic = self._catalogue.known(name)
        if topic.history is None:
            return topic.offset + 1, 0
        return topic.history.first or topic.offset + 1, topic.history.room

    def recall(self, name: str, type: str, data: object, offset: int) -> bool:
        """Put a message of before this process into the history of *name*; the latest first, without holes.

        Returns whether it was taken: False if there is no room, or it is not the one before the oldest kept.

        Raises:
          UnknownTopic: it was not declared.
          TypeError: *data* has no JSON form.
        """
        return self._catalogue.known(name).recall(type, data, offset)

    def forget(self, name: str) -> None:
        """Do not send what was published on *name* so far to later subscribers: it is no longer the state."""
        topic = self._catalogue.find(name)
        if topic is not None:
            topic.retained.clear()

    # --- who listens ---

    def wanted(self, name: str) -> bool:
        """Whether what is published on *name* reaches anybody, now or when they come back."""
        topic = self._catalogue.find(name)
        return topic is not None and (bool(topic.subscribers) or topic.retains or topic.history is not None)

    def subscribers(self, topic: str) -> int:
        """How many connections subscribe to *topic*."""
        return len(self.listeners(topic))

    def listeners(self, topic: str) -> Collection[Connection]:
        """The connections that subscribe to *topic*; a live view, not to be kept."""
        state = self._catalogue.find(topic)
        return () if state is None else state.subscribers.keys()

    async def wait_for_subscriber(self, topic: str) -> None:
        """Wait until *topic*, declared by its own name, has a subscriber. Always a checkpoint.

        Raises:
          UnknownTopic: it was not declared.
        """
        await self._catalogue.known(topic).wait_for_subscriber()

    # --- what can be seen ---

    def topics(self) -> list[TopicStatistics]:
        """A frozen snapshot of each topic, by name."""
        return [topic.statistics() for topic in sorted(self._catalogue.topics(), key=lambda topic: topic.name)]

    def families(self) -> list[FamilyStatistics]:
        """Sums over the topics that go by one name, as ``session/*``; those that are gone count too."""
        return self._catalogue.families()
