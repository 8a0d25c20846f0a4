"""A failure put into words: OTP's report fields, from the records of the child and of its supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..events import ErrorContext, FailureReport, Offender
from ..exits import Exit
from ..policy.restart import should_restart
from ..spec import BRUTAL_KILL

if TYPE_CHECKING:
    from .base import BaseSupervisor
    from .child import Child


def report(
    child: Child,
    supervisor: BaseSupervisor | None,
    context: ErrorContext,
    reason: Exit,
    uptime: float | None,
    next_delay: float | None = None,
) -> FailureReport:
    """What *supervisor* (None above the root) reports of a failure of *child*."""
    spec = child.spec
    charged = supervisor is not None and spec.backoff is None
    return FailureReport(
        supervisor=None if supervisor is None else supervisor.path,
        context=context,
        reason=reason,
        offender=Offender(child.path, spec.id, child.kind, spec.restart, spec.shutdown, spec.significant),
        attempt=child.attempt,
        uptime=uptime,
        budget_left=supervisor.intensity.left(trio.current_time()) if supervisor is not None and charged else None,
        next_delay=next_delay,
    )


def report_of_exit(child: Child, supervisor: BaseSupervisor | None, exit: Exit, uptime: float) -> FailureReport | None:
    """The report of the end of a child that was up; None if it is not a failure.

    Asked to stop, it may end as it likes, short of a crash, or of being killed where that was not what was wanted.
    """
    if child.asked:
        failed = exit.failed and not (exit.reason == "killed" and child.spec.shutdown is BRUTAL_KILL)
        return report(child, supervisor, "shutdown_error", exit, uptime) if failed else None
    failed = exit.failed or should_restart(child.spec.restart, exit)
    return report(child, supervisor, "child_terminated", exit, uptime) if failed else None
