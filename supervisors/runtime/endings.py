"""How ends are told and waited for, also those that do not come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from ..events import Exited, Ignored, StartFailed, Stuck
from ..exits import Exit, crashed
from .context import TreeContext
from .reports import report, report_of_exit

if TYPE_CHECKING:
    from .base import BaseSupervisor
    from .child import Child

STUCK_AFTER: Final = 1.0
"""Seconds after its cancellation that a task may take to end before it is reported as stuck."""


def report_end(child: Child, exit: Exit, was_up: bool, context: TreeContext, supervisor: BaseSupervisor | None) -> None:
    """Tell the hook how an attempt of *child* ended."""
    if not context.watched:
        return
    now = trio.current_time()
    if was_up:
        uptime = now - child.started_at
        told = report_of_exit(child, supervisor, exit, uptime)
        context.emit(Exited(child.path, child.kind, child.generation, exit, uptime, now, told))
    elif child.declined:
        context.emit(Ignored(child.path, child.kind, now))
    else:
        assert child.start_error is not None
        told = report(child, supervisor, "start_error", crashed(child.start_error), None)
        context.emit(StartFailed(child.path, child.kind, child.start_error, now, told))


async def wait_until_gone(children: Sequence[Child], context: TreeContext) -> None:
    """Wait for tasks that were cancelled; report those that do not end, which Trio cannot kill."""
    with trio.move_on_after(STUCK_AFTER):
        for child in children:
            await child.wait_gone()
        return
    for child in children:
        report_stuck(child, context)
    for child in children:
        await child.wait_gone()


def report_stuck(child: Child, context: TreeContext) -> None:
    """Report the tasks that keep *child* from ending although they were cancelled, each once."""
    for leaf in _stuck_leaves(child, cancelled=False):
        if not leaf.stuck:
            leaf.stuck = True
            leaf.owner.child_stuck(leaf)
            context.emit(Stuck(leaf.path, leaf.kind, STUCK_AFTER, trio.current_time()))


def _stuck_leaves(child: Child, *, cancelled: bool) -> list[Child]:
    """What is alive at or below *child* and was cancelled there or above; what was only asked has its time still."""
    if not child.alive:
        return []
    cancelled = cancelled or child.cancelled
    if child.supervisor is None:
        return [child] if cancelled else []
    leaves = [leaf for c in child.supervisor.children.values() for leaf in _stuck_leaves(c, cancelled=cancelled)]
    return [child, *leaves] if child.supervisor.stuck(cancelled=cancelled) else leaves


def reason_of(child: Child) -> str:
    """How the last generation of *child* ended, in a word."""
    return "normal" if child.last_exit is None else child.last_exit.reason


def with_notes(cause: Exception, child: Child, uptime: float | None) -> Exception:
    """*cause* with a note that says whose it is, which attempt, and how long it had run (seconds; None: never up)."""
    mark = f"child {child.path!r}, attempt "
    note = f"{mark}{child.attempt}, {'never up' if uptime is None else f'up for {uptime:.3f} s'}"
    # One exception object can be raised many times; it then says so once, with the last figures.
    cause.__notes__ = [*(n for n in getattr(cause, "__notes__", ()) if not n.startswith(mark)), note]
    return cause
