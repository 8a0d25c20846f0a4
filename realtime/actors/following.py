"""Reading the events from a position on, one batch after another, and waiting for more.

The store is the buffer: whoever follows may be as slow as it likes, may crash and come back, and needs to keep nothing
but its position. It is told when events that it had not read yet are gone, because retention was faster than it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import attrs
import structlog
import trio

from realtime.policy.pages import Cursor
from realtime.policy.selection import Selection
from realtime.ports import EventQuery, EventStore, StoredEvent

ALL: Final = Selection()
"""Every event."""

BATCH: Final = 100
"""Events read at a time: a page of the API, and at most 25 MB of the largest events."""

logger = structlog.get_logger("realtime.events")


@attrs.frozen
class FollowerStatistics:
    """Figures of a `Follower` since it began.

    Attributes:
      read: events read, wanted or not.
      missed: events that were removed before they could be read.
      behind: events in the store that are still to be read.
    """

    read: int
    missed: int
    behind: int


class Follower:
    """Made by `following`.

    Attributes:
      position: behind the last event that was returned; what is not wanted counts as returned.
    """

    def __init__(self, store: EventStore, selection: Selection, after: Cursor | None) -> None:
        self._store = store
        self._selection = selection
        self.position = self._start(after)
        # Who comes without a position has missed nothing of what was removed long ago.
        self._counts = after is not None and self.position == after
        self._notified = trio.Event()
        self._read = self._missed = 0

    def _start(self, after: Cursor | None) -> Cursor:
        epoch, last = self._store.epoch, self._store.last_offset
        if after is not None and after.epoch == epoch and after.offset <= last:
            return after
        if after is not None:
            # Another store, or an older copy of this one: none of its events is known to have been read.
            logger.warning("position_unknown", position=str(after), epoch=epoch, last_offset=last)
        return Cursor(epoch, 0)

    def notify(self, _event: object = None) -> None:
        """End a `wait`, now or to come; called with each committed event."""
        self._notified.set()

    async def wait(self) -> None:
        """Wait for the next `notify` since the last wait, hence at times for nothing new."""
        await self._notified.wait()
        self._notified = trio.Event()

    async def receive_batch(self) -> tuple[StoredEvent, ...]:
        """The next wanted events, at least one; waits for it. A checkpoint.

        If cancelled, nothing was read.

        Raises:
          realtime.ports.StoreError: the store cannot be read.
        """
        while True:
            wanted = await self.receive_batch_nowait()
            if wanted:
                return wanted
            # What was committed since the look at the store began has ended this wait already.
            await self.wait()

    async def receive_batch_nowait(self) -> tuple[StoredEvent, ...]:
        """As `receive_batch`, but empty if there is none at the moment. A checkpoint."""
        while self._store.last_offset > self.position.offset:
            page = await self._store.query(EventQuery(after=str(self.position), limit=BATCH))
            if not page.events:
                # Removed, all of them, and this is how far.
                self._move(self._store.last_offset, 0)
                break
            self._move(page.events[-1].offset, len(page.events))
            wanted = tuple(event for event in page.events if self._wants(event))
            if wanted:
                return wanted
        await trio.lowlevel.checkpoint()
        return ()

    def _move(self, offset: int, read: int) -> None:
        missed = offset - self.position.offset - read
        if missed and self._counts:
            self._missed += missed
            logger.warning("events_missed", missed=missed, position=str(self.position))
        self._counts = True
        self._read += read
        self.position = Cursor(self.position.epoch, offset)

    def _wants(self, event: StoredEvent) -> bool:
        return self._selection.wants(event.type, event.severity, event.tags)

    def statistics(self) -> FollowerStatistics:
        """A frozen snapshot of the figures."""
        return FollowerStatistics(self._read, self._missed, self._store.last_offset - self.position.offset)


@contextlib.contextmanager
def following(store: EventStore, selection: Selection = ALL, *, after: Cursor | None = None) -> Iterator[Follower]:
    """Follow the events of *store* behind *after*; None begins with the oldest. The store has to be running.

    A position in another store, or ahead of this one, begins with the oldest too, and is logged.
    """
    follower = Follower(store, selection, after)
    store.on_commit.append(follower.notify)
    try:
        yield follower
    finally:
        store.on_commit.remove(follower.notify)
