"""One child: its state machine, and how it is started, asked to stop and ended.

A :class:`Child` is the record that a supervisor keeps for one spec.  It outlives restarts; each start makes a new
task, a new cancel scope and a new *attempt* number, so that a late timer or exit can never act on a later start.
That task is one ``with child:``.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from ..errors import ActorCrashed, ActorStopped, Ignore, NotStarted
from ..exits import Exit
from ..policy.lifecycle import LifecycleEvent, State, advance
from ..spec import BRUTAL_KILL, ChildSpec, keywords_wanted
from ..tree import Blocked
from .actor import STOP, Actor, run_actor
from .boundary import Boundary, only
from .code import resolve
from .ref import ACTORS, Cell, Ref, SupervisorRef
from .starts import Handshake, Outcome
from .timers import Entry

if TYPE_CHECKING:
    from ..events import Kind
    from .base import BaseSupervisor
    from .context import TreeContext

OFFERED: Final = ("task_status", "stopping")


class Owner(Protocol):
    """What a child tells whoever is responsible for it; nothing here may wait."""

    context: TreeContext

    def make_supervisor(self, child: Child) -> BaseSupervisor:
        """The record of the supervisor that *child* is."""

    def child_started(self, child: Child) -> None:
        """*child* is up."""

    def child_stuck(self, child: Child) -> None:
        """*child* was cancelled and does not end."""

    def child_ended(self, child: Child, exit: Exit, *, was_up: bool) -> None:
        """The task of *child* is over."""


class Child(Boundary):
    """The record of one child.  Its supervisor decides; this carries out and remembers."""

    __slots__ = (
        "_outcome",
        "_wants",
        "attempt",
        "blocked",
        "cell",
        "exit_pending",
        "failures",
        "generation",
        "gone",
        "last_exit",
        "last_exit_at",
        "owner",
        "path",
        "recovering",
        "ref",
        "restarts",
        "retry_at",
        "spec",
        "start_error",
        "started_at",
        "state",
        "stopping",
        "stuck",
        "supervisor",
        "timer",
        "up",
        "value",
    )

    def __init__(self, spec: ChildSpec, path: str, owner: Owner) -> None:
        super().__init__()
        self.spec = spec
        self.path = path
        self.owner = owner
        self.state: State = "stopped"
        self.attempt = 0
        self.generation = 0
        self.restarts = 0
        self.failures = 0
        """Failures in a row, as the backoff counts them."""
        self.started_at = 0.0
        self.retry_at = math.inf
        self.last_exit: Exit | None = None
        self.last_exit_at = 0.0
        self.exit_pending = False
        """It ended by itself and its supervisor has not dealt with that yet."""
        self.recovering = False
        """It failed and has not run for its healthy uptime since."""
        self.up = self.stuck = False
        self.start_error: Exception | None = None
        self.value: Any = None
        self.stopping: trio.Event | None = None
        self.gone: trio.Event | None = None
        self.blocked: Blocked | None = None
        """How its steps blocked the loop, if a watchdog saw one."""
        self.timer: Entry[Any] | None = None
        """What its supervisor is to do about it if it stays in this state; leaving the state takes it back."""
        self._outcome: Outcome | None = None
        self.supervisor: BaseSupervisor | None = None
        self.cell: Cell | None = None
        self.ref: Any = spec.ref
        self._wants: tuple[str, ...] = ()
        self._prepare()

    def _prepare(self) -> None:
        start = self.spec.start
        if self.spec.is_supervisor:
            self.supervisor = self.owner.make_supervisor(self)
            if self.ref is not None:
                self.ref.bind(self.supervisor)
        elif not isinstance(start, str):
            self._learn(start)  # what a name stands for is seen when it starts

    def _learn(self, start: Any) -> None:
        """Make what a child of this kind needs, unless it has it."""
        if _is_actor(start):
            if self.cell is None:
                self.cell = Cell(self.path, self.spec.mailbox)
                self.ref = Ref(self.path) if self.ref is None else self.ref
                self.ref.bind(self.cell)
        elif self.ref is not None:
            raise TypeError(f"{self.spec.start!r} is no actor, so its ref has no meaning")
        else:
            self._wants = keywords_wanted(start, OFFERED)

    def _look_up(self, name: str) -> Any:
        """What a start given by its name is this time; if that cannot be told, something that raises why."""
        try:
            upgrade = self.owner.context.upgrades.pop(self.path, None)
            start = resolve(name) if upgrade is None else upgrade.start
            if self.generation and _is_actor(start) is (self.cell is None):
                raise TypeError(f"{name} was {'a function' if self.cell is None else 'an actor'} and is none any more")
            self._learn(start)
        except Exception as error:
            self._wants = ("task_status",)  # for it does not come up at once
            return partial(_raise, error)
        return upgrade.make if upgrade is not None and self.cell is not None else start

    @property
    def kind(self) -> Kind:
        """What the tree shows it as."""
        return "supervisor" if self.spec.is_supervisor else "worker"

    @property
    def active(self) -> bool:
        """Whether it runs, or ended by itself and may be started again."""
        return self.alive or self.exit_pending or self.state == "backing_off"

    def advance(self, event: LifecycleEvent) -> None:
        """Take *event* into the state machine.  A timer belongs to the state that it was set in."""
        before, self.state = self.state, advance(self.state, event)
        if self.timer is not None and self.state != before:
            self.timer.cancel()
            self.timer = None

    # ------------------------------------------------------------------ start

    def begin(self, nursery: trio.Nursery) -> bool:
        """Start a new task for it; True when it is up at once, False when it has a handshake to make."""
        self.advance("start")
        self.attempt += 1
        self._begin_attempt()
        self.up = self.stuck = self.exit_pending = False
        self.start_error = self.value = None
        self.retry_at = math.inf
        self.started_at = trio.current_time()
        self._outcome = self.gone = None
        start: Any = self.spec.start
        if isinstance(start, str):
            start = self._look_up(start)
        self.stopping = trio.Event() if "stopping" in self._wants else None
        name = self.path or self.spec.id
        if self.cell is None:
            nursery.start_soon(self._run, start, name=name)
        else:
            nursery.start_soon(run_actor, self, start, name=name)
        if not (self.spec.is_supervisor or self.cell is not None or "task_status" in self._wants):
            self.set_up(None)
        return self.up

    def _called(self, start: Any) -> Awaitable[object]:
        """What a function or a supervisor does, called with what it is to be given."""
        if self.supervisor is not None:
            return self.supervisor.run(Handshake(self))
        offered: dict[str, object] = {"task_status": Handshake(self), "stopping": self.stopping}
        wanted = {name: offered[name] for name in self._wants}
        called: Awaitable[object] = start(*self.spec.args, **self.spec.kwargs, **wanted)
        return called

    def set_up(self, value: object) -> None:
        """It is up: a new generation runs.  Too late is too late: its supervisor has counted a failed start."""
        if self.start_error is not None:
            return
        self.up = True
        self.value = value
        self.generation += 1
        self.started_at = trio.current_time()
        self.advance("started")
        self._settle()
        self.owner.child_started(self)

    async def wait_ready(self) -> Outcome:
        """Return once it is up or its task has ended.  Not a checkpoint if that is so already."""
        outcome = self._outcome = self._outcome or Outcome()
        if self.up or not self.alive:
            self._settle()
        else:
            await outcome.wait()
        return outcome

    def _settle(self) -> None:
        if self._outcome is not None:
            self._outcome.settle(self.handed_over, self.start_error, declined=self.declined)

    async def wait_gone(self) -> None:
        """Return once its task has ended.  Not a checkpoint if it has already."""
        if self.alive:
            if self.gone is None:
                self.gone = trio.Event()
            await self.gone.wait()

    # ------------------------------------------------------------------- stop

    def ask(self, deadline: float, why: str) -> None:
        """Ask it to stop, in the way of its kind; *deadline* caps what a supervisor gives to its own children."""
        self.advance("stop")
        self.asked = True
        if self.spec.shutdown is BRUTAL_KILL:
            self.kill(why)
        elif not self.up:
            self.cancel(why)  # asked while it still starts: there is nobody to ask yet
        elif self.supervisor is not None:
            self.supervisor.request_stop(deadline)
        elif self.cell is not None:
            self.cell.send_control(STOP)
        elif self.stopping is not None:
            self.stopping.set()
        else:
            self.cancel(why)

    def step_down(self) -> None:
        """Take the state of one that was asked to stop; called by an actor that is about to end itself."""
        self.advance("stop")
        self.asked = True

    def kill(self, why: str) -> None:
        """End it with no say in it; its exit is ``killed``.

        A worker is cancelled.  A supervisor takes its workers with it; the supervisors below it go down in an orderly
        way, as in OTP, where they learn of it from their link.
        """
        self.killed = True
        if self.supervisor is not None and self.up:
            self.supervisor.die(why)
        else:
            self.cancel(why)

    def cut(self, why: str) -> None:
        """Cancel it with everything below it: the time given from above is over."""
        self.killed = True
        self.cancel(why)

    # -------------------------------------------------------------------- life

    async def _run(self, start: Any) -> None:
        """One attempt of a function or a supervisor; that of an actor is :func:`run_actor`, which is one frame less."""
        with self:
            await self._called(start)

    def _returns_when_asked(self) -> bool:
        return self.cell is not None  # what a function returns is its own business

    def _ended(self, exit: Exit) -> None:
        """Tell everybody whom it concerns.  Runs without a checkpoint."""
        was_up = self.up
        self.up = self.stuck = False
        self.advance("ended")
        if self.cell is not None:
            self._end_current_call(self.cell, exit)
        if was_up:
            self.last_exit, self.last_exit_at = exit, trio.current_time()
        elif self.start_error is None:  # else its supervisor knows better, say that it was too slow
            self.start_error = self._why_not_started(exit)
        if not was_up:
            self._settle()
        self.owner.child_ended(self, exit, was_up=was_up)
        if self.gone is not None:
            self.gone.set()

    def _why_not_started(self, exit: Exit) -> Exception:
        if exit.error is not None:
            return exit.error
        if exit.reason == "normal":
            return NotStarted("it returned without calling task_status.started()")
        return NotStarted(f"it ended before it was up ({exit.reason})")

    def _end_current_call(self, cell: Cell, exit: Exit) -> None:
        if cell.task is not None:
            del ACTORS[cell.task]
        call, cell.current, cell.task = cell.current, None, None
        if cell.kept is not None:
            cell.kept.life_ended(cell, exit)
        if call is None:
            return
        if exit.reason == "crashed":
            failure = ActorCrashed(self.path)
            failure.__cause__ = exit.error
            call.fail(failure)
        else:
            call.fail(ActorStopped(self.path))

    @property
    def handed_over(self) -> Any:
        """What whoever started it is given: a ref to an actor or a supervisor, else what it gave to ``started()``."""
        if self.start_error is not None:
            return None  # it declined
        if self.cell is not None:
            return self.ref
        if self.supervisor is not None:
            ref = SupervisorRef(self.path) if self.ref is None else self.ref
            ref.bind(self.supervisor)
            return ref
        return self.value

    @property
    def declined(self) -> bool:
        """Whether the last start attempt declined (:class:`~supervisors.Ignore`)."""
        return self.start_error is not None and only(self.start_error, Ignore)


def _is_actor(start: object) -> bool:
    return isinstance(start, type) and issubclass(start, Actor)


def _raise(error: Exception, *_: object, **__: object) -> Any:
    raise error
