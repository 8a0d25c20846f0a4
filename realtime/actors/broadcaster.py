"""Broadcasters: actors that publish to one topic, each in its own rhythm.

A subclass says what to publish; the base says when.  An exception is a crash: it goes to the supervisor, never into a
``try`` around the loop.  Here is what they share, and the steady rhythm; `realtime.actors.driven` has those that
something sets off.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Final, Self, TypeVar

import attrs
import structlog
import trio

from realtime.delivery.hub import Hub
from realtime.fields import positive_seconds
from realtime.policy.cadence import next_tick
from realtime.policy.significance import Significant, changed
from supervisors import Backoff

logger = structlog.get_logger("realtime.broadcaster")

RESTART: Final = Backoff(first=0.5, maximum=5.0)
"""How the bundled broadcasters are restarted: quickly, without end, at nobody else's cost."""

FASTEST: Final = 0.2
"""Seconds; a shorter interval is faster than people see, and warns at start."""

KEYS: Final = 10_000
"""Keys whose last value a broadcaster remembers; of one forgotten the next value is sent, whatever it is."""

T = TypeVar("T")


@attrs.frozen
class BroadcasterStatistics:
    """What the tree shows of a broadcaster; durations in seconds, None before the first run.

    Attributes:
      interval_s: between two runs; None for one that only acts when something happens.
      skipped: ticks that were due while an earlier one was still at work.
      unchanged: values that were not sent, as they told nothing new.
      asleep: whether it waits for a subscriber, without waking.
      last_run_s: how long the last value took to come by.
      last_lateness_s: by how much the last tick began after it was due.
      caught: values that a periodic check found and nothing had told of.
    """

    interval_s: float | None
    published: int
    skipped: int
    unchanged: int
    asleep: bool
    last_run_s: float | None
    last_lateness_s: float | None
    caught: int = 0


class Broadcaster(abc.ABC):
    """What all broadcasters have: a topic, a type, and a judgement of what is worth sending.

    A subclass may set ``only_if_changed``, to publish a value only if it differs from the last one published, and
    ``only_while_listened_to``, to sleep without waking until somebody subscribes, who then gets a first value at once.
    With either the topic is to be declared with ``retain``: else who comes while others listen waits for a change.

    Args:
      significant: publish a value only if this says so of it and the last one published, as
        `realtime.policy.significance.changed_by` does. A first value is always published.
    """

    only_if_changed: bool = False
    only_while_listened_to: bool = False
    interval: float | None = None

    def __init__(self, hub: Hub, *, topic: str, type: str, significant: Significant | None = None) -> None:
        self.hub = hub
        self.topic = topic
        self.type = type
        self._significant = significant
        # One at a time, and none waits for the threads that other broadcasters hold.
        self._threads = trio.CapacityLimiter(1)
        self._published = self._skipped = self._unchanged = 0
        self._asleep = False
        # By key, the latest last.
        self._last: dict[str | None, object] = {}
        self._caught = 0
        self._last_run: float | None = None
        self._lateness: float | None = None

    async def run(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish until cancelled: the supervised child."""
        log = logger.bind(topic=self.topic)
        log.info("broadcaster_started", interval_s=self.interval)
        if self.interval is not None and self.interval < FASTEST:
            log.warning("broadcaster_interval_short", interval_s=self.interval, advised_s=FASTEST)
        task_status.started(self)
        try:
            await self.broadcast()
        finally:
            log.info("broadcaster_stopped", published=self._published)

    @abc.abstractmethod
    async def broadcast(self) -> None:
        """The loop that `run` runs."""

    async def in_thread(self, sample: Callable[[], T]) -> T:
        """Call *sample*, which blocks, in a thread: one at a time, abandoned when the broadcaster is stopped."""
        return await trio.to_thread.run_sync(sample, limiter=self._threads, abandon_on_cancel=True)

    async def wait_for_listener(self) -> bool:
        """With ``only_while_listened_to``, wait until somebody subscribes.

        Returns whether it waited; only then it is a checkpoint.
        """
        if not self.only_while_listened_to or self.hub.subscribers(self.topic):
            return False
        self._asleep = True
        # Who wakes it gets a value of that moment, and not before it the one that was left when the last one went.
        self.hub.forget(self.topic)
        try:
            await self.hub.wait_for_subscriber(self.topic)
        finally:
            self._asleep = False
        self.forget()  # whoever has come has seen nothing yet
        return True

    def forget(self, key: str | None = None) -> None:
        """Take the next value of *key*, or of all without one, for a first one, which is always sent."""
        if key is None:
            self._last.clear()
        else:
            self._last.pop(key, None)

    def known(self) -> list[str | None]:
        """The keys whose last value it remembers."""
        return list(self._last)

    def publish(self, value: object, *, key: str | None = None) -> bool:
        """Publish *value* if it is worth it, compared with the last one of its *key*; return whether it was.

        Args:
          key: as for `Hub.publish_nowait`: where a topic tells of many things, which one this is.
        """
        if not self._is_news(value, key):
            self._unchanged += 1
            return False
        self._last.pop(key, None)
        self._last[key] = value
        if len(self._last) > KEYS:
            del self._last[next(iter(self._last))]
        self._published += 1
        self.hub.publish_nowait(self.topic, self.type, value, key=key)
        logger.debug("broadcast", topic=self.topic)
        return True

    def _is_news(self, value: object, key: str | None) -> bool:
        significant = self._significant or (changed if self.only_if_changed else None)
        return significant is None or key not in self._last or significant(value, self._last[key])

    def statistics(self) -> BroadcasterStatistics:
        """A frozen snapshot."""
        return BroadcasterStatistics(
            interval_s=self.interval,
            published=self._published,
            skipped=self._skipped,
            unchanged=self._unchanged,
            asleep=self._asleep,
            last_run_s=self._last_run,
            last_lateness_s=self._lateness,
            caught=self._caught,
        )


class SamplingBroadcaster(Broadcaster):
    """Publishes what :meth:`sample` returns, at times that a subclass chooses.

    Args:
      interval: seconds from one sample to the next.
    """

    interval: float

    def __init__(
        self, hub: Hub, *, topic: str, type: str, interval: float, significant: Significant | None = None
    ) -> None:
        super().__init__(hub, topic=topic, type=type, significant=significant)
        self.interval = positive_seconds("interval", interval)

    @abc.abstractmethod
    async def sample(self) -> object:
        """The value to publish now, as plain data. What blocks belongs into `in_thread`."""

    async def tick(self, due: float) -> int:
        """Publish one sample, which was due at *due* (trio time); return how many messages that made."""
        began = trio.current_time()
        self._lateness = began - due
        value = await self.sample()
        self._last_run = trio.current_time() - began
        return self.publish_sample(value)

    def publish_sample(self, value: object) -> int:
        """Publish *value*, which `sample` returned, as one message or several; return how many it made."""
        return int(self.publish(value))


class PeriodicBroadcaster(SamplingBroadcaster):
    """Samples each *interval* seconds: no drift, late ticks skipped and counted."""

    async def broadcast(self) -> None:
        """Sample and publish at each tick, for ever."""
        due = trio.current_time()
        while True:
            if await self.wait_for_listener():
                due = trio.current_time()
            await self.tick(due)
            tick = next_tick(due, self.interval, trio.current_time())
            self._skipped += tick.missed
            due = tick.due
            await trio.sleep_until(due)
