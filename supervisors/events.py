"""What happens in a tree, told to one hook as frozen values: enough to draw the tree from nothing.

Paths leave out the root's id; the root's own path is ``""``.  Times are :func:`trio.current_time` seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs

from .exits import Exit

Kind = Literal["supervisor", "worker"]


@attrs.frozen
class Started:
    """A child is up; a supervisor after all its children.  *generation* counts from 1."""

    path: str
    kind: Kind
    generation: int
    at: float


@attrs.frozen
class Exited:
    """A generation of a child has ended; a supervisor after all its children.  *uptime* is in seconds."""

    path: str
    kind: Kind
    generation: int
    exit: Exit
    uptime: float
    at: float


@attrs.frozen
class StartFailed:
    """A start attempt failed; what it had started is stopped again."""

    path: str
    kind: Kind
    error: Exception
    at: float


@attrs.frozen
class Ignored:
    """A child declined to start."""

    path: str
    kind: Kind
    at: float


@attrs.frozen
class RestartDelayed:
    """A child with a backoff failed *failures* times in a row and is started again in *delay* seconds."""

    path: str
    kind: Kind
    failures: int
    delay: float
    error: Exception | None
    at: float


@attrs.frozen
class Restarting:
    """A restart without delay is about to be made; *left* more are allowed (``None``: not charged to a budget)."""

    path: str
    kind: Kind
    attempt: int
    left: int | None
    error: Exception | None
    at: float


@attrs.frozen
class GaveUp:
    """A supervisor exceeded its budget, or a child its ``max_failures``; *path* is the one that is given up."""

    path: str
    kind: Kind
    error: Exception
    at: float


@attrs.frozen
class Stuck:
    """A child was cancelled *waited* seconds ago and its task still has not ended; Trio cannot kill it."""

    path: str
    kind: Kind
    waited: float
    at: float


@attrs.frozen
class Removed:
    """The spec of a child is forgotten: a temporary child ended, or a child was deleted."""

    path: str
    kind: Kind
    at: float


@attrs.frozen
class HealthChanged:
    """A child that had failed has now run for its ``healthy_uptime``."""

    path: str
    kind: Kind
    at: float


@attrs.frozen
class LoopBlocked:
    """One step of a task kept the loop from everything else for *seconds*, or a little longer.

    *path* is the child's in or below whose task it was, the root's (``""``) for a task outside the tree; *task* is
    Trio's name of it.  *where* is the innermost line outside the standard library, as ``file:line in function``, and
    *stack* the lines that led to the one that was running, that one last.
    """

    path: str
    task: str
    seconds: float
    where: str
    stack: tuple[str, ...]
    at: float


Event: TypeAlias = (
    Started
    | Exited
    | StartFailed
    | Ignored
    | RestartDelayed
    | Restarting
    | GaveUp
    | Stuck
    | Removed
    | HealthChanged
    | LoopBlocked
)
Hook: TypeAlias = Callable[[Event], None]
