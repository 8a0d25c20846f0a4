"""What one attempt to start a child is given, and what is kept of it for whoever waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from .child import Child


class Handshake:
    """The ``task_status`` that one attempt to start is given: its ``started()`` makes the child running."""

    __slots__ = ("_attempt", "_child", "_said")

    def __init__(self, child: Child) -> None:
        self._child = child
        self._attempt = child.attempt
        self._said = False

    def started(self, value: Any = None) -> None:
        """Say that the child is up; *value* is handed to whoever started it.  Once only.

        Raises:
          RuntimeError: it was called before, or this attempt is over.
        """
        if self._said:
            raise RuntimeError(f"task_status.started() of child {self._child.path!r} was called twice")
        if not self._child.alive or self._child.attempt != self._attempt:
            raise RuntimeError(f"task_status.started() of child {self._child.path!r} was called after its end")
        self._said = True
        self._child.set_up(value)


class Outcome:
    """How one attempt to start went, kept for whoever waits for it: the child itself may have moved on by then."""

    __slots__ = ("_over", "declined", "error", "value")

    def __init__(self) -> None:
        self._over = trio.Event()
        self.value: Any = None
        self.error: Exception | None = None
        self.declined = False

    def settle(self, value: Any, error: Exception | None, *, declined: bool) -> None:
        """The attempt succeeded with *value*, or failed with *error*."""
        self.value, self.error, self.declined = value, error, declined
        self._over.set()

    async def wait(self) -> None:
        """Return once it is settled.  A checkpoint."""
        await self._over.wait()
