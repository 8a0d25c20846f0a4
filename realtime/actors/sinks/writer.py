"""The actor behind the sinks: follows the events and writes each to a log exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import attrs
import structlog
import trio

from realtime.actors.following import Follower, following
from realtime.policy.loglines import LineFormat
from realtime.policy.pages import Cursor
from realtime.policy.rotation import Rotation
from realtime.policy.selection import Selection
from realtime.ports import EventStore, StoredEvent
from realtime.storage.logfile import LogFile

logger = structlog.get_logger("realtime.sinks")


@attrs.frozen
class SinkStatistics:
    """Figures of an `EventLog` since it was started.

    Attributes:
      written: events that have a line now.
      position: behind the last event that has its line, or was not selected.
      behind: events in the store that are still to be looked at.
      missed: events that were removed from the store before they had a line.
      rotations: files that were put away.
      file_bytes: of the current file.
    """

    written: int
    position: str | None
    behind: int
    missed: int
    rotations: int
    file_bytes: int


class EventLog:
    """Writes the events of *store* to the log *path*, each once, in order, and goes on where it stopped.

    Exactly once: the position is a part of each line, so a kill at any moment leaves a log that says how far it came.
    It holds as long as nobody else changes the files, and for what the store still keeps when the sink comes back.

    Args:
      form: how a line looks.
      selection: which events have one.
      sync: see `LogFile`.
    """

    def __init__(
        self,
        store: EventStore,
        path: Path,
        form: LineFormat,
        *,
        rotation: Rotation,
        selection: Selection,
        sync: bool = False,
    ) -> None:
        self._store = store
        self._selection = selection
        self._file = LogFile(path, form, rotation, sync=sync)
        # One thread at a time, never one that samplers may have taken.
        self._limiter = trio.CapacityLimiter(1)
        self._follower: Follower | None = None
        self._writing: Cursor | None = None

    async def run(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled: the supervised child. What is being written when it is cancelled is finished.

        Raises:
          OSError, realtime.ports.StoreError: the log cannot be written, or the events cannot be read.
        """
        log = logger.bind(path=str(self._file.path))
        try:
            position = await trio.to_thread.run_sync(self._file.open, limiter=self._limiter)
            log.info("event_log_started", position=None if position is None else str(position))
            task_status.started(self)
            await self._write_all(position)
        finally:
            self._file.close()  # two calls of the system that wait for nothing
            log.info("event_log_stopped", written=self._file.written)

    async def _write_all(self, position: Cursor | None) -> None:
        with following(self._store, self._selection, after=position) as self._follower:
            while True:
                events = await self._follower.receive_batch()
                epoch = self._follower.position.epoch
                self._writing = Cursor(epoch, events[0].offset - 1)
                await trio.to_thread.run_sync(self._write, events, epoch, limiter=self._limiter)
                self._writing = None

    def _write(self, events: tuple[StoredEvent, ...], epoch: str) -> None:
        self._file.write((event.to_wire(), Cursor(epoch, event.offset)) for event in events)

    def statistics(self) -> SinkStatistics:
        """A frozen snapshot of the figures."""
        follower = self._follower
        position = self._writing or (None if follower is None else follower.position)
        return SinkStatistics(
            written=self._file.written,
            position=None if position is None else str(position),
            behind=0 if position is None else self._store.last_offset - position.offset,
            missed=0 if follower is None else follower.statistics().missed,
            rotations=self._file.rotations,
            file_bytes=self._file.size,
        )
