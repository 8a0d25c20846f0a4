"""Which topics there are: those declared by name stay, those known by a prefix come and go with their
subscribers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import attrs

from realtime import messages
from realtime.delivery.counts import Counts
from realtime.delivery.errors import UnknownTopic
from realtime.delivery.outbox import MAX_BYTES
from realtime.delivery.topics import Topic
from realtime.messages import is_topic
from realtime.policy.lag import Overflow
from realtime.settings import TopicSettings

# Topics with a history that are known by a prefix and that nobody subscribes to: their last clients may come back. As
# many as a site has lively rooms; each holds at most an outbox's bytes. The one that was left first goes first.
MAX_DESERTED: Final = 100


@attrs.frozen
class FamilyStatistics:
    """Topics that go by one name, since the start of the process; *subscribers* are those of now."""

    name: str
    overflow: Overflow
    subscribers: int
    published: int
    dropped: int


class Catalogue:
    """Topics by name. What clients may subscribe to is bounded by what was declared and by their number."""

    def __init__(
        self,
        topic_settings: Callable[[str], TopicSettings],
        epoch: str,
        *,
        history_bytes: int = MAX_BYTES,
        counts: Counts | None = None,
    ) -> None:
        self._topic_settings = topic_settings
        self._epoch = epoch
        self._history_bytes = history_bytes
        self._counts = Counts() if counts is None else counts
        self._incarnations = 0
        self._topics: dict[str, Topic] = {}
        # Of each declared prefix, whether its topics retain.
        self._prefixes: dict[str, bool] = {}
        # In the order in which their last subscribers left.
        self._deserted: dict[str, Topic] = {}
        # What was published on the topics that are no longer there, and what of it was lost.
        self._forgotten: dict[tuple[str, Overflow], tuple[int, int]] = {}

    def declare(self, name: str, *, retain: bool = False) -> None:
        """Make the topic *name* known, or all that begin with it if it ends in ``*``; again does no harm.

        A topic declared by its own name stays, with its numbers, until it is retracted. One known by a prefix
        alone exists while it has subscribers; when it comes back, it counts in a new epoch. If it has a history it
        stays longer: until `MAX_DESERTED` others were left after it.

        Args:
          retain: remember the last message of each key, and send it to who subscribes later. For topics whose
            messages are states.

        Raises:
          ValueError: *name* is no topic's name.
        """
        if name.endswith("*"):
            self._prefixes[name[:-1]] = retain
            return
        if not is_topic(name):
            raise ValueError(f"name must be {messages.TOPIC_GRAMMAR}, not {name!r}")
        topic = self.find(name) or self.open(name)
        self._deserted.pop(name, None)
        topic.kept = True
        topic.retains = topic.retains or retain

    def retract(self, name: str) -> None:
        """The owner of *name*, or of all that begin so if it ends in ``*``, publishes no more.

        A topic goes when its last subscriber has left.
        """
        if name.endswith("*"):
            self._prefixes.pop(name[:-1], None)
            for deserted in list(self._deserted.values()):
                if self._prefix(deserted.name) is None:
                    self._remove(self._deserted.pop(deserted.name))
            return
        topic = self.find(name)
        if topic is not None:
            topic.kept = False
            self.forget_if_unused(topic)

    def declared(self) -> frozenset[str]:
        """What has been declared and not retracted: names, and prefixes with their ``*``."""
        names = (topic.name for topic in self._topics.values() if topic.kept)
        return frozenset([*names, *(f"{prefix}*" for prefix in self._prefixes)])

    def find(self, name: str) -> Topic | None:
        """The topic *name*, if it exists now."""
        return self._topics.get(name)

    def known(self, name: str) -> Topic:
        """The topic *name*, which has to exist.

        Raises:
          UnknownTopic: it does not.
        """
        if name not in self._topics:
            raise UnknownTopic(name)
        return self._topics[name]

    def check(self, name: str) -> None:
        """Whether a topic *name* may come into being.

        Raises:
          UnknownTopic: no prefix of it was declared, or it is no topic's name.
        """
        if self._prefix(name) is None or not is_topic(name):
            raise UnknownTopic(name)

    def open(self, name: str) -> Topic:
        """A new topic *name*, from offset 0 of an epoch of its own."""
        prefix = self._prefix(name)
        self._incarnations += 1
        # Told apart from an earlier topic of this name, whose offsets a client may still remember.
        epoch = f"{self._epoch}.{self._incarnations}"
        retains = prefix is not None and self._prefixes[prefix]
        settings = self._topic_settings(name)
        topic = Topic(
            name, epoch, settings, kept=False, retains=retains, history_bytes=self._history_bytes, counts=self._counts
        )
        self._topics[name] = topic
        return topic

    def enter(self, topic: Topic) -> None:
        """Somebody is about to subscribe to *topic*."""
        self._deserted.pop(topic.name, None)

    def forget_if_unused(self, topic: Topic) -> bool:
        """Remove *topic* if it was not declared by name and nobody subscribes to it or waits for somebody to.

        One with a history is removed later, if nobody comes back to it; returns whether it was now.
        """
        if topic.kept or topic.subscribers or topic.arrivals:
            return False
        if topic.history is None or self._prefix(topic.name) is None:
            self._remove(topic)
            return True
        self._deserted[topic.name] = topic
        if len(self._deserted) > MAX_DESERTED:
            self._remove(self._deserted.pop(next(iter(self._deserted))))
        return False

    def _remove(self, topic: Topic) -> None:
        del self._topics[topic.name]
        key = (self._family(topic.name), topic.settings.overflow)
        published, dropped = self._forgotten.get(key, (0, 0))
        self._forgotten[key] = (published + topic.published, dropped + topic.dropped)

    def topics(self) -> Collection[Topic]:
        """All topics that exist now."""
        return self._topics.values()

    def families(self) -> list[FamilyStatistics]:
        """The sums of topics that go by one name, those that are gone included; as many as were declared."""
        found = {key: [0, *counts] for key, counts in self._forgotten.items()}
        for topic in self._topics.values():
            sums = found.setdefault((self._family(topic.name), topic.settings.overflow), [0, 0, 0])
            sums[0] += len(topic.subscribers)
            sums[1] += topic.published
            sums[2] += topic.dropped
        return [FamilyStatistics(name, overflow, *sums) for (name, overflow), sums in sorted(found.items())]

    def _family(self, name: str) -> str:
        """What stands before the slash, as ``session/*``, or the declared prefix; else the name itself."""
        first, slash, _ = name.partition("/")
        if slash:
            return f"{first}/*"
        prefix = self._prefix(name)
        return name if prefix is None else f"{prefix}*"

    def _prefix(self, name: str) -> str | None:
        """The longest declared prefix of *name*, which is more than the prefix alone."""
        fitting = (prefix for prefix in self._prefixes if name.startswith(prefix) and name != prefix)
        return max(fitting, key=len, default=None)
