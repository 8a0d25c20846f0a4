"""What is kept beside the events, in their file or in memory, on a connection of its own.

The events' writer is never waited for longer than one of its commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import trio

from realtime.ports import StoreError
from realtime.settings import MEMORY
from realtime.storage.database import BUSY_TIMEOUT

T = TypeVar("T")


class SideStore:
    """Tables in the database *path*, whose schema the event store has brought up to date.

    The file is opened by its first use; what was written survives a kill.

    Args:
      path: ``:memory:`` keeps them while the object lives.
      name: of what is kept, for errors.
      tables: statements that make the tables, for a database in memory.
      synchronous: whether what is written also survives a loss of power (FULL), or may be undone by it in order.
    """

    def __init__(self, path: str, *, name: str, tables: Sequence[str], synchronous: Literal["FULL", "NORMAL"]) -> None:
        self._path = path
        self._name = name
        self._tables = tables
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None
        # One connection, so one thread at a time.
        self._limiter = trio.CapacityLimiter(1)

    async def aclose(self) -> None:
        """Let go of the file; whoever uses it again opens it again. A checkpoint; not cut short."""
        if self._connection is None or self._path == MEMORY:  # nothing to let go of, so no thread for it
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._close, limiter=self._limiter)

    async def _do(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Execute one *statement* and return its rows; see `_in_thread`."""
        return await self._in_thread(lambda connection: connection.execute(statement, values).fetchall())

    async def _in_thread(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call *function* with the connection, outside of a transaction; one it leaves open is undone. A checkpoint.

        Raises:
          StoreError: the file cannot be used.
        """

        def work() -> T:
            if self._connection is None:
                self._connection = self._open()
            try:
                return function(self._connection)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

        try:
            if self._path == MEMORY:  # microseconds, and no medium to wait for
                await trio.lowlevel.checkpoint()
                return work()
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        except sqlite3.Error as error:
            raise StoreError(f"{self._name} in {self._path} cannot be used: {error}") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            if self._path == MEMORY:
                for statement in self._tables:
                    connection.execute(statement)
            self._opened(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened(self, connection: sqlite3.Connection) -> None:
        """A new *connection* is about to be used for the first time; in a thread."""

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
