"""One life of a supervisor: a loop over one channel of commands, exits and timers, from start to end.

What it does about each of them is decided in ``base.py`` and below.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Self

import trio

from ..errors import Shutdown, SupervisorNotRunning
from ..spec import AnySupervisorSpec
from .child import Child
from .context import TreeContext
from .endings import wait_until_gone
from .records import Records
from .ref import Call
from .timers import Agenda
from .turns import ChildExit, Command, Due, Message, StopRequest, TimerKind


class Loop(Records, ABC):
    """Takes what comes, one a turn.  Each :meth:`run` is one life, and leaves nothing to the next one."""

    def __init__(self, spec: AnySupervisorSpec, path: str, context: TreeContext) -> None:
        super().__init__(spec, path, context)
        self.serving = False
        """Whether it takes commands."""
        self._at_work = False
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

    async def run(self, task_status: trio.TaskStatus[Self]) -> None:
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

    async def _live(self, task_status: trio.TaskStatus[Self]) -> None:
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

    def _at(self, when: float, child: Child, kind: TimerKind) -> None:
        """Set the timer of the state that *child* is in; also from a child's task, while the loop sleeps."""
        assert child.timer is None or child.timer.item is None
        child.timer = self._timers.add(when, Due(child, child.attempt, kind))
        self._waiting.deadline = min(self._waiting.deadline, when)

    # ------------------------------------------------- what a kind of supervisor does

    @abstractmethod
    async def _start_all(self) -> None:
        """Start the children of the spec; set ``_ending`` if one fails."""

    @abstractmethod
    async def _stop_all(self, deadline: float) -> None:
        """Bring all children down, in an orderly way."""

    @abstractmethod
    async def _on_exit(self, child: Child) -> None:
        """*child* ended by itself."""

    @abstractmethod
    async def _on_due(self, child: Child, kind: TimerKind) -> None:
        """A timer of *child* is due."""

    @abstractmethod
    def _at_rest(self, child: Child) -> None:
        """*child* is down and stays down."""
