"""Supervisors of children that come and go; a child that is down is forgotten, whatever its restart type."""

from __future__ import annotations

import contextvars
import math
from itertools import groupby
from typing import Final

import trio

from ..errors import ChildRunning, TooManyChildren, WrongKind
from ..exits import Exit
from ..spec import BRUTAL_KILL, ChildSpec, DynamicSupervisorSpec, SupervisorSpec
from .base import BaseSupervisor
from .child import Child
from .context import TreeContext
from .endings import wait_until_gone
from .supervisor import Supervisor

ASKED_AT_ONCE: Final = 256
"""Children asked to stop between two checkpoints: the loop is not held up, and those asked can end and be freed.  To
cancel 100 000 tasks at once makes as many exceptions, which the garbage collector then looks through again and again:
it took 3 times as long."""


class _Pool(BaseSupervisor):
    """What both kinds share: no children at first, stopped together, forgotten when down."""

    async def _start_all(self) -> None:
        self.children.clear()

    forgets_all = True

    def _until(self, child: Child, now: float, deadline: float) -> float:
        allowed = 0.0 if child.spec.shutdown is BRUTAL_KILL else child.spec.shutdown
        return min(now + allowed, deadline)

    async def _stop_all(self, deadline: float) -> None:
        """Announce it, ask all at once, then cancel each whose time is over."""
        assert isinstance(self.spec, DynamicSupervisorSpec)
        failure: Exception | None = None
        if self.spec.on_stop is not None:
            try:
                await self.spec.on_stop()
            except Exception as error:
                failure = error  # raised below: the children are stopped in an orderly way all the same
        await self._stop_together(deadline)
        if failure is not None:
            raise failure

    async def _stop_together(self, deadline: float) -> None:
        now = trio.current_time()
        await self._ask_all(now, deadline)
        if self._living:
            self._all_gone = trio.Event()
            await self._end_all(self._all_gone, now, deadline)

    async def _end_all(self, all_gone: trio.Event, now: float, deadline: float) -> None:
        """Wait for those that were asked to stop at *now*, and end each whose time is over."""
        first = min(self._until(child, now, deadline) for child in self.children.values() if child.alive)
        with trio.move_on_at(first):
            await all_gone.wait()
            return
        # Only now, since whoever is in this list is not freed when it has ended.
        late = [(self._until(child, now, deadline), child) for child in self.children.values() if child.alive]
        late.sort(key=lambda pair: pair[0])
        for until, group in groupby(late, key=lambda pair: pair[0]):
            if self._living and until > first:
                with trio.move_on_at(until):
                    await all_gone.wait()
            for _, child in group:
                if child.alive:
                    self.too_late(child, until, deadline)
        if self._living:
            await wait_until_gone([child for _, child in late if child.alive], self.context)

    async def _ask_all(self, now: float, deadline: float) -> None:
        """Ask each in turn.  Nothing holds on to those who were asked, so that who has ended can be freed at once."""
        why = f"stopped by supervisor {self.path or 'root'!r}"
        children = list(self.children.values())
        children.reverse()
        while children:
            for child in children[: -ASKED_AT_ONCE - 1 : -1]:
                if child.alive:  # only a supervisor looks at the time it is given
                    child.ask(math.inf if child.supervisor is None else self._until(child, now, deadline), why)
            del children[-ASKED_AT_ONCE:], child
            if children:
                await trio.lowlevel.checkpoint()

    async def restart_child(self, child_id: str) -> object:
        """Refused: a child of this supervisor that is down is forgotten."""
        raise WrongKind(self.path, "forgets children that are down; start a new one instead")

    async def delete_child(self, child_id: str) -> None:
        """Refused: a child of this supervisor that is down is forgotten."""
        raise WrongKind(self.path, "forgets children that are down; there is nothing to delete")

    def admit(self, spec: ChildSpec) -> None:
        """Check that *spec* may be added now.

        Raises:
          ChildRunning, TooManyChildren, ValueError: it may not.
        """
        assert isinstance(self.spec, DynamicSupervisorSpec)
        self.spec.accept(spec)
        if spec.id in self.children:
            raise ChildRunning(self.children[spec.id].path)
        if self.spec.max_children is not None and len(self.children) >= self.spec.max_children:
            raise TooManyChildren(self.path, self.spec.max_children)


class DynamicSupervisor(_Pool):
    """Starts, restarts and stops its children concurrently: its loop never waits for one of them."""

    waits_for_starts = False

    def __init__(self, spec: DynamicSupervisorSpec, path: str, context: TreeContext) -> None:
        super().__init__(spec, path, context)
        self._own_context = contextvars.copy_context()

    async def _start_all(self) -> None:
        await super()._start_all()
        # Children start in this context, not in that of whoever asks for one.
        self._own_context = contextvars.copy_context()

    def _begin(self, child: Child) -> None:
        # A copy, since a context cannot be entered twice and the event hook may ask for one more child.
        self._own_context.copy().run(self._begin_task, child)
        if not child.up and child.spec.start_timeout != math.inf:
            self._at(trio.current_time() + child.spec.start_timeout, child, "start_deadline")

    def child_ended(self, child: Child, exit: Exit, *, was_up: bool) -> None:
        """Report it; one whose end has no consequences is forgotten at once, without a turn of the loop."""
        concerns_nobody = child.asked = child.asked or self._concerns_nobody(child, was_up)
        self._tell_end(child, exit, was_up)
        if concerns_nobody:
            self._at_rest(child)

    def _concerns_nobody(self, child: Child, was_up: bool) -> bool:
        """Whether the end of *child*, that nobody asked for, has no consequences."""
        if was_up:
            return child.spec.restart == "temporary" and not child.spec.significant
        return child.generation == 0  # its starter is told, and may try again with this id at once

    async def _on_exit(self, child: Child) -> None:
        if child.start_error is None or not child.exit_pending:
            await super()._on_exit(child)
            return
        child.exit_pending = False
        if child.declined:
            self._at_rest(child)
        else:
            await self._on_failure(child, child.start_error, None)

    async def _restart(self, child: Child) -> None:
        self._begin(child)

    async def _retry(self, child: Child) -> None:
        self._begin(child)

    async def _stand_by(self, child: Child) -> None:
        """Its children are independent of one another."""

    def start_child_nowait(self, spec: ChildSpec) -> None:
        """See :meth:`SupervisorRef.start_child_nowait`."""
        self._add(spec)

    def _add(self, spec: ChildSpec) -> Child:
        self.admit(spec)
        child = self.children[spec.id] = self.make_child(spec)
        self._begin(child)
        return child

    async def start_child(self, spec: ChildSpec) -> object:
        """See :meth:`SupervisorRef.start_child`.  If cancelled, the child goes on starting."""
        # Added before the first checkpoint: the supervisor runs now, and may be stopping after it.
        child = self._add(spec)
        if child.up:
            await trio.lowlevel.checkpoint()
            return child.handed_over
        outcome = await child.wait_ready()
        if outcome.error is not None and not outcome.declined:
            raise self.start_error(child, outcome.error)
        return outcome.value

    async def terminate_child(self, child_id: str) -> None:
        """See :meth:`SupervisorRef.terminate_child`.  If cancelled, the child is stopped all the same."""
        child = self.get(child_id)
        self.begin_stop(child)
        await trio.lowlevel.checkpoint()
        await child.wait_gone()

    def begin_stop(self, child: Child) -> None:
        """Begin to bring *child* down, and return; once it is gone it is forgotten."""
        if not child.alive:
            self._at_rest(child)
            return
        if child.state == "stopping":
            return  # with the time that it was given then
        until = self._until(child, trio.current_time(), math.inf)
        child.ask(until, f"stopped by supervisor {self.path or 'root'!r}")
        if until != math.inf:
            self._at(until, child, "stop_deadline")


class SequentialDynamicSupervisor(_Pool, Supervisor):
    """Starts and restarts its children one at a time, as OTP's ``simple_one_for_one`` does."""

    def __init__(self, spec: DynamicSupervisorSpec, path: str, context: TreeContext) -> None:
        self.pool_spec = spec
        super().__init__(SupervisorSpec(), path, context)
        self.spec = spec  # type: ignore[assignment]

    def _group(self, child: Child) -> tuple[str, ...]:
        return (child.spec.id,)

    async def start_child(self, spec: ChildSpec) -> object:
        """See :meth:`SupervisorRef.start_child`."""

        async def perform() -> object:
            self.admit(spec)
            child = self.children[spec.id] = self.make_child(spec)
            try:
                await self._start(child)
            finally:
                if not child.alive and not child.exit_pending:
                    self._at_rest(child)
            return child.handed_over

        return await self.ask(perform)


def make_supervisor(child: Child, context: TreeContext) -> BaseSupervisor:
    """The record of the supervisor that *child* is, by its spec."""
    spec = child.spec.start
    if isinstance(spec, SupervisorSpec):
        return Supervisor(spec, child.path, context)
    assert isinstance(spec, DynamicSupervisorSpec)
    kind = DynamicSupervisor if spec.concurrent else SequentialDynamicSupervisor
    return kind(spec, child.path, context)
