"""What all parts of one tree share: the event hook and the source of randomness."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from ..events import Event, Hook

logger = logging.getLogger("supervisors")


class TreeContext:
    """One per running tree."""

    __slots__ = ("_hook", "random")

    def __init__(self, hook: Hook | None, random_: Callable[[], float] = random.random) -> None:
        self._hook = hook
        self.random = random_
        """A number in [0, 1), for jitter."""

    def emit(self, event: Event) -> None:
        """Tell the hook; one that raises is logged and never reaches a supervisor."""
        if self._hook is None:
            return
        try:
            self._hook(event)
        except Exception:
            logger.exception("the event hook failed on %r", event)

    def log_refused(self, path: str, error: Exception) -> None:
        """Log a command that nobody waits for and that was refused."""
        logger.warning("supervisor %r refused a command: %s", path or "root", error)
