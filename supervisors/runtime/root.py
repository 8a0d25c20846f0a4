"""A running tree: how it is opened, looked at, operated and stopped."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import trio

from ..errors import ChildNotRunning, NoSuchChild, WrongKind
from ..events import Hook, Started
from ..exits import Down, Exit
from ..spec import AnySupervisorSpec, ChildSpec
from ..tree import Node
from .base import BaseSupervisor
from .boundary import divide
from .child import Child
from .context import TreeContext
from .dynamic import SequentialDynamicSupervisor, make_supervisor
from .endings import report_end, wait_until_gone
from .monitors import Monitor, Monitors
from .ref import Ref, SupervisorRef
from .snapshot import snapshot
from .supervisor import Supervisor
from .watchdog import Watchdog


class Tree:
    """A running tree, by its paths: the ids from below the root, joined by ``/``; the root's own path is ``""``."""

    def __init__(self, root: Child, context: TreeContext) -> None:
        self._root = root
        self._context = context

    # ------------------------------------------------------------------ looking

    @property
    def running(self) -> bool:
        """Whether a task of the tree is left."""
        return self._root.alive

    def snapshot(self) -> Node:
        """The whole tree as it is now; answers at any moment."""
        return snapshot(self._root)

    def find(self, path: str) -> Node:
        """The node at *path* as it is now.

        Raises:
          NoSuchChild: there is none.
        """
        return snapshot(self._locate(path))

    def ref(self, path: str) -> Ref[Any]:
        """A ref to the actor at *path*.

        Raises:
          NoSuchChild: there is none.
          WrongKind: it is no actor.
        """
        child = self._locate(path)
        if child.cell is None:
            raise WrongKind(path, "is not an actor")
        return child.ref  # type: ignore[no-any-return]

    def supervisor(self, path: str = "") -> SupervisorRef:
        """A ref to the supervisor at *path*.

        Raises:
          NoSuchChild, WrongKind: there is none.
        """
        child = self._locate(path)
        if child.supervisor is None:
            raise WrongKind(path, "is not a supervisor")
        ref = SupervisorRef(path)
        ref.bind(child.supervisor)
        return ref

    @contextmanager
    def watch(self, hook: Hook) -> Iterator[None]:
        """Call *hook* with each event while the block runs, besides the one given to :func:`open_tree`."""
        self._context.add(hook)
        try:
            yield
        finally:
            self._context.remove(hook)

    @contextmanager
    def monitor(self, target: Ref[Any] | str) -> Iterator[Monitor]:
        """Watch the present life of *target*, a path or a ref, while the block runs: ``await monitor.wait()`` in it.

        For tasks of any kind; what an actor itself sets is :meth:`Actor.monitor`.
        """
        monitor = self._context.monitors.by_task(target)
        try:
            yield monitor
        finally:
            monitor.cancel()

    async def wait_exit(self, target: Ref[Any] | str) -> Down:
        """Wait until the present life of *target*, a path or a ref, has ended.  A checkpoint.

        Returns at once if it is not running, with None as its exit.
        """
        with self.monitor(target) as monitor:
            await trio.lowlevel.checkpoint()
            return await monitor.wait()

    # ---------------------------------------------------------------- operating

    async def stop(self, *, deadline: float = math.inf) -> None:
        """Stop in an orderly way; when this returns, no task of the tree is left.

        *deadline* is absolute (:func:`trio.current_time`) and caps every child: what still runs then is cancelled.
        If this is cancelled, the stop goes on.
        """
        if self._root.alive and self._root.state == "running":
            self._root.ask(deadline, "the tree was stopped")
        with trio.move_on_at(deadline):
            await self.wait_stopped()
            return
        self._root.cut("the tree did not stop by its deadline")
        await wait_until_gone((self._root,), self._context)

    async def wait_stopped(self) -> None:
        """Wait until the tree has ended, for whatever reason.  A checkpoint."""
        await trio.lowlevel.checkpoint()
        await self._root.wait_gone()

    async def start_child(self, path: str, spec: ChildSpec) -> object:
        """Add a child under the supervisor at *path*; see :meth:`SupervisorRef.start_child`."""
        return await self.supervisor(path).start_child(spec)

    async def restart_child(self, path: str) -> None:
        """Stop the child at *path* if it runs, and start it.  Costs no budget.

        Raises:
          NoSuchChild: there is none.
          WrongKind: it is the root, or a child that is forgotten when it is down.
          StartError: it did not start, and stays stopped.
        """
        parent, child = self._operable(path)
        await parent.ask(lambda: parent.stop_and_start(child))

    async def reload_child(self, path: str) -> None:
        """Give the child at *path*, whose spec names its start as ``"module:name"``, the code that its module has now.

        The module runs from its source in a new module object; only then does the old code end, in an orderly way, and
        the new code start; once it is up the new module enters :data:`sys.modules`.  Of an actor, mailbox and ref
        stay, nothing that waits is lost, and what ``export_state()`` of the old returns goes to ``on_upgrade()`` of
        the new one; a function has no state.  Generations count on, and it costs no budget.  A child that is down is
        started with the new code.  Blocks the loop while the module runs.

        Classes of messages belong in a module that is not reloaded: see ``supervisors/runtime/code.py``.

        Raises:
          ReloadFailed: the new code could not be imported, did not start or declined to, or the old one did not export
            its state within ``shutdown``; the child runs with the code it had, if it did before.  A deferred call is
            lost.
          NoSuchChild: there is none.
          WrongKind: its spec has no name as its start; or as :meth:`restart_child`.

        Source: ``code_change`` in Erlang/OTP.
        """
        parent, child = self._reloadable(path)
        await parent.ask(lambda: parent.reload(child))

    async def stop_child(self, path: str) -> None:
        """Stop the child at *path*; it stays down until somebody starts it.  Errors as :meth:`restart_child`."""
        parent, child = self._parent_of(path)
        await parent.terminate_child(child.spec.id)

    async def start_again(self, path: str) -> None:
        """Start the child at *path*, which is down.

        Raises:
          ChildRunning, ChildRestarting: it is not down.
          Others: as :meth:`restart_child`.
        """
        parent, child = self._operable(path)
        await parent.ask(lambda: parent.start_again(child))

    def restart_child_soon(self, path: str) -> None:
        """Begin :meth:`restart_child` and return; a start that fails shows in the tree.  Raises what is known now."""
        parent, child = self._operable(path)
        parent.tell(lambda: parent.stop_and_start(child))

    def stop_child_soon(self, path: str) -> None:
        """Begin :meth:`stop_child` and return.

        Raises:
          ChildNotRunning: it is down already.
        """
        parent, child = self._parent_of(path)
        if not child.active:
            raise ChildNotRunning(path, child.state)
        parent.begin_stop(child)

    def start_again_soon(self, path: str) -> None:
        """Begin :meth:`start_again` and return.  Raises what is known now."""
        parent, child = self._operable(path)
        parent.refuse_active(child)
        parent.tell(lambda: parent.start_again(child))

    def reload_child_soon(self, path: str) -> None:
        """Begin :meth:`reload_child` and return; code that fails is told in the log.  Raises what is known now."""
        parent, child = self._reloadable(path)
        parent.tell(lambda: parent.reload(child))

    def crash(self, path: str, error: Exception) -> None:
        """Make the child at *path* crash with *error*, wherever it is waiting now.

        Raises:
          NoSuchChild: there is none.
          ChildNotRunning: it is not running.
        """
        child = self._locate(path)
        if child.state not in ("running", "starting"):
            raise ChildNotRunning(path, child.state)
        child.inject(error)

    def kill(self, path: str) -> None:
        """Cancel the child at *path* with no say in it: its exit is ``killed``.  Errors as :meth:`crash`."""
        child = self._locate(path)
        if not child.alive:
            raise ChildNotRunning(path, child.state)
        child.kill("killed by an operator")

    def _locate(self, path: str) -> Child:
        child = self._root
        for part in path.split("/") if path else ():
            if child.supervisor is None or part not in child.supervisor.children:
                raise NoSuchChild(path)
            child = child.supervisor.children[part]
        return child

    def _parent_of(self, path: str) -> tuple[BaseSupervisor, Child]:
        child = self._locate(path)
        if not isinstance(child.owner, BaseSupervisor):
            raise WrongKind(path, "is the root, which can only be stopped as a whole")
        return child.owner, child

    def _reloadable(self, path: str) -> tuple[Supervisor, Child]:
        parent, child = self._operable(path)
        if not isinstance(child.spec.start, str):
            raise WrongKind(path, "is not given as 'module:name', so there is no telling where its new code is")
        return parent, child

    def _operable(self, path: str) -> tuple[Supervisor, Child]:
        parent, child = self._parent_of(path)
        forgotten = isinstance(parent, SequentialDynamicSupervisor) or child.spec.restart == "temporary"
        if forgotten or not isinstance(parent, Supervisor):
            raise WrongKind(path, "is forgotten when it is down, so it cannot be started again")
        return parent, child


class _Outside:
    """Stands above the root: reports what becomes of it, and restarts nothing."""

    def __init__(self, context: TreeContext) -> None:
        self.context = context

    def make_supervisor(self, child: Child) -> BaseSupervisor:
        return make_supervisor(child, self.context)

    def child_started(self, child: Child) -> None:
        self.context.emit(Started(child.path, child.kind, child.generation, trio.current_time()))

    def child_stuck(self, child: Child) -> None:
        """It is named by its own node, and nobody is above it."""

    def child_ended(self, child: Child, exit: Exit, *, was_up: bool) -> None:
        report_end(child, exit, was_up, self.context, None)


@asynccontextmanager
async def open_tree(
    spec: AnySupervisorSpec,
    *,
    id: str = "root",
    on_event: Hook | None = None,
    random: Callable[[], float] = random.random,
    watchdog: Watchdog | None = None,
) -> AsyncIterator[Tree]:
    """Run a tree around a block: it is up when the block begins, and stopped in an orderly way when it is left.

    If the root ends by itself, the block is cancelled and the error raised from here; a root that shut itself down
    in an orderly way just cancels the block.  If the block fails or is cancelled, the tree is stopped too, a
    cancellation being a kill.

    Args:
      on_event: called with each :data:`~supervisors.Event`, in the tasks of the tree; must not block.
      random: a source of numbers in [0, 1), for jitter.
      watchdog: tells who blocks the loop, from the first start to the last stop; without one nobody looks.

    Raises:
      StartError: a child did not start; nothing is left running.
      RestartIntensityExceeded: the root gave up.
      ExceptionGroup: the block failed, and so did the root.
    """
    context = TreeContext(on_event, random)
    root = Child(ChildSpec(id, spec, restart="temporary"), "", _Outside(context))
    context.monitors = Monitors(context, root)
    tree = Tree(root, context)
    failures: list[Exception] = []
    try:
        with nullcontext() if watchdog is None else watchdog.watch(root, context):
            async with trio.open_nursery() as nursery:
                root.begin(nursery)
                await root.wait_ready()
                if root.start_error is None:
                    nursery.start_soon(_cancel_when_gone, root, nursery.cancel_scope, name="wait for the root")
                    try:
                        yield tree
                    except BaseException as error:  # noqa: ASYNC103 - what is no crash goes on, by another name
                        # Of what the root's end did to the block, keep what the block made of it; else a crash is a
                        # kill.
                        failed, rest = divide(error)
                        if failed is None or (rest is not None and root.alive):
                            raise
                        failures.append(failed)
                        if rest is not None:
                            raise rest from None  # noqa: ASYNC104
                    await tree.stop()
    except BaseException as left:
        if not failures:
            raise
        everything = BaseExceptionGroup("the block failed, and the tree was killed", [left, *failures])
        raise everything from None  # noqa: ASYNC104 - the cancellation is in it
    if root.start_error is not None:
        raise root.start_error
    if root.last_exit is not None and root.last_exit.error is not None:
        failures.append(root.last_exit.error)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("the block and the tree around which it ran both failed", failures)


async def _cancel_when_gone(root: Child, block: trio.CancelScope) -> None:
    """End the block around which the tree runs, once the tree has ended."""
    await root.wait_gone()
    block.cancel(reason="the root of the tree has ended")
