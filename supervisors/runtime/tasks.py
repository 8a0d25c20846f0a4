"""Work that is given to a supervisor to do once: single tasks with a handle, and a bounded map over many items.

The model is Elixir's ``Task.Supervisor`` with ``async_nolink`` and ``async_stream_nolink``: the work belongs to the
supervisor, its failure is told to who asked, and to nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack

import trio
from outcome import Error, Outcome, Value

from ..errors import SupervisorNotRunning, TaskCancelled, TooManyChildren
from ..spec import ChildSpec
from .base import BaseSupervisor
from .boundary import divide
from .child import Child
from .ref import SupervisorRef

Item = TypeVar("Item")
Result = TypeVar("Result")
Args = TypeVarTuple("Args")


class TaskHandle(Generic[Result]):
    """A task that was given to a :class:`TaskSupervisor`.  It holds the outcome for as long as it is kept itself."""

    __slots__ = ("_child", "_error", "_on_done", "_over", "_supervisor", "_traceback", "_value", "path")

    def __init__(self, path: str, on_done: Callable[[], object]) -> None:
        self.path = path
        """Where it stands in the tree; its name is the last part."""
        self._on_done = on_done
        self._over = trio.Event()
        self._value: Any = None
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._supervisor: BaseSupervisor | None = None
        self._child: Child | None = None

    def __repr__(self) -> str:
        return f"<task {self.path!r}, {'done' if self.done else 'running'}>"

    @property
    def name(self) -> str:
        """Its id under its supervisor."""
        return self.path.rpartition("/")[2]

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._over.is_set()

    async def result(self) -> Result:
        """Wait until it has ended and return what its function returned, or raise what that raised.  A checkpoint.

        Cancelling the wait does not cancel the task.  Can be called more than once, by several.

        Raises:
          TaskCancelled: it was cancelled, or its supervisor stopped, before it ended.
          Exception: whatever its function raised.
        """
        await self._over.wait()
        if self._error is not None:
            # With the traceback that it came with: else each call would add its own lines to it.
            raise self._error.with_traceback(self._traceback)
        return self._value  # type: ignore[no-any-return]

    async def outcome(self) -> Outcome[Result]:
        """As :meth:`result`, with the failure as a value instead of raised."""
        await self._over.wait()
        return self._outcome_now()

    def _outcome_now(self) -> Outcome[Result]:
        return Value(self._value) if self._error is None else Error(self._error)

    def cancel(self) -> None:
        """Cancel it and return; wait for its end with :meth:`outcome`.  Does nothing once it is done."""
        if self._supervisor is not None and self._child is not None:
            self._supervisor.begin_stop(self._child)

    def _belongs_to(self, supervisor: BaseSupervisor) -> None:
        self._supervisor, self._child = supervisor, supervisor.get(self.name)

    async def _run(self, fn: Callable[[], Awaitable[Result]]) -> None:
        try:
            self._value = await fn()
        except BaseException as error:
            crash, _ = divide(error)
            self._error = TaskCancelled(self.path) if crash is None else crash
            self._traceback = self._error.__traceback__
            raise
        finally:
            self._supervisor = self._child = None
            self._over.set()
            self._on_done()


def _nothing() -> None:
    pass


class TaskSupervisor(SupervisorRef):
    """A :class:`~supervisors.SupervisorRef` of a dynamic supervisor, which is given functions instead of specs.

    ::

        tasks = TaskSupervisor()
        ChildSpec("tasks", DynamicSupervisorSpec(max_children=100), ref=tasks)

        task = tasks.start_task(fetch, url)
        page = await task.result()

    Tasks are temporary children: they show in the tree while they run, are never restarted, and are cancelled when the
    supervisor stops.  They run in its context, not in that of the caller, whose deadlines and cancellation do not reach
    them: one that nobody waits for goes on to its end.
    """

    __slots__ = ("_numbers",)

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._numbers = count(1)

    def start_task(
        self, fn: Callable[[Unpack[Args]], Awaitable[Result]], *args: *Args, name: str | None = None
    ) -> TaskHandle[Result]:
        """Begin to run ``await fn(*args)`` and return at once.

        Args:
          name: its id under the supervisor; None makes one of the function's name and a number.

        Raises:
          SupervisorNotRunning: the supervisor does not run; nothing was started.
          ChildRunning: a task of this *name* is running.
          TooManyChildren: the supervisor is at its ``max_children``.
          WrongKind: it is not a dynamic supervisor, or one with ``concurrent=False``.
        """
        return self._start(partial(fn, *args), name or self._name_for(fn), _nothing)

    def map(
        self,
        fn: Callable[[Item], Awaitable[Result]],
        items: Iterable[Item],
        *,
        max_concurrent: int,
        ordered: bool = True,
    ) -> TaskMap[Item, Result]:
        """Run ``fn(item)`` for each of *items*, at most *max_concurrent* at a time::

            async for item, result in tasks.map(fetch, urls, max_concurrent=8):
                print(item, result.unwrap())

        Each turn gives the item and its :class:`outcome.Outcome`: a failure is a value and sinks no other item, until
        ``unwrap()`` raises it.  *items* is read as far as tasks are started, so it may be endless.

        At most *max_concurrent* items are under way, counting those that are done and not taken yet: who takes nothing
        gets nothing more started.  *ordered* gives the items in their order, so that a slow one holds up those after
        it; False gives them as they are done.

        If the caller goes, by an exception or a ``break``, no more is started, and what is under way is finished by the
        supervisor and its outcomes are dropped.  ``with tasks.map(...) as results:`` cancels it instead.
        """
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent must be at least 1, got {max_concurrent!r}")
        return TaskMap(self, fn, iter(items), max_concurrent, ordered=ordered)

    def _start(
        self, fn: Callable[[], Awaitable[Result]], name: str, on_done: Callable[[], object]
    ) -> TaskHandle[Result]:
        supervisor = self._bound()
        path = f"{supervisor.path}/{name}" if supervisor.path else name
        task: TaskHandle[Result] = TaskHandle(path, on_done)
        supervisor.start_child_nowait(ChildSpec(name, task._run, (fn,), restart="temporary"))
        task._belongs_to(supervisor)
        return task

    def _name_for(self, fn: Any) -> str:
        while isinstance(fn, partial):
            fn = fn.func
        name = getattr(fn, "__name__", type(fn).__name__)
        return f"{name}-{next(self._numbers)}"


class TaskMap(Generic[Item, Result]):
    """What :meth:`TaskSupervisor.map` gives: an async iterator over items and outcomes, for one consumer."""

    def __init__(
        self,
        supervisor: TaskSupervisor,
        fn: Callable[[Item], Awaitable[Result]],
        items: Iterator[Item],
        max_concurrent: int,
        *,
        ordered: bool,
    ) -> None:
        self._supervisor = supervisor
        self._fn = fn
        self._items = items
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._next: deque[Item] = deque(maxlen=1)
        """An item that was read and could not be started yet."""
        self._under_way: list[tuple[Item, TaskHandle[Result]]] = []
        """In the order of the items; bounded by *max_concurrent*."""
        self._changed = trio.Event()
        self._busy = False

    def __aiter__(self) -> TaskMap[Item, Result]:
        return self

    async def __anext__(self) -> tuple[Item, Outcome[Result]]:
        """The next item with its outcome.  A checkpoint; if cancelled, nothing is lost.

        Raises:
          SupervisorNotRunning, TooManyChildren: nothing is under way and nothing can be started.
          trio.BusyResourceError: another task is waiting here.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is iterating over this map")
        self._busy = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self._start_more()
                if not self._under_way:
                    raise StopAsyncIteration
                place = self._place_of_one_done()
                if place is not None:
                    item, task = self._under_way.pop(place)
                    return item, task._outcome_now()
                self._changed = trio.Event()
                await self._changed.wait()
        finally:
            self._busy = False

    def _place_of_one_done(self) -> int | None:
        """Which of those under way is to be given next."""
        candidates = self._under_way[:1] if self._ordered else self._under_way
        return next((place for place, (_, task) in enumerate(candidates) if task.done), None)

    def _start_more(self) -> None:
        while len(self._under_way) < self._max_concurrent and self._read():
            item = self._next[0]
            name = self._supervisor._name_for(self._fn)
            try:
                task = self._supervisor._start(partial(self._fn, item), name, self._wake)
            except (SupervisorNotRunning, TooManyChildren):
                if self._under_way:
                    return  # what is under way comes first; then it is tried again
                raise
            self._next.clear()
            self._under_way.append((item, task))

    def _read(self) -> bool:
        if not self._next:
            for item in self._items:
                self._next.append(item)
                break
        return bool(self._next)

    def _wake(self) -> None:
        self._changed.set()

    def cancel(self) -> None:
        """Start no more, and cancel what is under way; its outcomes can still be taken."""
        self._items = iter(())
        self._next.clear()
        for _, task in self._under_way:
            task.cancel()

    def __enter__(self) -> TaskMap[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
