"""The boundary at which whatever leaves a child becomes a value; the only module that turns an exception into data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

import trio

from ..errors import RestartIntensityExceeded, Shutdown
from ..exits import KILLED, NORMAL, SHUTDOWN, Exit, crashed


class Boundary(ABC):
    """What runs in its ``with`` block is one attempt: nothing but a foreign cancellation or exit leaves it.

    What has a boundary is its own: a coroutine around what it runs would be 500 bytes of each one that is idle.
    """

    __slots__ = ("_scope", "alive", "asked", "injected", "killed", "task")

    def __init__(self) -> None:
        self.alive = False
        """Whether a task of it exists."""
        self.asked = self.killed = False
        """Whether it was asked to end, and whether it has no say in it."""
        self.injected: Exception | None = None
        """What it is to crash with."""
        self.task: trio.lowlevel.Task | None = None
        """Where it runs now; how to find from a task back to the child."""
        self._scope: trio.CancelScope | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the task that exists was cancelled, and not by what is around the tree."""
        return self._scope is not None and self._scope.cancel_called

    def inject(self, error: Exception) -> None:
        """Make it crash with *error*, wherever it is waiting now."""
        self.injected = error
        self.cancel(f"crashed on purpose: {error!r}")

    def cancel(self, why: str) -> None:
        """Cancel its task, if there is one."""
        if self._scope is not None:
            self._scope.cancel(reason=why)

    def _begin_attempt(self) -> None:
        """A task is about to be made, whose first step enters the boundary."""
        self.asked = self.killed = False
        self.injected = None
        self._scope = trio.CancelScope()
        self.alive = True

    @trio.lowlevel.enable_ki_protection
    def __enter__(self) -> None:
        assert self._scope is not None
        self._scope.__enter__()
        self.task = trio.lowlevel.current_task()

    @trio.lowlevel.enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        scope, rest = self._scope, error
        assert scope is not None
        try:
            if scope.__exit__(kind, error, traceback):
                rest = None
        except BaseException as left:  # noqa: ASYNC103 - a group without the cancellation that was in it
            rest = left
        foreign: BaseException | None = None
        if rest is None:
            exit = self._exit_without_error(cancelled=scope.cancelled_caught)
        else:
            exit, foreign = self._judge(rest)
        self._scope = self.task = None
        self.alive = False
        self._ended(exit)
        if foreign is None or foreign is error:
            return foreign is None
        # Like a cancel scope: what goes on has its own causes and not, as one more, what it was taken out of.
        context = foreign.__context__
        try:
            raise foreign
        finally:
            foreign.__context__ = context

    def _judge(self, error: BaseException) -> tuple[Exit, BaseException | None]:
        """What it means that the attempt was left with *error*, and what of that is not ours to keep."""
        if isinstance(error, Exception):
            return self._exit_of(error), None
        # KeyboardInterrupt, SystemExit, or a cancellation from outside the tree.  What came with them is ours: it
        # crashed, as it might have done without them.
        # Nothing is restarted for it either: its supervisor, which may have the exit in hand before the cancellation
        # reaches it, is about to go as well.
        self.asked = True
        ours, foreign = divide(error)
        return (KILLED, error) if ours is None else (crashed(ours), foreign)

    def _exit_without_error(self, *, cancelled: bool) -> Exit:
        if self.injected is not None:
            return crashed(self.injected)
        if cancelled or self._returns_when_asked():
            return KILLED if self.killed else SHUTDOWN
        return NORMAL

    def _exit_of(self, error: Exception) -> Exit:
        # A supervisor that gave up holds its children's ends, which say nothing about its own.
        if not isinstance(error, RestartIntensityExceeded) and only(error, Shutdown):
            return KILLED if self.killed else SHUTDOWN
        return crashed(error)

    @abstractmethod
    def _returns_when_asked(self) -> bool:
        """Whether it only returns when it was asked to stop; else that is a normal end."""

    @abstractmethod
    def _ended(self, exit: Exit) -> None:
        """The task is over; must neither wait nor raise."""


def only(error: Exception, kind: type[Exception]) -> bool:
    """True for an exception of *kind*, also wrapped in groups that hold nothing else."""
    if isinstance(error, ExceptionGroup):
        return error.split(kind)[1] is None
    return isinstance(error, kind)


def divide(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """What of *error* is a crash, if anything, and what is not: a cancellation, KeyboardInterrupt, SystemExit."""
    if isinstance(error, Exception):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        return error.split(Exception)
    return None, error
