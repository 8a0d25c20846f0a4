"""From records to frozen nodes.  Reads what is there, at any moment, without asking a supervisor's loop."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs
import trio

from ..policy.health import Health, own_health, with_children
from ..spec import SupervisorSpec
from ..tree import CHILDREN_SHOWN, Budget, LastExit, MailboxDepth, Node, in_one_line
from .base import BaseSupervisor
from .child import Child


def health_of(child: Child) -> tuple[Health, list[str]]:
    """Health and reasons of *child*, those below it included."""
    error = child.start_error or (child.last_exit.error if child.last_exit is not None else None)
    health, reasons = own_health(
        child.state,
        recovering=child.recovering or _just_failed(child),
        stuck=child.stuck,
        error=None if error is None else in_one_line(error),
    )
    if child.supervisor is None:
        return health, reasons
    return with_children(health, [*reasons, *child.supervisor.reasons], _troubled_below(child.supervisor))


def _just_failed(child: Child) -> bool:
    """Whether it failed and its supervisor has not got to it yet."""
    return child.exit_pending and child.last_exit is not None and child.last_exit.failed


def _troubled_below(supervisor: BaseSupervisor) -> list[str]:
    below: list[str] = []
    for child in supervisor.children.values() if isinstance(supervisor.spec, SupervisorSpec) else ():
        if health_of(child)[0] != "ok":
            below.append(child.path)
    if not isinstance(supervisor.spec, SupervisorSpec):  # may have many thousands: only the known ones
        below += [child.path for child in supervisor.troubled.values()]
    return below


def node_of(child: Child, now: float) -> Node:
    """A snapshot of *child* and what is below it."""
    health, reasons = health_of(child)
    supervisor = child.supervisor
    return Node(
        id=child.spec.id,
        path=child.path,
        kind=child.kind,
        state=child.state,
        health=health,
        reasons=tuple(reasons),
        generation=child.generation,
        restarts=child.restarts,
        restart=child.spec.restart if child.path else None,
        strategy=_strategy(supervisor),
        budget=_budget(supervisor, now),
        uptime=now - child.started_at if child.up else None,
        mailbox=_mailbox(child),
        next_retry=max(0.0, child.retry_at - now) if child.state == "backing_off" and child.retry_at < 1e300 else None,
        last_exit=None if child.last_exit is None else LastExit(child.last_exit, now - child.last_exit_at),
        stats=_stats(child),
        children=_children(supervisor, now),
        children_total=None if supervisor is None else len(supervisor.children),
        dynamic=supervisor is not None and not isinstance(supervisor.spec, SupervisorSpec),
    )


def snapshot(child: Child) -> Node:
    """A snapshot of *child* and what is below it, now."""
    return node_of(child, trio.current_time())


def _strategy(supervisor: BaseSupervisor | None) -> Any:
    if supervisor is None:
        return None
    return supervisor.spec.strategy if isinstance(supervisor.spec, SupervisorSpec) else "one_for_one"


def _budget(supervisor: BaseSupervisor | None, now: float) -> Budget | None:
    if supervisor is None:
        return None
    spec = supervisor.spec
    return Budget(spec.max_restarts, spec.max_seconds, supervisor.intensity.left(now))


def _mailbox(child: Child) -> MailboxDepth | None:
    if child.cell is None:
        return None
    figures = child.cell.statistics()
    return MailboxDepth(figures.depth, figures.capacity, figures.dropped)


def _stats(child: Child) -> Mapping[str, Any]:
    """What the child reports and, under ``loop_blocked``, what a watchdog has seen of it."""
    reported = _reported(child)
    return reported if child.blocked is None else {**reported, "loop_blocked": attrs.asdict(child.blocked)}


def _reported(child: Child) -> Mapping[str, Any]:
    """What the child itself reports: a mapping or an attrs value from its ``statistics()``."""
    statistics = getattr(child.value, "statistics", None) if child.up and child.supervisor is None else None
    if not callable(statistics):
        return {}
    try:
        figures = statistics()
        return dict(figures) if isinstance(figures, Mapping) else attrs.asdict(figures)
    except Exception as error:
        # The snapshot answers at any moment; a child that cannot tell its figures shows that, in their place.
        return {"error": in_one_line(error)}


def _children(supervisor: BaseSupervisor | None, now: float) -> tuple[Node, ...] | None:
    if supervisor is None:
        return None
    shown = None if isinstance(supervisor.spec, SupervisorSpec) else CHILDREN_SHOWN
    return tuple(node_of(child, now) for child in islice(supervisor.children.values(), shown))
