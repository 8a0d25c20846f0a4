"""Broadcasters: actors that publish to one topic, each in its own rhythm.

A subclass says what to publish; the base says when.  An exception is a crash: it goes to the supervisor, never into a
``try`` around the loop.
"""

from __future__ import annotations

import abc
import math
from typing import ClassVar, Final

import attrs
import structlog
import trio

from realtime.delivery.hub import Hub
from realtime.policy.cadence import next_tick
from supervisors import Backoff

logger = structlog.get_logger("realtime.broadcaster")

RESTART: Final = Backoff(first=0.5, maximum=5.0)
"""How the bundled broadcasters are restarted: quickly, without end, at nobody else's cost."""

FASTEST: Final = 0.2
"""Seconds; a shorter interval is faster than people see, and warns at start."""

_NOTHING: Final = object()
"""Stands for no value at all, which is unlike any that a subclass may return, None included."""


@attrs.frozen
class BroadcasterStatistics:
    """What the tree shows of a broadcaster; durations in seconds, None before the first run."""

    interval_s: float
    published: int
    skipped: int
    unchanged: int
    asleep: bool
    last_run_s: float | None
    last_lateness_s: float | None


class PeriodicBroadcaster(abc.ABC):
    """Publishes what :meth:`sample` returns, each *interval* seconds: no drift, late ticks skipped and counted.

    A subclass may set ``only_if_changed``, to publish a value only if it differs from the last one published, and
    ``only_while_listened_to``, to sleep without waking until somebody subscribes, who then gets a first value at once.
    With either the topic is to be declared with ``retain``: else who comes while others listen waits for a change.
    """

    only_if_changed: ClassVar[bool] = False
    only_while_listened_to: ClassVar[bool] = False

    def __init__(self, hub: Hub, *, topic: str, type: str, interval: float) -> None:
        if not (interval > 0 and math.isfinite(interval)):
            raise ValueError(f"interval must be a number of seconds greater than 0, got {interval!r}")
        self.hub = hub
        self.topic = topic
        self.type = type
        self.interval = interval
        self._published = self._skipped = self._unchanged = 0
        self._asleep = False
        self._last: object = _NOTHING
        self._last_run: float | None = None
        self._lateness: float | None = None

    @abc.abstractmethod
    async def sample(self) -> object:
        """The value to publish now, as plain data."""

    async def run(self, *, task_status: trio.TaskStatus[PeriodicBroadcaster] = trio.TASK_STATUS_IGNORED) -> None:
        """Publish until cancelled: the supervised child."""
        log = logger.bind(topic=self.topic)
        log.info("broadcaster_started", interval_s=self.interval)
        if self.interval < FASTEST:
            log.warning("broadcaster_interval_short", interval_s=self.interval, advised_s=FASTEST)
        task_status.started(self)
        try:
            due = trio.current_time()
            while True:
                due = await self._wait_for_listener(due)
                await self._tick(due)
                tick = next_tick(due, self.interval, trio.current_time())
                self._skipped += tick.missed
                due = tick.due
                await trio.sleep_until(due)
        finally:
            log.info("broadcaster_stopped", published=self._published)

    async def _wait_for_listener(self, due: float) -> float:
        """Return when the tick is due: at once, or as soon as there is a subscriber.  A checkpoint if it waits."""
        if not self.only_while_listened_to or self.hub.subscribers(self.topic):
            return due
        self._asleep = True
        # Who wakes it gets a value of that moment, and not before it the one that was left when the last one went.
        self.hub.forget(self.topic)
        try:
            await self.hub.wait_for_subscriber(self.topic)
        finally:
            self._asleep = False
        self._last = _NOTHING  # whoever has come has seen nothing yet
        return trio.current_time()

    async def _tick(self, due: float) -> None:
        began = trio.current_time()
        self._lateness = began - due
        value = await self.sample()
        self._last_run = trio.current_time() - began
        if self.only_if_changed and value == self._last:
            self._unchanged += 1
            return
        self._last = value
        self._published += 1
        self.hub.publish_nowait(self.topic, self.type, value)
        logger.debug("broadcast", topic=self.topic)

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
        )
