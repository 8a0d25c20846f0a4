"""Broadcasters that something sets off: event-driven, and hybrid, which also look for themselves."""

from __future__ import annotations

from typing import Final

import trio

from realtime.actors.broadcaster import FASTEST, Broadcaster, SamplingBroadcaster
from realtime.delivery.hub import Hub
from realtime.policy.significance import Significant

WAITING: Final = 1000
"""Values that may wait for an event-driven broadcaster: only while it is down do they wait at all."""

CHECK: Final = 5.0
"""Seconds between two checks of a hybrid broadcaster: for so long a change may go unseen that nobody told of."""


class EventDrivenBroadcaster(Broadcaster):
    """Publishes a value the moment it is told of one by :meth:`tell`, in the order of the telling.

    What it is told while it is down after a crash waits until it is up again. A subclass may override `broadcast` to
    wait for its own source instead, calling `publish` for each value.
    """

    def __init__(self, hub: Hub, *, topic: str, type: str, significant: Significant | None = None) -> None:
        super().__init__(hub, topic=topic, type=type, significant=significant)
        self._told, self._inbox = trio.open_memory_channel[tuple[object, str | None]](WAITING)

    def tell(self, value: object, *, key: str | None = None) -> None:
        """Publish *value*, as plain data, as soon as the loop's turn comes. From the loop's thread; never blocks.

        Raises:
          trio.WouldBlock: `WAITING` values wait already; this one was not taken.
        """
        self._told.send_nowait((value, key))

    async def broadcast(self) -> None:
        """Publish what it is told, for ever."""
        async for value, key in self._inbox:
            self.publish(value, key=key)


class HybridBroadcaster(SamplingBroadcaster):
    """Samples when it is told that something happened, and each *interval* seconds in case nobody told.

    What both find is sent once: only what changed is published. After :meth:`notify` a value is on its way within
    `FASTEST` seconds and the time of a sample, however often it is called.
    """

    only_if_changed = True

    def __init__(
        self, hub: Hub, *, topic: str, type: str, interval: float = CHECK, significant: Significant | None = None
    ) -> None:
        super().__init__(hub, topic=topic, type=type, interval=interval, significant=significant)
        self._notified = trio.Event()

    def notify(self) -> None:
        """Something happened: look. From the loop's thread (`trio.from_thread.run_sync` gets there); never blocks."""
        self._notified.set()

    async def broadcast(self) -> None:
        """Sample at once, then at each notification and at each check, for ever."""
        due, told = trio.current_time(), True
        while True:
            if await self.wait_for_listener():
                due, told = trio.current_time(), True
            # Before the sample: what happens during it may have come too late for it.
            self._notified = trio.Event()
            began = trio.current_time()
            published = await self.tick(due)
            if not told:
                self._caught += published
            due, told = await self._next(began)

    async def _next(self, began: float) -> tuple[float, bool]:
        """Wait until the sample after the one of *began* is due; return when that is, and whether it was told of."""
        check = trio.current_time() + self.interval
        with trio.move_on_at(check):
            await self._notified.wait()
        if not self._notified.is_set():
            return check, False
        # A burst of notifications is one change to those who watch.
        due = max(trio.current_time(), began + FASTEST)
        await trio.sleep_until(due)
        return due, True
