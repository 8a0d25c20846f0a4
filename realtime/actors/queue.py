"""The queue: the state of each job of a job queue table in an SQLite database, sent the moment it changes.

Whoever changes the table says so by creating an event of the type ``queue_changed``, in the process by
`EventManager.create_event` or from anywhere over HTTP. In case nobody does, the table is looked at every few seconds.
Either way each change is sent once.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from realtime.actors.broadcaster import RESTART
from realtime.actors.driven import CHECK, HybridBroadcaster
from realtime.delivery.hub import Hub
from realtime.ports import EventStore, StoredEvent
from supervisors import ChildSpec

if TYPE_CHECKING:
    from realtime.plugins import Services

ROWS: Final = 1000
"""The newest jobs are watched, so many; older ones are taken to be done with."""

LOCKED: Final = 2.0
"""Seconds to wait for a writer that holds the database; then the look has failed."""

REMOVED: Final = "removed"
"""The status of a job that is no longer in the table."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class JobTable:
    """The table *table* of the SQLite database *path*, only ever read.

    Args:
      id_column: names a job; what has an index is read fastest.
      status_column: its state.
      columns: what else of each row is sent.

    Raises:
      ValueError: a name is none.
    """

    def __init__(
        self,
        path: Path,
        *,
        table: str = "jobs",
        id_column: str = "id",
        status_column: str = "status",
        columns: Iterable[str] = (),
    ) -> None:
        others = list(columns)
        for name in (table, id_column, status_column, *others):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a table or column: letters, digits and underscores")
        self._uri = f"file:{urllib.parse.quote(str(path))}?mode=ro"
        self._keys = ["queue_id", "status", *others]
        wanted = ", ".join(f'"{name}"' for name in (id_column, status_column, *others))
        self._query = f'SELECT {wanted} FROM "{table}" ORDER BY rowid DESC LIMIT {ROWS}'

    def read(self) -> dict[str, dict[str, Any]]:
        """The newest jobs by id, the oldest of them first; blocking.

        Raises:
          sqlite3.Error: there is no such database, table or column, or a writer holds it.
        """
        with contextlib.closing(sqlite3.connect(self._uri, uri=True, timeout=LOCKED)) as database:
            rows = database.execute(self._query).fetchall()
        return {str(row[0]): {**dict(zip(self._keys, row, strict=True)), "queue_id": str(row[0])} for row in rows[::-1]}


class QueueBroadcaster(HybridBroadcaster):
    """Publishes ``queue_update`` for each job of *table* that changed, and for each that is gone."""

    def __init__(
        self, hub: Hub, store: EventStore, table: JobTable, *, event: str = "queue_changed", interval: float = CHECK
    ) -> None:
        super().__init__(hub, topic="queue", type="queue_update", interval=interval)
        self._store = store
        self._table = table
        self._event = event

    async def broadcast(self) -> None:
        """As every hybrid broadcaster, listening to events meanwhile."""
        self._store.on_commit.append(self._on_event)
        try:
            await super().broadcast()
        finally:
            self._store.on_commit.remove(self._on_event)

    def _on_event(self, event: StoredEvent) -> None:
        if event.type == self._event:
            self.notify()

    async def sample(self) -> dict[str, dict[str, Any]]:
        """The jobs by id."""
        return await self.in_thread(self._table.read)

    def publish_sample(self, value: object) -> int:
        """One message for each job, if it changed."""
        assert isinstance(value, Mapping)
        published = sum(self.publish(job, key=id) for id, job in value.items())
        if len(value) < ROWS:  # else it may only have become too old to be looked at
            gone = [key for key in self.known() if key is not None and key not in value]
            published += sum(self._publish_removed(id) for id in gone)
        return published

    def _publish_removed(self, id: str) -> int:
        published = self.publish({"queue_id": id, "status": REMOVED}, key=id)
        self.forget(id)
        return published


def children(
    services: Services,
    *,
    database: Path,
    table: str = "jobs",
    id_column: str = "id",
    status_column: str = "status",
    columns: tuple[str, ...] = (),
    event: str = "queue_changed",
    interval: float = CHECK,
) -> list[ChildSpec]:
    """The actor module's entry point.

    Args:
      database: the SQLite database with the table of jobs.
      table, id_column, status_column, columns: see `JobTable`.
      event: the type of the events that tell of a change.
      interval: seconds between two looks in case nobody told.
    """
    services.hub.declare("queue", retain=True)
    jobs = JobTable(database, table=table, id_column=id_column, status_column=status_column, columns=columns)
    queue = QueueBroadcaster(services.hub, services.store, jobs, event=event, interval=interval)
    return [ChildSpec("queue", queue.run, backoff=RESTART)]
