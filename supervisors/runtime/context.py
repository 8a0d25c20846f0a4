"""What all parts of one tree share: the event hook and the source of randomness."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..events import Event, Hook

if TYPE_CHECKING:
    from .code import Upgrade
    from .monitors import Monitors

logger = logging.getLogger("supervisors")


class TreeContext:
    """One per running tree."""

    __slots__ = ("_hooks", "monitors", "random", "upgrades", "watched")

    def __init__(self, hook: Hook | None, random_: Callable[[], float] = random.random) -> None:
        # Never changed, only replaced: a hook may add or remove one while an event is told.
        self._hooks: tuple[Hook, ...] = () if hook is None else (hook,)
        self.watched = bool(self._hooks)
        """Whether anybody is told; if not, what happens for each of many children need not be put into words."""
        self.random = random_
        """A number in [0, 1), for jitter."""
        self.monitors: Monitors
        """Set once there is a root."""
        self.upgrades: dict[str, Upgrade] = {}
        """By path, what a child given by name is to start next in place of what its name stands for."""

    def add(self, hook: Hook) -> None:
        """Tell *hook* what happens from now on."""
        self._hooks = (*self._hooks, hook)
        self.watched = True

    def remove(self, hook: Hook) -> None:
        """Tell it to *hook* no longer."""
        self._hooks = tuple(other for other in self._hooks if other is not hook)
        self.watched = bool(self._hooks)

    def emit(self, event: Event) -> None:
        """Tell the hooks; one that raises is logged and never reaches a supervisor."""
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                logger.exception("the event hook failed on %r", event)

    def log_refused(self, path: str, error: Exception) -> None:
        """Log a command that nobody waits for and that was refused."""
        logger.warning("supervisor %r refused a command: %s", path or "root", error)
