"""The supervisor of a fixed list of children: one thing at a time, as in OTP, so that order is always plain."""

from __future__ import annotations

import math
from typing import Final

import trio

from ..errors import ChildPresent, ChildRunning, NoSuchChild, ReloadFailed, StartError
from ..policy.restart import should_restart
from ..policy.strategy import restart_group
from ..spec import BRUTAL_KILL, ChildSpec, SupervisorSpec
from .actor import Stop
from .base import BaseSupervisor
from .child import Child
from .code import NO_STATE, Export, Upgrade, load, resolve
from .context import TreeContext
from .endings import wait_until_gone

HOLDING_UP: Final = ("failed", "backing_off")
"""States of a child for which those stand by that must not run without it."""


class Supervisor(BaseSupervisor):
    """Carries out a :class:`~supervisors.SupervisorSpec`."""

    spec: SupervisorSpec

    def __init__(self, spec: SupervisorSpec, path: str, context: TreeContext) -> None:
        super().__init__(spec, path, context)
        self._records = {child.id: self.make_child(child) for child in spec.children}
        self.children.update(self._records)

    async def _start_all(self) -> None:
        if not self.spec.keep_children:
            self._forget_changes()
        for child in list(self.children.values()):
            try:
                await self._start(child)
            except StartError as error:
                self._ending = error
                return

    def _forget_changes(self) -> None:
        """Have the children of the spec again, whose records keep their counters."""
        # What was added by hand is forgotten, what was deleted is back.
        for child in list(self.children.values()):
            if self._records.get(child.spec.id) is not child:
                self._forget(child)
        back = [child for child in self._records.values() if self.children.get(child.spec.id) is not child]
        self.children.clear()
        self.children.update(self._records)
        for child in back:
            self.tell_known(child)

    async def _start(self, child: Child) -> None:
        """Start *child* and wait until it is up.  If it declines, it stays stopped, or is forgotten if temporary.

        Raises:
          StartError: it failed, and its task is gone.
        """
        await self._attempt(child)
        if child.start_error is None:
            return
        if not child.declined:
            raise self.start_error(child, child.start_error)
        self._at_rest(child)

    async def _attempt(self, child: Child) -> None:
        """Start *child* and wait until it is up, or its task gone and its ``start_error`` says why."""
        if not self._begin_task(child):
            with trio.move_on_after(child.spec.start_timeout):
                await child.wait_ready()
            if child.state == "starting":
                child.start_error = self.too_slow(child)
                child.kill("was not up in time")
                await wait_until_gone((child,), self.context)

    async def _stop_all(self, deadline: float) -> None:
        for child in reversed(list(self.children.values())):
            await self._terminate(child, deadline)

    async def _restart(self, child: Child) -> None:
        await self._stand_by(child)
        await self._start_group(child)

    async def _retry(self, child: Child) -> None:
        """Charge one more attempt, unless the delay was the price; then begin again with the group."""
        if child.spec.backoff is None:
            child.advance("stop")
            await self._on_failure(child, child.start_error, None)
        else:
            await self._stand_by(child)
            await self._start_group(child)

    async def _stand_by(self, child: Child) -> None:
        """Stop the others of the restart group, in reverse order.  That heals none of those that have failed."""
        for other_id in reversed(self._group(child)):
            if other_id != child.spec.id:
                other = self.children[other_id]
                failed = other.recovering or self._failed_just_now(other)
                await self._terminate(other)
                if failed:
                    self._note_failure(other)
                self._notice_loss(other)

    def _failed_just_now(self, child: Child) -> bool:
        """Whether *child* ended by itself and would be restarted for it, were it not for another of its group."""
        exit = child.last_exit if child.exit_pending else None
        return exit is not None and should_restart(child.spec.restart, exit)

    def _notice_loss(self, child: Child) -> None:
        """Say so if *child* was the last one that could end this supervisor, which nobody can any more.

        It is temporary, so the restart of its group has removed it for good; that does not count as its end, and so
        does not end the supervisor.  OTP does the same.
        """
        lost = child.spec.significant and self.children.get(child.spec.id) is not child
        if lost and not any(other.spec.significant for other in self.children.values()):
            self.reasons[:] = [
                f"cannot shut itself down any more: significant child {child.spec.id!r}, which is temporary, "
                "was removed by the restart of its group"
            ]

    async def _start_group(self, child: Child) -> None:
        for member_id in self._group(child):
            member = self.children.get(member_id)
            if member is None or member.alive:
                continue
            try:
                await self._start(member)
            except StartError as error:
                await self._on_failed_restart(member, error)
                return

    async def _on_failed_restart(self, child: Child, error: StartError) -> None:
        """Try again: in its turn and at the budget's cost, or after the backoff's next delay."""
        self._note_failure(child)
        if child.spec.backoff is None:
            self._back_off(child, 0.0)
            self.tell_state(child)
        else:
            await self._on_failure(child, child.start_error or error, None)

    def _group(self, child: Child) -> tuple[str, ...]:
        return tuple(restart_group(self.spec.strategy, list(self.children), child.spec.id))

    async def start_child(self, spec: ChildSpec) -> object:
        """See :meth:`SupervisorRef.start_child`."""
        self.spec.accept(spec)

        async def perform() -> object:
            known = self.children.get(spec.id)
            if known is not None:
                raise (ChildRunning if known.alive else ChildPresent)(known.path)
            child = self.children[spec.id] = self.make_child(spec)
            try:
                await self._start(child)
                if spec.significant:
                    self.reasons.clear()
            except StartError:
                self._at_rest(child)
                self._forget(child)
                raise
            return child.handed_over

        return await self.ask(perform)

    async def restart_child(self, child_id: str) -> object:
        """See :meth:`SupervisorRef.restart_child`."""
        return await self.ask(lambda: self.start_again(self.get(child_id)))

    async def start_again(self, child: Child) -> object:
        """Start a child that is down, at nobody's cost; a failed start leaves it down.  Only in the loop's own task.

        A child that had been given up left those that must not run without it down: they are started with it.

        Raises:
          NoSuchChild: it was forgotten meanwhile.
          ChildRunning, ChildRestarting: it is not down.
          StartError: it did not start.
        """
        self.refuse_unknown(child)
        self.refuse_active(child)
        given_up = child.state == "failed"
        self._at_rest(child)
        await self._start(child)
        if given_up:
            await self._start_group(child)
        return child.handed_over

    async def stop_and_start(self, child: Child) -> object:
        """Stop *child* if it runs, then :meth:`start_again`; its group as well if that was waiting for it."""
        self.refuse_unknown(child)
        waited_for = child.state in HOLDING_UP
        await self._terminate(child)
        await self._start(child)
        if waited_for:
            await self._start_group(child)
        return child.handed_over

    async def reload(self, child: Child) -> None:
        """See :meth:`Tree.reload_child`.  Only in the loop's own task."""
        self.refuse_unknown(child)
        name = child.spec.start
        assert isinstance(name, str)
        try:
            new = load(name)
            old = resolve(name)
        except Exception as error:
            raise _not_reloaded(child, error) from error
        before = child.state
        state = await self._make_way(child) if child.alive else NO_STATE
        self.context.upgrades[child.path] = Upgrade(new.start, state)
        # One that declines, which elsewhere stays down in peace, has failed here: else what waits for it would be lost.
        await self._attempt(child)
        failure = child.start_error
        if failure is None:
            new.install()
            if before in HOLDING_UP:
                await self._start_group(child)
            return
        again: Exception | None = failure
        if before == "running":
            self.context.upgrades[child.path] = Upgrade(old, state)
            await self._attempt(child)
            again = child.start_error
        if again is not None and before in ("running", "backing_off"):
            await self._on_failed_restart(child, self.start_error(child, again))
        elif before == "failed":
            child.advance("give_up")
            self.tell_state(child)
        raise _not_reloaded(child, failure) from failure

    async def _make_way(self, child: Child) -> object:
        """Bring the old code of *child* down, unless that fails, and return its state."""
        seconds = child.spec.shutdown
        if child.cell is None or seconds is BRUTAL_KILL:  # which has no say in it, and so no state to give
            await self._bring_down(child)
            return NO_STATE
        until = trio.current_time() + seconds
        export = Export(child)
        child.cell.send_control(Stop(export))
        in_time = await export.wait(seconds)
        if export.error is not None:
            raise _not_reloaded(child, export.error) from export.error
        if not in_time:
            raise ReloadFailed(child.path, f"it did not come to export its state within {seconds:g} s")
        if child.alive:
            with trio.move_on_at(until):
                await child.wait_gone()
            if child.alive:
                self.too_late(child, until, math.inf)
                await wait_until_gone((child,), self.context)
        if export.state is NO_STATE:
            raise ReloadFailed(child.path, "it ended before it exported its state")
        return export.state

    def refuse_unknown(self, child: Child) -> None:
        """Raise if *child* is none of this supervisor's any more: started, it would run outside the tree."""
        if self.children.get(child.spec.id) is not child:
            raise NoSuchChild(child.path)


def _not_reloaded(child: Child, error: Exception) -> ReloadFailed:
    return ReloadFailed(child.path, f"{type(error).__name__}: {error}")
