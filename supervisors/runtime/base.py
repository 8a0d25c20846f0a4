"""What every supervisor decides: who is restarted, when, and when it gives up; and how children are brought down.

How children are started and restarted differs: one at a time in ``supervisor.py``, concurrently in ``dynamic.py``.
Below it are the loop of ``loop.py`` and the records of ``records.py``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

import trio

from ..errors import ChildEnded, NotStarted, RestartIntensityExceeded, Shutdown, StartError, WrongKind
from ..events import FailureReport, GaveUp, HealthChanged, RestartDelayed, Restarting, Started
from ..exits import Exit, crashed
from ..policy.backoff import failures_in_a_row, next_delay
from ..policy.health import HEALTHY_UPTIME
from ..policy.intensity import RestartIntensity
from ..policy.restart import ends_supervisor, should_restart
from ..spec import BRUTAL_KILL, AnySupervisorSpec, ChildSpec
from .child import Child
from .context import TreeContext
from .endings import STUCK_AFTER, reason_of, report_end, report_stuck, wait_until_gone, with_notes
from .loop import Loop
from .reports import report
from .turns import ChildExit, Due, TimerKind

Value = TypeVar("Value")

CAUSES_KEPT: Final = 8
"""Failures a supervisor remembers to say why it gave up; more would only repeat themselves."""


class BaseSupervisor(Loop):
    """The record of a supervisor.  It outlives restarts, as its :class:`Child` does; each :meth:`run` is one life."""

    def __init__(self, spec: AnySupervisorSpec, path: str, context: TreeContext) -> None:
        super().__init__(spec, path, context)
        self.intensity = RestartIntensity(spec.max_restarts, spec.max_seconds)
        # One for each restart in the window and one for the failure that was too much: no older one is told.
        self._causes: deque[tuple[str, Exception]] = deque(maxlen=min(CAUSES_KEPT, spec.max_restarts + 1))

        self._living = 0
        """Children that have a task."""
        self._all_gone: trio.Event | None = None
        """Set once none has any more, if a stop waits for them all: to be woken for each of 100 000 takes as long as
        their ends do."""

    def _reset(self) -> None:
        super()._reset()
        self._all_gone = None
        self.intensity = RestartIntensity(self.spec.max_restarts, self.spec.max_seconds)
        self._causes.clear()

    # ------------------------------------------------- told by children (sync)

    def make_supervisor(self, child: Child) -> BaseSupervisor:
        """The record of the supervisor that *child* is."""
        from .dynamic import make_supervisor  # here and not at the top: it knows this class's own subclasses

        return make_supervisor(child, self.context)

    def make_child(self, spec: ChildSpec) -> Child:
        """A new record under this supervisor."""
        return Child(spec, f"{self.path}/{spec.id}" if self.path else spec.id, self)

    def _begin_task(self, child: Child) -> bool:
        """:meth:`Child.begin`, counted."""
        up = child.begin(self._nursery)
        self._living += 1
        return up

    def child_started(self, child: Child) -> None:
        """*child* is up."""
        now = trio.current_time()
        if self.context.watched:
            self.context.emit(Started(child.path, child.kind, child.generation, now))
        if child.recovering:
            backoff = child.spec.backoff
            uptime = HEALTHY_UPTIME if backoff is None else backoff.healthy_uptime
            self._at(now + uptime, child, "healthy")

    def child_stuck(self, child: Child) -> None:
        """*child* was cancelled and does not end."""
        self.troubled[child.spec.id] = child

    def child_ended(self, child: Child, exit: Exit, *, was_up: bool) -> None:
        """The task of *child* is over: report it, and deal with it in turn if nobody asked for it."""
        self._tell_end(child, exit, was_up)

    def _tell_end(self, child: Child, exit: Exit, was_up: bool) -> None:
        # Before the report, so that whoever looks at the tree on hearing of it sees a child that has just failed.
        child.exit_pending = not child.asked and (was_up or not self.waits_for_starts)
        if self.context.watched:
            report_end(child, exit, was_up, self.context, self)
        if child.exit_pending:
            self.post(ChildExit(child, child.attempt))
        self._living -= 1
        if not self._living and self._all_gone is not None:
            self._all_gone.set()

    waits_for_starts = True
    """Whether the loop itself waits for each start, and so sees a failed one without being told."""

    forgets_all = False
    """Whether it forgets children that are down, whatever their restart type."""

    # --------------------------------------------------------------- decisions

    async def _on_exit(self, child: Child) -> None:
        """*child* ended by itself: restart it, or see what its end means."""
        if not child.exit_pending:
            return
        child.exit_pending = False
        assert child.last_exit is not None
        if should_restart(child.spec.restart, child.last_exit):
            await self._on_failure(child, child.last_exit.error, child.last_exit_at - child.started_at)
            return
        self._at_rest(child)
        if not child.spec.significant:
            return  # and do not look at the others, who can be many thousands
        others = any(c.active and c.spec.significant for c in self.children.values() if c is not child)
        if ends_supervisor(self.spec.auto_shutdown, significant=True, others_active=others):
            self._ending = Shutdown(f"significant child {child.path!r} ended")

    async def _on_failure(self, child: Child, error: Exception | None, uptime: float | None) -> None:
        """*child* is to be restarted after an end or a failed start: charge it, then do it, delay it or give up.

        *uptime* is how long it had run, in seconds; None if it never came up.
        """
        now = trio.current_time()
        self._note_failure(child)
        cause = error if error is not None else ChildEnded(child.path, reason_of(child))
        child.restarts += 1
        if child.spec.backoff is None:
            self._causes.append((child.spec.id, with_notes(cause, child, uptime)))
            if not self.intensity.allow(now):
                self._give_up(child, uptime)
                return
            self._announce_restart(child, error, uptime, self.intensity.left(now))
            await self._restart(child)
            return
        child.failures = failures_in_a_row(child.spec.backoff, child.failures, uptime)
        delay = next_delay(child.spec.backoff, child.failures, self.context.random)
        if delay is None:
            child.restarts -= 1
            await self._stand_by(child)
            self._give_up_child(child, with_notes(cause, child, uptime), uptime)
        elif child.failures == 1:
            self._announce_restart(child, error, uptime, None)
            await self._restart(child)
        else:  # also a delay that chance made 0: in its turn, so that a child that fails at once cannot fill the loop
            await self._stand_by(child)
            self._back_off(child, delay)
            now, told = trio.current_time(), self._report(child, uptime, delay)
            self.context.emit(RestartDelayed(child.path, child.kind, child.failures, delay, error, now, told))

    def _announce_restart(self, child: Child, error: Exception | None, uptime: float | None, left: int | None) -> None:
        now, told = trio.current_time(), self._report(child, uptime, 0.0)
        self.context.emit(Restarting(child.path, child.kind, child.attempt, left, error, now, told))

    def _report(self, child: Child, uptime: float | None, next_delay: float) -> FailureReport:
        if uptime is None:
            assert child.start_error is not None
            return report(child, self, "start_error", crashed(child.start_error), None, next_delay)
        assert child.last_exit is not None
        return report(child, self, "child_terminated", child.last_exit, uptime, next_delay)

    def _back_off(self, child: Child, delay: float) -> None:
        """Set *child* aside, to be tried again in *delay* seconds; 0 means in its turn."""
        child.advance("delay")
        if delay == 0.0:
            self.post(Due(child, child.attempt, "retry"))
        else:
            child.retry_at = trio.current_time() + delay
            self._at(child.retry_at, child, "retry")

    async def _on_due(self, child: Child, kind: TimerKind) -> None:
        if kind == "healthy" and child.state == "running":
            self._recovered(child)
        elif kind == "retry" and child.state == "backing_off":
            await self._retry(child)
        elif kind == "start_deadline" and child.state == "starting":
            child.start_error = self.too_slow(child)
            child.kill("was not up in time")
            self._at(trio.current_time() + STUCK_AFTER, child, "stuck")
        elif kind == "stop_deadline" and child.state == "stopping":
            child.kill("did not stop within its shutdown time")
            self._at(trio.current_time() + STUCK_AFTER, child, "stuck")
        elif kind == "stuck" and child.alive:
            report_stuck(child, self.context)

    def _note_failure(self, child: Child) -> None:
        """*child* failed: it is degraded from now on until it has recovered, or rests."""
        child.recovering = True
        self.troubled[child.spec.id] = child

    def _recovered(self, child: Child) -> None:
        child.recovering = False
        child.failures = 0
        self.troubled.pop(child.spec.id, None)
        self.context.emit(HealthChanged(child.path, child.kind, trio.current_time()))

    def _give_up(self, child: Child, uptime: float | None) -> None:
        spec = self.spec
        failed = list(dict.fromkeys([child_id for child_id, _ in self._causes]))
        text = (
            f"{'child' if len(failed) == 1 else 'children'} {', '.join(map(repr, failed))} "
            f"failed {spec.max_restarts + 1} times in {spec.max_seconds:g} s (limit {spec.max_restarts}); "
            f"supervisor {self.path or 'root'!r} gives up"
        )
        error = RestartIntensityExceeded(text, [cause for _, cause in self._causes])
        if child.start_error is not None:
            self.tell_state(child)  # it waited for this attempt, which is not made
        told = report(child, self, "shutdown", crashed(error), uptime)
        self.context.emit(GaveUp(self.path, "supervisor", error, trio.current_time(), told))
        self._ending = error if spec.give_up == "raise" else Shutdown(text)

    def _give_up_child(self, child: Child, cause: Exception, uptime: float | None) -> None:
        child.advance("give_up")
        if child.cell is not None:
            child.cell.end()
        told = report(child, self, "shutdown", crashed(cause), uptime)
        self.context.emit(GaveUp(child.path, child.kind, cause, trio.current_time(), told))

    def _at_rest(self, child: Child) -> None:
        """*child* is down and stays down: forget it if it is temporary, and what was wrong with it in any case."""
        assert not child.alive
        child.exit_pending = False
        if child.state in ("backing_off", "failed"):
            child.advance("stop")
            self.tell_state(child)
        if child.cell is not None:
            child.cell.end()
        child.recovering = False
        child.failures = 0
        if self.troubled and self.troubled.get(child.spec.id) is child:  # a newer child may have taken the id meanwhile
            del self.troubled[child.spec.id]
        if self.forgets_all or child.spec.restart == "temporary":
            self._forget(child)

    def too_slow(self, child: Child) -> Exception:
        """What a start that ran out of its time failed with."""
        return NotStarted(f"it was not up within its start_timeout of {child.spec.start_timeout:g} s")

    def start_error(self, child: Child, cause: Exception | None) -> StartError:
        """The failure of a start, with its cause chained."""
        error = StartError(child.path, str(cause) or repr(cause))
        error.__cause__ = cause
        return error

    # ----------------------------------------------------------------- stopping

    async def _terminate(self, child: Child, deadline: float = math.inf) -> None:
        """Bring *child* down in an orderly way and wait until it is gone; what it does meanwhile is not a crash."""
        await self._bring_down(child, deadline)
        self._at_rest(child)

    async def _bring_down(self, child: Child, deadline: float = math.inf) -> None:
        """As :meth:`_terminate`, for one that is to be started again: what waits in its mailbox stays there."""
        child.exit_pending = False
        if child.alive:
            allowed = 0.0 if child.spec.shutdown is BRUTAL_KILL else child.spec.shutdown
            until = min(trio.current_time() + allowed, deadline)
            child.ask(until, f"stopped by supervisor {self.path or 'root'!r}")
            with trio.move_on_at(until):
                await child.wait_gone()
            if child.alive:
                self.too_late(child, until, deadline)
                await wait_until_gone((child,), self.context)

    def too_late(self, child: Child, until: float, deadline: float) -> None:
        """*child* still runs at *until*: kill it, or cut it off if that was the *deadline* given from above."""
        if until < deadline:
            child.kill("did not stop within its shutdown time")
        else:
            child.cut("did not stop by the deadline from above")

    @abstractmethod
    async def _restart(self, child: Child) -> None:
        """Start *child*, and whatever goes with it, again; a failed start goes back to :meth:`_on_failure`."""

    @abstractmethod
    async def _retry(self, child: Child) -> None:
        """The delay of *child* is over."""

    @abstractmethod
    async def _stand_by(self, child: Child) -> None:
        """*child* failed and is delayed: stop what must not run without it."""

    # ------------------------------------------------------------ administration

    @abstractmethod
    async def start_child(self, spec: ChildSpec) -> object:
        """See :meth:`SupervisorRef.start_child`."""

    def start_child_nowait(self, spec: ChildSpec) -> None:
        """See :meth:`SupervisorRef.start_child_nowait`."""
        raise WrongKind(self.path, "starts its children one at a time: await start_child() instead")

    @abstractmethod
    async def restart_child(self, child_id: str) -> object:
        """See :meth:`SupervisorRef.restart_child`."""

    async def terminate_child(self, child_id: str) -> None:
        """See :meth:`SupervisorRef.terminate_child`."""

        async def perform() -> None:
            await self._terminate(self.get(child_id))

        await self.ask(perform)

    async def in_turn(self, look: Callable[[], Value]) -> Value:
        """See :meth:`SupervisorRef.in_turn`."""

        async def perform() -> Value:
            return look()

        result: Value = await self.ask(perform)
        return result

    def begin_stop(self, child: Child) -> None:
        """Begin to bring *child* down, and return."""
        self.tell(lambda: self._terminate(child))

    async def delete_child(self, child_id: str) -> None:
        """See :meth:`SupervisorRef.delete_child`."""

        async def perform() -> None:
            child = self.get(child_id)
            self.refuse_active(child)
            self.troubled.pop(child_id, None)
            self._forget(child)

        await self.ask(perform)
