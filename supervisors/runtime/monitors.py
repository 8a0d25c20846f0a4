"""Monitors: whoever wants to know is told how the present life of a child ends, once.

They hang on the tree's events while there are any, so that a tree without monitors knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from ..events import Event, Exited, Ignored, StartFailed
from ..exits import NORMAL, Down, crashed
from .kept import keep

if TYPE_CHECKING:
    from .child import Child
    from .context import TreeContext
    from .ref import Cell, Ref


class Monitor:
    """One monitor on one life of one child, its start included; used up by its :class:`Down`."""

    __slots__ = ("_over", "_release", "_tell", "_withdraw", "down", "path")

    def __init__(self, path: str, tell: Callable[[Down], None], withdraw: Callable[[Down], None]) -> None:
        self.path = path
        self.down: Down | None = None
        """What was told, once it was."""
        self._over = trio.Event()
        self._tell = tell
        self._withdraw = withdraw
        self._release: Callable[[Monitor], None] = _nothing

    def cancel(self) -> None:
        """Stop monitoring.  A :class:`Down` that was sent and not handled yet is taken back.  Can be called again.

        Source: ``erlang:demonitor/2`` with ``flush`` in Erlang/OTP.
        """
        self._release(self)
        if self.down is not None:
            self._withdraw(self.down)

    async def wait(self) -> Down:
        """Wait for the end.  A checkpoint."""
        await self._over.wait()
        assert self.down is not None
        return self.down

    def settle(self, down: Down) -> None:
        """Tell *down*; done by the runtime, once."""
        self.down = down
        self._release(self)
        self._over.set()
        self._tell(down)

    def on_release(self, release: Callable[[Monitor], None]) -> None:
        """Call *release* when there is nothing to wait for any more; done by the runtime."""
        self._release = release


def _nothing(_: object) -> None:
    """For those who are told nothing."""


class Monitors:
    """All monitors of one tree that wait for an end."""

    def __init__(self, context: TreeContext, root: Child) -> None:
        self._context = context
        self._root = root
        # Used as sets that keep their order: who asked first is told first.
        self._waiting: dict[str, dict[Monitor, None]] = {}
        self._hook = self._look  # taken once: each look at a method makes another object

    def by_actor(self, cell: Cell, target: Ref[Any] | str) -> Monitor:
        """A monitor on *target* for the present life of the actor of *cell*, told through its control lane."""
        path, child = self._find(target)
        monitor = Monitor(path, cell.put_first, cell.take_back)
        kept = keep(cell)
        kept.monitors[monitor] = None
        self._watch(monitor, child, kept.monitors)
        return monitor

    def by_task(self, target: Ref[Any] | str) -> Monitor:
        """A monitor on *target* for whoever holds it."""
        path, child = self._find(target)
        monitor = Monitor(path, _nothing, _nothing)
        self._watch(monitor, child, {})
        return monitor

    def _find(self, target: Ref[Any] | str) -> tuple[str, Child | None]:
        """The path of *target*, and its record if there is one; a ref must not reach whoever has its path now."""
        path = target if isinstance(target, str) else target.path
        child: Child | None = self._root
        for part in path.split("/") if path else ():
            below = None if child is None else child.supervisor
            child = None if below is None else below.children.get(part)
        if child is not None and not isinstance(target, str) and child.cell is not target.cell:
            child = None
        return path, child

    def _watch(self, monitor: Monitor, child: Child | None, owned: dict[Monitor, None]) -> None:
        def release(monitor: Monitor) -> None:
            owned.pop(monitor, None)
            waiting = self._waiting.get(monitor.path, {})
            waiting.pop(monitor, None)
            if not waiting and self._waiting.pop(monitor.path, None) is not None and not self._waiting:
                self._context.remove(self._hook)

        monitor.on_release(release)
        if child is None or not child.alive:
            monitor.settle(Down(monitor.path, 0 if child is None else child.generation, None))
            return
        if not self._waiting:
            self._context.add(self._hook)
        self._waiting.setdefault(monitor.path, {})[monitor] = None

    def _look(self, event: Event) -> None:
        """The hook: tell those who wait for the end of the child at this path."""
        if event.path not in self._waiting or not isinstance(event, Exited | StartFailed | Ignored):
            return
        if isinstance(event, Exited):
            down = Down(event.path, event.generation, event.exit)
        else:  # it was on its way up, which is a life, if one without a number of its own
            _, child = self._find(event.path)
            exit = NORMAL if isinstance(event, Ignored) else crashed(event.error)
            down = Down(event.path, 0 if child is None else child.generation, exit)
        for monitor in list(self._waiting[event.path]):
            monitor.settle(down)
