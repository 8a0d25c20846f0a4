"""What is known of a task: how far it is, and how it ended."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import attrs

from realtime.policy import checks

State = Literal["running", "completed", "failed", "cancelled", "interrupted"]
ENDED: Final = frozenset({"completed", "failed", "cancelled", "interrupted"})

MAX_TEXT: Final = 500
"""Characters of a stage or a message: what fits on a few lines of a page. Longer ones are cut."""


@attrs.frozen
class Progress:
    """How far a task is.

    Attributes:
      stage: what it does now, in a word or two.
      percent: 0 to 100; None where that is not known.
      message: for people.
      extra: any further fields, with a JSON form.
    """

    stage: str | None = None
    percent: float | None = None
    message: str | None = None
    extra: dict[str, Any] = attrs.field(factory=dict)

    def updated(
        self, *, stage: str | None, percent: float | None, message: str | None, extra: dict[str, Any]
    ) -> Progress:
        """With what is not None put over it, and *extra* merged into it.

        Raises:
          ValueError: *percent* is no number from 0 to 100, or *extra* is too large.
          TypeError: *extra* has no JSON form.
        """
        if percent is not None and not (math.isfinite(percent) and 0 <= percent <= 100):
            raise ValueError(f"percent must be a number from 0 to 100, got {percent!r}")
        merged = {**self.extra, **extra} if extra else self.extra
        if extra:
            checks.json_text("extra", merged)
        return Progress(
            stage=self.stage if stage is None else str(stage)[:MAX_TEXT],
            percent=self.percent if percent is None else round(float(percent), 2),
            message=self.message if message is None else str(message)[:MAX_TEXT],
            extra=merged,
        )


@attrs.frozen
class TaskError:
    """Why a task failed: a code for programs, a message for people."""

    code: str
    message: str


@attrs.frozen
class TaskRecord:
    """One task, running or ended.

    Attributes:
      created_at, ended_at: ISO 8601 in UTC with milliseconds; *ended_at* is None while it runs.
      result: what the job returned, in its JSON form; None before its end, and if it returned nothing.
    """

    task_id: str
    job: str
    state: State
    created_at: str
    progress: Progress = attrs.field(factory=Progress)
    ended_at: str | None = None
    error: TaskError | None = None
    result: Any = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be heard of it."""
        return self.state in ENDED

    def to_wire(self) -> dict[str, Any]:
        """The task as `GET /api/tasks/<id>` shows it; what does not apply is left out."""
        shown: dict[str, Any] = {
            "task_id": self.task_id,
            "job": self.job,
            "state": self.state,
            "stage": self.progress.stage,
            "percent": self.progress.percent,
            "message": self.progress.message,
            "created_at": self.created_at,
        }
        if self.ended_at is not None:
            shown["ended_at"] = self.ended_at
        if self.error is not None:
            shown["error"] = attrs.asdict(self.error)
        if self.result is not None:
            shown["result"] = self.result
        return shown

    def to_message(self) -> tuple[str, dict[str, Any]]:
        """The type and the data of the message that tells a listener of this state."""
        data: dict[str, Any] = {"task_id": self.task_id}
        if self.error is not None:
            data["error"] = attrs.asdict(self.error)
        if self.result is not None:
            data["result"] = self.result
        data |= attrs.asdict(self.progress)
        return ("progress" if self.state == "running" else self.state), data
