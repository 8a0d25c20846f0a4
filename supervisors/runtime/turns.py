"""What a supervisor's loop takes in, one a turn: exits, timers that are due, commands, and the request to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from .ref import Call

if TYPE_CHECKING:
    from .child import Child

TimerKind: TypeAlias = Literal["retry", "healthy", "start_deadline", "stop_deadline", "stuck"]


@attrs.frozen
class ChildExit:
    """A child ended by itself; stale once the child's attempt has moved on."""

    child: Child
    attempt: int


@attrs.frozen
class Due:
    """A timer of a child is due, or a retry has its turn; stale once the child's attempt has moved on."""

    child: Child
    attempt: int
    kind: TimerKind


@attrs.frozen
class Command:
    """Something somebody asked for; *call* carries the answer back, None when nobody waits."""

    perform: Callable[[], Awaitable[object]]
    call: Call | None


@attrs.frozen
class StopRequest:
    """Stop in an orderly way; *deadline* caps every child."""

    deadline: float


Message: TypeAlias = ChildExit | Due | Command | StopRequest
