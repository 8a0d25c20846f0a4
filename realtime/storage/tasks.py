"""What became of the tasks: a bounded history, in the file of the events or in memory.

Two writes for each task, at its beginning and at its end, on a connection of its own: the events' writer is never
waited for longer than one of its commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
import structlog
import trio

from realtime.messages import encode
from realtime.policy.progress import Progress, TaskError, TaskRecord
from realtime.ports import StoreError
from realtime.storage import schema
from realtime.storage.database import BUSY_TIMEOUT

MAX_TASKS: Final = 10_000
"""Tasks remembered; beyond it the oldest that have ended are forgotten."""

MEMORY: Final = ":memory:"

_COLUMNS: Final = "task_id, job, state, created_at, ended_at, progress, error, result"

T = TypeVar("T")
logger = structlog.get_logger("realtime.storage")


class TaskStore:
    """The history of tasks in the database *path*, whose schema the event store has brought up to date.

    It is opened by its first use. Tasks that an earlier process left running are `interrupted` from then on.

    Args:
      path: ``:memory:`` keeps it while the object lives.
      max_tasks: how many are remembered.
    """

    def __init__(self, path: str, *, max_tasks: int = MAX_TASKS) -> None:
        self._path = path
        self._max_tasks = max_tasks
        self._connection: sqlite3.Connection | None = None
        self._seen = False
        # One connection, so one thread at a time.
        self._limiter = trio.CapacityLimiter(1)

    async def aclose(self) -> None:
        """Let go of the file; whoever uses the history again opens it again. A checkpoint; not cut short."""
        if self._connection is None or self._path == MEMORY:  # nothing to let go of, so no thread for it
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._close, limiter=self._limiter)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            if self._path == MEMORY:
                connection.execute(schema.TASKS)
            if not self._seen:
                self._interrupt(connection)
        except BaseException:
            connection.close()
            raise
        self._seen = True
        return connection

    def _interrupt(self, connection: sqlite3.Connection) -> None:
        """Nobody works any more on what an earlier process left running."""
        now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
        interrupted = connection.execute(
            f"UPDATE tasks SET state = 'interrupted', ended_at = {now} WHERE state = 'running'"
        ).rowcount
        if interrupted:
            logger.warning("tasks_interrupted", tasks=interrupted)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- each runs in a thread, and raises StoreError if the file cannot be used ---

    async def add(self, task: TaskRecord) -> None:
        """Remember a task that begins. A checkpoint; what is done when it returns survives a kill."""
        await self._write(f"INSERT INTO tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(task))
        await self._write(
            "DELETE FROM tasks WHERE task_id IN (SELECT task_id FROM tasks WHERE state <> 'running'"
            " ORDER BY task_id LIMIT max(0, (SELECT count(*) FROM tasks) - ?))",
            (self._max_tasks,),
        )

    async def end(self, task: TaskRecord) -> None:
        """Remember how a task ended. A checkpoint; what is done when it returns survives a kill."""
        row = _row(task)
        await self._write(
            "UPDATE tasks SET job = ?, state = ?, created_at = ?, ended_at = ?, progress = ?, error = ?, result = ?"
            " WHERE task_id = ?",
            (*row[1:], row[0]),
        )

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task with this id, or None. A checkpoint."""
        found = await self._read(f"SELECT {_COLUMNS} FROM tasks WHERE task_id = ?", (task_id,))
        return _record(found[0]) if found else None

    async def newest(self, limit: int) -> list[TaskRecord]:
        """At most *limit* tasks, the newest first. A checkpoint."""
        found = await self._read(f"SELECT {_COLUMNS} FROM tasks ORDER BY task_id DESC LIMIT ?", (limit,))
        return [_record(row) for row in found]

    async def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        await self._in_thread(lambda: self._execute(statement, values))

    async def _read(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return await self._in_thread(lambda: self._execute(statement, values))

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = self._open()
        return self._connection.execute(statement, values).fetchall()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            if self._path == MEMORY:  # microseconds, and no medium to wait for
                await trio.lowlevel.checkpoint()
                return function()
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        except sqlite3.Error as error:
            raise StoreError(f"the history of tasks in {self._path} cannot be used: {error}") from error


def _row(task: TaskRecord) -> tuple[str | None, ...]:
    error = None if task.error is None else encode(task.error).decode()
    result = None if task.result is None else encode(task.result).decode()
    progress = encode(task.progress).decode()
    return task.task_id, task.job, task.state, task.created_at, task.ended_at, progress, error, result


def _record(row: tuple[Any, ...]) -> TaskRecord:
    task_id, job, state, created_at, ended_at, progress, error, result = row
    return TaskRecord(
        task_id=task_id,
        job=job,
        state=state,
        created_at=created_at,
        ended_at=ended_at,
        progress=msgspec.json.decode(progress, type=Progress),
        error=None if error is None else msgspec.json.decode(error, type=TaskError),
        result=None if result is None else msgspec.json.decode(result),
    )
