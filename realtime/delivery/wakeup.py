"""One task sleeping, anyone waking it: what a `trio.Event` per sleep does, without making one per sleep."""

from __future__ import annotations

from collections.abc import Callable

import trio


class Wakeup:
    """Puts one task to sleep until `wake` is called.

    A wake that finds nobody asleep does nothing and is not remembered: whoever sleeps looks for work first,
    and no other task runs between the look and the sleep. Ten thousand connections have one of these each, so
    it holds a single reference.

    In place of a task a function can be left, which starts one: a task that sleeps for most of its life costs
    more than to start one now and then.
    """

    __slots__ = ("_sleeper",)

    def __init__(self) -> None:
        self._sleeper: trio.lowlevel.Task | Callable[[], object] | None = None

    @property
    def asleep(self) -> bool:
        """Whether a task sleeps here, or is to be started, and nobody has woken it yet."""
        return self._sleeper is not None

    async def sleep(self) -> None:
        """Sleep until woken. Always a checkpoint.

        Raises:
          trio.BusyResourceError: another task sleeps here.
        """
        if self._sleeper is not None:
            raise trio.BusyResourceError("another task already waits for this")
        self._sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def leave(self, start: Callable[[], object]) -> None:
        """Let the next `wake` call *start*, once, in place of waking a task.

        Raises:
          trio.BusyResourceError: a task sleeps here.
        """
        if self._sleeper is not None:
            raise trio.BusyResourceError("another task already waits for this")
        self._sleeper = start

    def forget(self) -> None:
        """Forget a function that was left; a task goes on sleeping."""
        if not isinstance(self._sleeper, trio.lowlevel.Task):
            self._sleeper = None

    def wake(self) -> None:
        """Wake the sleeper, if there is one. Costs one attribute look-up if there is none."""
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            if isinstance(sleeper, trio.lowlevel.Task):
                trio.lowlevel.reschedule(sleeper)
            else:
                sleeper()

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED
