"""Random trees as plain data, and the same data grown into real children that can be told what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import attrs
import trio
from hypothesis import strategies as st

from supervisors import (
    BRUTAL_KILL,
    INFINITY,
    Actor,
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    Shutdown,
    SupervisorSpec,
)
from supervisors.spec import Restart, Strategy
from tests import strategies

Way = Literal["event", "cleanup", "actor"]


class _Short:
    """Prints as the call that makes it, without what is as usual."""

    def __repr__(self) -> str:
        fields = attrs.fields(type(self))
        said = [(f.name, getattr(self, f.name)) for f in fields if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # else Hypothesis prints each field on a line of its own


@attrs.frozen(repr=False)
class WorkerPlan(_Short):
    """A worker: how long it takes to start and to stop, and which of its attempts fail.

    *way*: ``event`` is asked by an event and takes *stop* seconds, unless it is cancelled before; ``cleanup`` is asked
    by cancelling it, and takes *stop* seconds whatever happens; ``actor`` takes them in ``on_stop``.
    *named*: its start is given by name, so that it can be given new code, which is the same as the old.
    All times are sums of powers of two: the clock then counts without rounding.
    """

    id: str
    restart: Restart = "permanent"
    significant: bool = False
    way: Way = "event"
    start: float = 0.0
    stop: float = 0.0
    fails: frozenset[int] = frozenset()
    shutdown: Any = 3.0
    start_timeout: float = 16.0
    backoff: Backoff | None = None
    named: bool = False


@attrs.frozen(repr=False)
class SupervisorPlan(_Short):
    """A supervisor of fixed children; without any, of children that come and go if it is *dynamic*."""

    id: str
    restart: Restart = "permanent"
    significant: bool = False
    strategy: Strategy = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 8.0
    auto_shutdown: Any = "never"
    children: tuple[WorkerPlan | SupervisorPlan, ...] = ()
    dynamic: bool = False
    backoff: None = None


Plan = WorkerPlan | SupervisorPlan


class Crash(Exception):
    """What workers crash with."""


class Garden:
    """What grows from plans: which tasks there are, and how each worker may be told to end."""

    def __init__(self) -> None:
        self.tasks: dict[str, trio.lowlevel.Task] = {}
        self.attempts: Counter[str] = Counter()
        self.tell: dict[str, Callable[[str], None]] = {}
        self.faults: list[str] = []

    def enter(self, path: str) -> None:
        """A worker begins, in a task of its own; the task of the one before must be over."""
        if self.is_alive(path):
            self.faults.append(f"{path} is alive twice")
        self.tasks[path] = trio.lowlevel.current_task()
        self.attempts[path] += 1

    def is_alive(self, path: str) -> bool:
        """Whether a task runs that began at *path*."""
        task = self.tasks.get(path)
        return task is not None and task.coro.cr_frame is not None

    def alive(self) -> set[str]:
        """The paths of all workers that have a task."""
        return {path for path in self.tasks if self.is_alive(path)}

    async def prepare(self, path: str, plan: WorkerPlan) -> None:
        """Begin, and fail or come up as planned."""
        self.enter(path)
        await trio.sleep(plan.start)
        if self.attempts[path] in plan.fails:
            raise Crash(path)

    # -------------------------------------------------------------------- specs

    def supervisor(self, plan: SupervisorPlan, path: str) -> SupervisorSpec | DynamicSupervisorSpec:
        """The real spec of *plan* at *path*."""
        common: dict[str, Any] = {
            "max_restarts": plan.max_restarts,
            "max_seconds": plan.max_seconds,
            "auto_shutdown": plan.auto_shutdown,
        }
        if plan.dynamic:
            return DynamicSupervisorSpec(**common)
        children = [self.child(child, path) for child in plan.children]
        return SupervisorSpec(children, strategy=plan.strategy, **common)

    def child(self, plan: Plan, above: str) -> ChildSpec:
        """The real spec of *plan* under the supervisor at *above*."""
        path = f"{above}/{plan.id}" if above else plan.id
        common: dict[str, Any] = {"restart": plan.restart, "significant": plan.significant}
        if isinstance(plan, SupervisorPlan):
            return ChildSpec(plan.id, self.supervisor(plan, path), **common)
        common |= {"shutdown": plan.shutdown, "start_timeout": plan.start_timeout, "backoff": plan.backoff}
        if plan.named:
            return ChildSpec(plan.id, f"tests.supervisors.machine.named:{plan.way}", (self, path, plan), **common)
        if plan.way == "actor":
            return ChildSpec(plan.id, Plant, (self, path, plan), **common)
        work = self.asked_by_event if plan.way == "event" else self.asked_by_cancelling
        return ChildSpec(plan.id, partial(work, path, plan), **common)

    # ------------------------------------------------------------------ workers

    async def asked_by_event(self, path: str, plan: WorkerPlan, *, task_status: Any, stopping: trio.Event) -> None:
        """Ends when told, or *stop* seconds after it is asked."""
        await self.prepare(path, plan)
        told = self.listen(path)
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.asked, stopping, plan.stop, nursery.cancel_scope)
            await told.wait()
            nursery.cancel_scope.cancel()

    async def asked(self, stopping: trio.Event, seconds: float, scope: trio.CancelScope) -> None:
        """Ends the worker *seconds* after it is asked."""
        await stopping.wait()
        await trio.sleep(seconds)
        scope.cancel()

    async def asked_by_cancelling(self, path: str, plan: WorkerPlan, *, task_status: Any) -> None:
        """Ends when told, or *stop* seconds after it is cancelled."""
        await self.prepare(path, plan)
        told = self.listen(path)
        task_status.started()
        try:
            await told.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(plan.stop)
            raise

    def listen(self, path: str) -> Told:
        """From now on the worker at *path* can be told to end."""
        told = Told()
        self.tell[path] = told
        return told


class Told:
    """What a worker waits for: a word that says how to end."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._how = ""

    def __call__(self, how: str) -> None:
        self._how = how
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        end(self._how)


def end(how: str) -> None:
    """Return, or raise what *how* says."""
    if how == "crash":
        raise Crash
    if how == "shutdown":
        raise Shutdown


class Plant(Actor[str]):
    """A worker that is an actor: it cannot return, so that told to do so it ends with ``shutdown``."""

    def __init__(self, garden: Garden, path: str, plan: WorkerPlan) -> None:
        self.garden, self.path, self.plan = garden, path, plan

    async def on_start(self) -> None:
        await self.garden.prepare(self.path, self.plan)
        self.garden.tell[self.path] = self.context.ref.cast_nowait

    async def handle_cast(self, message: str) -> None:
        end("shutdown" if message == "return" else message)

    async def on_stop(self) -> None:
        await trio.sleep(self.plan.stop)


# ------------------------------------------------------------------------ drawing

BACKOFFS = st.sampled_from(
    [None, None, None, Backoff(4.0, 8.0, 4.0), Backoff(2.0, 8.0, 4.0, max_failures=3), Backoff(max_failures=1)]
)
FAILS = st.just(frozenset[int]()) | st.frozensets(st.integers(min_value=2, max_value=9), max_size=5)


@st.composite
def workers(draw: st.DrawFn, id: str, *, significant: bool = False, first_fails: bool = False) -> WorkerPlan:
    """A worker; its first attempt succeeds unless *first_fails* allows otherwise."""
    restart = draw(strategies.restarts)
    fails = draw(FAILS)
    return WorkerPlan(
        id=id,
        restart=restart,
        significant=significant and restart != "permanent" and draw(st.booleans()),
        way=draw(st.sampled_from(["event", "cleanup", "actor"])),
        start=draw(st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])),
        stop=draw(st.sampled_from([0.0, 0.0, 1.0, 2.0, 32.0])),
        fails=fails | {1} if first_fails and draw(st.booleans()) else fails,
        shutdown=draw(st.sampled_from([BRUTAL_KILL, 0, 4.0, 4.0, INFINITY])),
        start_timeout=draw(st.sampled_from([16.0, 16.0, 16.0, INFINITY])),
        backoff=None if restart == "temporary" else draw(BACKOFFS),
        named=draw(st.sampled_from([False, False, True])),
    )


@st.composite
def supervisors(draw: st.DrawFn, id: str = "root", depth: int = 3) -> SupervisorPlan:
    """A supervisor and all that is below it."""
    root = id == "root"
    auto = "never" if root else draw(st.sampled_from(["never", "never", "any_significant", "all_significant"]))
    restart = draw(strategies.restarts)
    dynamic = not root and draw(st.sampled_from([False, False, True]))
    children: list[Plan] = []
    for child_id in () if dynamic else "abcd"[: draw(st.integers(min_value=2 if root else 1, max_value=4))]:
        if depth > 1 and draw(st.sampled_from([False, False, True])):
            children.append(draw(supervisors(child_id, depth - 1)))
        else:
            children.append(draw(workers(child_id, significant=auto != "never")))
    return SupervisorPlan(
        id=id,
        restart=restart,
        strategy=draw(strategies.strategies),
        max_restarts=draw(st.integers(min_value=3, max_value=30) if root else st.integers(min_value=0, max_value=4)),
        max_seconds=draw(st.sampled_from([1.0, 8.0, 64.0])),
        auto_shutdown=auto,
        children=tuple(children),
        dynamic=dynamic,
    )
