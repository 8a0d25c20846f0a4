"""What every supervisor is: a loop over one channel of commands, exits and timers, and the stopping of its children.

How children are started and restarted differs: one at a time in ``supervisor.py``, concurrently in ``dynamic.py``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio

from ..errors import (
    ChildEnded,
    ChildRestarting,
    ChildRunning,
    NoSuchChild,
    NotStarted,
    RestartIntensityExceeded,
    Shutdown,
    StartError,
    SupervisorNotRunning,
    WrongKind,
)
from ..events import (
    FailureReport,
    GaveUp,
    HealthChanged,
    Removed,
    RestartDelayed,
    Restarting,
    Started,
    StateChanged,
)
from ..exits import Exit, crashed
from ..policy.backoff import failures_in_a_row, next_delay
from ..policy.health import HEALTHY_UPTIME
from ..policy.intensity import RestartIntensity
from ..policy.restart import ends_supervisor, should_restart
from ..spec import BRUTAL_KILL, AnySupervisorSpec, ChildSpec
from ..tree import ChildCount, ChildInfo
from .child import Child
from .context import TreeContext
from .endings import STUCK_AFTER, reason_of, report_end, report_stuck, wait_until_gone, with_notes
from .ref import Call
from .reports import report
from .timers import Agenda
from .turns import ChildExit, Command, Due, Message, StopRequest, TimerKind

Value = TypeVar("Value")

CAUSES_KEPT: Final = 8
"""Failures a supervisor remembers to say why it gave up; more would only repeat themselves."""


class BaseSupervisor(ABC):
    """The record of a supervisor.  It outlives restarts, as its :class:`Child` does; each :meth:`run` is one life."""

    def __init__(self, spec: AnySupervisorSpec, path: str, context: TreeContext) -> None:
        self.spec = spec
        self.path = path
        self.context = context
        self.children: dict[str, Child] = {}
        self.troubled: dict[str, Child] = {}
        """Those of its children that failed lately or were given up; what its health is made of."""
        self.reasons: list[str] = []
        self.serving = False
        """Whether it takes commands."""
        self._at_work = False
        self.intensity = RestartIntensity(spec.max_restarts, spec.max_seconds)
        # One for each restart in the window and one for the failure that was too much: no older one is told.
        self._causes: deque[tuple[str, Exception]] = deque(maxlen=min(CAUSES_KEPT, spec.max_restarts + 1))
        self._ending: Exception | None = None
        self._deadline = math.inf
        self._timers: Agenda[Due] = Agenda()
        self._waiting = trio.CancelScope()
        """The scope of the loop's wait; its deadline is the next timer's."""
        self._life = trio.CancelScope()
        """The scope of all that the supervisor itself does; its children are outside."""
        self._nursery: trio.Nursery
        self._send: trio.MemorySendChannel[Message]
        self._receive: trio.MemoryReceiveChannel[Message]

    # ---------------------------------------------------------------- one life

    async def run(self, task_status: trio.TaskStatus[BaseSupervisor]) -> None:
        """Start the children, serve, stop the children.

        Raises:
          Shutdown: it was stopped or shut itself down; or gave up with ``give_up="shutdown"``.
          RestartIntensityExceeded: it gave up.
          StartError: a child did not start; those before it are stopped again.
        """
        # Unbounded, but never long: one exit a child, and one command for each caller that waits.
        self._send, self._receive = trio.open_memory_channel[Message](math.inf)
        self._reset()
        try:
            self._at_work = True
            if self.spec.on_start is not None:
                await self.spec.on_start()
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self.serving = True
                try:
                    with self._life:
                        await self._live(task_status)
                finally:
                    self.serving = self._at_work = False  # also when it is cut off: the nursery takes nobody any more
                if self._life.cancelled_caught:
                    self._ending = Shutdown("killed")
                    await self._take_along()
        finally:
            self.serving = self._at_work = False
            self._clean_up()
        assert self._ending is not None
        raise self._ending

    async def _live(self, task_status: trio.TaskStatus[BaseSupervisor]) -> None:
        await self._start_all()
        if self._ending is None:
            task_status.started(self)
            await self._serve()
        self.serving = False
        await self._stop_all(self._deadline)

    def die(self, why: str) -> None:
        """End at once, the workers with it; the supervisors below stop in an orderly way."""
        self._life.cancel(reason=why)

    def stuck(self, *, cancelled: bool) -> bool:
        """Whether it was *cancelled* or killed and does not leave what it was doing, a function of its spec."""
        return self._at_work and (cancelled or self._life.cancel_called)

    async def _take_along(self) -> None:
        self.serving = False
        children = [child for child in self.children.values() if child.alive]
        cut: list[Child] = []
        for child in children:
            child.killed = True
            child.exit_pending = False
            if child.supervisor is not None and child.up:
                child.ask(math.inf, "its supervisor was killed")
            else:
                child.advance("stop")
                child.cut("its supervisor was killed")
                cut.append(child)
        await wait_until_gone(cut, self.context)
        for child in children:
            await child.wait_gone()

    def _reset(self) -> None:
        self.intensity = RestartIntensity(self.spec.max_restarts, self.spec.max_seconds)
        self._causes.clear()
        self._timers.clear()
        self._ending = None
        self._deadline = math.inf
        self._life = trio.CancelScope()
        self.reasons.clear()

    def _clean_up(self) -> None:
        """All children are gone; leave nothing half-done for whoever still holds on to them."""
        self.reasons.clear()
        for child in list(self.children.values()):
            self._at_rest(child)
            if child.attempt == 0:  # one before it did not start: nothing has told of it yet
                self.tell_known(child)
        while True:
            try:
                message = self._receive.receive_nowait()
            except trio.WouldBlock:
                break
            if isinstance(message, Command) and message.call is not None:
                message.call.fail(SupervisorNotRunning(self.path))
        self._send.close()
        self._receive.close()

    async def _serve(self) -> None:
        while self._ending is None:
            message = await self._next()
            if isinstance(message, StopRequest):
                self._deadline = message.deadline
                self._ending = Shutdown("stopped")
            elif isinstance(message, Command):
                await self._perform(message)
            elif message.attempt == message.child.attempt:
                if isinstance(message, ChildExit):
                    await self._on_exit(message.child)
                else:
                    await self._on_due(message.child, message.kind)

    async def _next(self) -> Message:
        """The next message, or the next timer that is due.  A checkpoint."""
        while True:
            with trio.move_on_at(self._timers.next_due()) as self._waiting:
                return await self._receive.receive()
            # None: what was due has been taken back since the wait began.
            due = self._timers.pop_due(trio.current_time())
            if due is not None:
                return due

    async def _perform(self, command: Command) -> None:
        call = command.call
        if call is not None and call.abandoned:
            return
        try:
            result = await command.perform()
        except Exception as error:
            # A refusal is for whoever asked; nothing of it is half-done.
            if call is None:
                self.context.log_refused(self.path, error)
            else:
                call.fail(error)
        except BaseException:
            if call is not None:
                call.fail(SupervisorNotRunning(self.path))
            raise
        else:
            if call is not None:
                call.reply(result)

    def post(self, message: Message) -> None:
        """Put *message* into the supervisor's channel; dropped when it has ended."""
        try:
            self._send.send_nowait(message)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            if isinstance(message, Command) and message.call is not None:
                message.call.fail(SupervisorNotRunning(self.path))

    def request_stop(self, deadline: float) -> None:
        """Ask it to stop; returns at once."""
        self.post(StopRequest(deadline))

    async def ask(self, perform: Callable[[], Awaitable[object]]) -> Any:
        """Have the supervisor's own task do *perform*, in its turn, and wait for the outcome.  A checkpoint."""
        if not self.serving:
            raise SupervisorNotRunning(self.path)
        call = Call(None)
        self.post(Command(perform, call))
        return await call.wait()

    def tell(self, perform: Callable[[], Awaitable[object]]) -> None:
        """As :meth:`ask`, without waiting; an error is logged."""
        if not self.serving:
            raise SupervisorNotRunning(self.path)
        self.post(Command(perform, None))

    # ------------------------------------------------- told by children (sync)

    def make_supervisor(self, child: Child) -> BaseSupervisor:
        """The record of the supervisor that *child* is."""
        from .dynamic import make_supervisor  # here and not at the top: it knows this class's own subclasses

        return make_supervisor(child, self.context)

    def make_child(self, spec: ChildSpec) -> Child:
        """A new record under this supervisor."""
        return Child(spec, f"{self.path}/{spec.id}" if self.path else spec.id, self)

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
        # Before the report, so that whoever looks at the tree on hearing of it sees a child that has just failed.
        child.exit_pending = not child.asked and (was_up or not self.waits_for_starts)
        report_end(child, exit, was_up, self.context, self)
        if child.exit_pending:
            self.post(ChildExit(child, child.attempt))

    waits_for_starts = True
    """Whether the loop itself waits for each start, and so sees a failed one without being told."""

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
        self.context.emit(Restarting(child.path, child.kind, child.restarts, left, error, now, told))

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
        if self.troubled.get(child.spec.id) is child:  # a newer child may have taken the id meanwhile
            del self.troubled[child.spec.id]
        if child.spec.restart == "temporary":
            self._forget(child)

    def _forget(self, child: Child) -> None:
        # A newer child may have taken the id meanwhile.
        if self.children.get(child.spec.id) is child:
            del self.children[child.spec.id]
            if self.context.watched:
                self.context.emit(Removed(child.path, child.kind, trio.current_time()))

    def tell_state(self, child: Child) -> None:
        """Tell the state of *child*, where no other event does."""
        if self.context.watched:
            now = trio.current_time()
            self.context.emit(StateChanged(child.path, child.kind, child.state, child.generation, now))

    def tell_known(self, child: Child) -> None:
        """Tell that *child* is known, and all below it; none of them runs."""
        self.tell_state(child)
        if child.supervisor is not None:
            for below in child.supervisor.children.values():
                child.supervisor.tell_known(below)

    def too_slow(self, child: Child) -> Exception:
        """What a start that ran out of its time failed with."""
        return NotStarted(f"it was not up within its start_timeout of {child.spec.start_timeout:g} s")

    def start_error(self, child: Child, cause: Exception | None) -> StartError:
        """The failure of a start, with its cause chained."""
        error = StartError(child.path, str(cause) or repr(cause))
        error.__cause__ = cause
        return error

    def _at(self, when: float, child: Child, kind: TimerKind) -> None:
        """Set the timer of the state that *child* is in; also from a child's task, while the loop sleeps."""
        assert child.timer is None or child.timer.item is None
        child.timer = self._timers.add(when, Due(child, child.attempt, kind))
        self._waiting.deadline = min(self._waiting.deadline, when)

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
    async def _start_all(self) -> None:
        """Start the children of the spec; set ``_ending`` if one fails."""

    @abstractmethod
    async def _stop_all(self, deadline: float) -> None:
        """Bring all children down, in an orderly way."""

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

    def refuse_active(self, child: Child) -> None:
        """Raise if *child* runs or is being restarted."""
        if child.state == "backing_off":
            raise ChildRestarting(child.path)
        if child.active:
            raise ChildRunning(child.path)

    def get(self, child_id: str) -> Child:
        """The child of this id.

        Raises:
          NoSuchChild: there is none.
        """
        try:
            return self.children[child_id]
        except KeyError:
            raise NoSuchChild(f"{self.path}/{child_id}" if self.path else child_id) from None

    def which_children(self) -> tuple[ChildInfo, ...]:
        """See :meth:`SupervisorRef.which_children`."""
        return tuple(ChildInfo(c.spec.id, c.state, c.kind) for c in self.children.values())

    def count_children(self) -> ChildCount:
        """See :meth:`SupervisorRef.count_children`."""
        supervisors = sum(c.spec.is_supervisor for c in self.children.values())
        return ChildCount(
            specs=len(self.children),
            active=sum(c.alive for c in self.children.values()),
            supervisors=supervisors,
            workers=len(self.children) - supervisors,
        )
