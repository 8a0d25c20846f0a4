"""What became of the tasks: a bounded history. Two writes for each task, at its beginning and at its end."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import msgspec
import structlog

from realtime.messages import encode
from realtime.policy.progress import Progress, TaskError, TaskRecord
from realtime.storage import schema
from realtime.storage.side import SideStore

MAX_TASKS: Final = 10_000
"""Tasks remembered; beyond it the oldest that have ended are forgotten."""

_COLUMNS: Final = "task_id, job, state, created_at, ended_at, progress, error, result"

logger = structlog.get_logger("realtime.storage")


class TaskStore(SideStore):
    """The history of tasks.

    Tasks that an earlier process left running are `interrupted` from its first use on. Each async method is a
    checkpoint, and raises StoreError if the file cannot be used; what is done when it returns survives a kill.

    Args:
      path: see `SideStore`.
      max_tasks: how many are remembered.
    """

    def __init__(self, path: str, *, max_tasks: int = MAX_TASKS) -> None:
        super().__init__(path, name="the history of tasks", tables=(schema.TASKS,), synchronous="FULL")
        self._max_tasks = max_tasks
        self._seen = False

    def _opened(self, connection: sqlite3.Connection) -> None:
        if self._seen:
            return
        # Nobody works any more on what an earlier process left running.
        now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
        interrupted = connection.execute(
            f"UPDATE tasks SET state = 'interrupted', ended_at = {now} WHERE state = 'running'"
        ).rowcount
        if interrupted:
            logger.warning("tasks_interrupted", tasks=interrupted)
        self._seen = True

    async def add(self, task: TaskRecord) -> None:
        """Remember a task that begins."""
        await self._do(f"INSERT INTO tasks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(task))
        await self._do(
            "DELETE FROM tasks WHERE task_id IN (SELECT task_id FROM tasks WHERE state <> 'running'"
            " ORDER BY task_id LIMIT max(0, (SELECT count(*) FROM tasks) - ?))",
            (self._max_tasks,),
        )

    async def end(self, task: TaskRecord) -> None:
        """Remember how a task ended."""
        row = _row(task)
        await self._do(
            "UPDATE tasks SET job = ?, state = ?, created_at = ?, ended_at = ?, progress = ?, error = ?, result = ?"
            " WHERE task_id = ?",
            (*row[1:], row[0]),
        )

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task with this id, or None."""
        found = await self._do(f"SELECT {_COLUMNS} FROM tasks WHERE task_id = ?", (task_id,))
        return _record(found[0]) if found else None

    async def newest(self, limit: int) -> list[TaskRecord]:
        """At most *limit* tasks, the newest first."""
        found = await self._do(f"SELECT {_COLUMNS} FROM tasks ORDER BY task_id DESC LIMIT ?", (limit,))
        return [_record(row) for row in found]


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
