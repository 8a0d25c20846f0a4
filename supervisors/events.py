"""What happens in a tree, told to one hook as frozen values: enough to draw the tree from nothing.

A child is known from the first of these that names it until it, or a supervisor above it, is :class:`Removed`.  It is
``running`` after Started, ``backing_off`` after RestartDelayed, ``failed`` after a GaveUp whose offender it is itself,
what StateChanged says, and ``stopped`` after Exited, StartFailed, Ignored and Restarting.

Paths leave out the root's id; the root's own path is ``""``.  Times are :func:`trio.current_time` seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from .exits import Exit
from .spec import Restart, ShutdownTime

if TYPE_CHECKING:
    from .policy.lifecycle import State

Kind = Literal["supervisor", "worker"]
ErrorContext = Literal["start_error", "child_terminated", "shutdown_error", "shutdown"]


@attrs.frozen
class Offender:
    """Which child a :class:`FailureReport` is about, as its spec has it."""

    path: str
    id: str
    kind: Kind
    restart: Restart
    shutdown: ShutdownTime
    significant: bool


@attrs.frozen
class FailureReport:
    """What a supervisor reports of a failure: OTP's four fields, and what it is going to do.

    *context* is OTP's ``errorContext``: ``start_error``, a start failed; ``child_terminated``, a child ended by
    itself; ``shutdown_error``, it failed while it was being stopped; ``shutdown``, the supervisor gives up, or gives
    this child up.  *supervisor* is a path, None above the root.  *attempt* is the number of the start that failed, or
    of whose life ended: of all starts of the child from 1, also those by hand or with a group.  *uptime* is in seconds,
    None if it never came up; *budget_left* is None for what no budget is charged with; *next_delay* is in seconds, None
    where no restart has been decided on.

    Source: ``report_error/4`` in ``supervisor.erl`` of Erlang/OTP.
    """

    supervisor: str | None
    context: ErrorContext
    reason: Exit
    offender: Offender
    attempt: int
    uptime: float | None
    budget_left: int | None
    next_delay: float | None = None


@attrs.frozen
class Started:
    """A child is up; a supervisor after all its children.  *generation* counts from 1."""

    path: str
    kind: Kind
    generation: int
    at: float


@attrs.frozen
class Exited:
    """A generation of a child has ended; a supervisor after all its children.  *uptime* is in seconds.

    *report* is there if it is a failure: if it crashed or was killed, or ended and is to be restarted.
    """

    path: str
    kind: Kind
    generation: int
    exit: Exit
    uptime: float
    at: float
    report: FailureReport | None = attrs.field(default=None, repr=False)


@attrs.frozen
class StartFailed:
    """A start attempt failed; what it had started is stopped again."""

    path: str
    kind: Kind
    error: Exception
    at: float
    report: FailureReport | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Ignored:
    """A child declined to start."""

    path: str
    kind: Kind
    at: float


@attrs.frozen
class RestartDelayed:
    """A child with a backoff failed *failures* times in a row and is started again in *delay* seconds.

    *failures* begins anew after the healthy uptime; the *attempt* of the report does not.
    """

    path: str
    kind: Kind
    failures: int
    delay: float
    error: Exception | None
    at: float
    report: FailureReport | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Restarting:
    """A restart without delay is about to be made; *left* more are allowed (``None``: not charged to a budget).

    *attempt* is that of the report: the number of the start that failed or whose life ended.
    """

    path: str
    kind: Kind
    attempt: int
    left: int | None
    error: Exception | None
    at: float
    report: FailureReport | None = attrs.field(default=None, repr=False)


@attrs.frozen
class GaveUp:
    """A supervisor exceeded its budget, or a child its ``max_failures``; *path* is the one that is given up.

    A child that is given up is ``failed`` from here on, and is the *report*'s offender.  Of a supervisor that gives up
    the offender is the child that failed once too often; its own end follows, when its children have ended.
    """

    path: str
    kind: Kind
    error: Exception
    at: float
    report: FailureReport | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Stuck:
    """A child was cancelled *waited* seconds ago and its task still has not ended; Trio cannot kill it."""

    path: str
    kind: Kind
    waited: float
    at: float


@attrs.frozen
class StateChanged:
    """A child is now ``stopped`` or ``backing_off`` where no other event tells it.

    ``stopped``: it had been given up or waited for its restart, and nobody is going to start it any more; or it became
    known without being started, since one before it failed to.  ``backing_off``: its restart failed, and the next
    attempt is made when its supervisor gets to it.  *generation* is that of its last life, 0 without one.
    """

    path: str
    kind: Kind
    state: State
    generation: int
    at: float


@attrs.frozen
class Removed:
    """The spec of a child is forgotten, with all below it: a temporary child ended, or a child was deleted."""

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
    | StateChanged
    | Removed
    | HealthChanged
    | LoopBlocked
)
Hook: TypeAlias = Callable[[Event], None]
