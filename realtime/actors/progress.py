"""How a job tells how far it is, from async code or from a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import trio

from realtime.policy.progress import Progress

PER_SECOND: Final = 10
"""Updates of one task that are published each second at most: faster than anybody reads."""


class TaskEnded(Exception):
    """The task was cancelled, timed out or has ended: whoever still works on it is to stop."""


class ProgressEmitter:
    """Handed to a job; `update` may be called as often as there is something to say, and waits for nothing.

    What is published is the latest state, at most `PER_SECOND` times a second; the last state is never lost.

    Args:
      publish: called with each state that is to be told, on the loop's thread.
    """

    def __init__(self, task_id: str, publish: Callable[[Progress], object], *, per_second: float = PER_SECOND) -> None:
        self.task_id = task_id
        self._publish = publish
        self._interval = 1 / per_second
        self._lock = threading.Lock()
        self._progress = Progress()
        self._told = self._progress
        self._ended = False
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._changed = trio.Event()

    @property
    def progress(self) -> Progress:
        """The latest state."""
        return self._progress

    def update(
        self,
        stage: str | None = None,
        percent: float | None = None,
        message: str | None = None,
        **extra: Any,
    ) -> None:
        """Say how far the task is; what is left out stays as it was. From any thread; never blocks.

        Args:
          stage: what it does now, in a word or two.
          percent: 0 to 100.
          message: for people.
          extra: any further fields.

        Raises:
          TaskEnded: it was cancelled or is over; in a thread this is how a job learns that it is to stop.
          ValueError, TypeError: *percent* or *extra* cannot be told; the state is as it was.
        """
        with self._lock:
            if self._ended:
                raise TaskEnded(f"task {self.task_id} is over")
            self._progress = self._progress.updated(stage=stage, percent=percent, message=message, extra=extra)
        if threading.get_ident() == self._thread:
            self._wake()
        else:
            self._token.run_sync_soon(self._wake, idempotent=True)

    def _wake(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Publish what `update` says, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            self.flush()
            await trio.sleep(self._interval)

    def flush(self) -> None:
        """Publish the latest state, unless it was already."""
        if self._progress is not self._told:
            self._told = self._progress
            self._publish(self._told)

    def end(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._ended = True
