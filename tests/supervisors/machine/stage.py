"""Lets a synchronous state machine drive one Trio run, step by step, on a clock that stands still in between."""

from __future__ import annotations

import math
import os
import queue
from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import trio
import trio.testing
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

STEPS = int(os.environ.get("MACHINE_STEPS", "5200"))
"""Steps that each machine makes at least: more by ``MACHINE_STEPS=200000 pytest tests/supervisors/machine``."""

AT_ONCE = 50
"""Steps made with one planting at most; Hypothesis makes about 40 on average."""


class Stage:
    """One Trio run in guest mode: :meth:`run` lets it go on until an async function has returned.

    Trio's own scheduling is made repeatable by its support of Hypothesis, so that a failure can be shrunk.
    """

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock()
        self.nursery: trio.Nursery
        self._host: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._result: outcome.Maybe[Any] | None = None
        self._ended: outcome.Maybe[Any] | None = None
        self._wanted: tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]] | None = None
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._host.put,
            done_callback=self._done,
            clock=self.clock,
            host_uses_signal_set_wakeup_fd=True,
        )
        while not hasattr(self, "nursery"):
            self._host.get()()

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run the async *function* to its end, letting time pass as it is needed, and return what it returns."""
        self._result, self._wanted = None, (function, args)
        self._token.run_sync_soon(self._wake_up)
        while self._result is None and self._ended is None:
            self._host.get()()
        if self._result is None:
            assert self._ended is not None
            return self._ended.unwrap()
        return self._result.unwrap()

    def close(self) -> None:
        """End the run; whatever still runs in :attr:`nursery` is cancelled."""
        if self._ended is None:
            self._token.run_sync_soon(self.nursery.cancel_scope.cancel)
        while self._ended is None:
            self._host.get()()
        self._ended.unwrap()

    def _wake_up(self) -> None:
        self._awake.set()

    def _done(self, result: outcome.Maybe[Any]) -> None:
        self._ended = result

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._awake = trio.Event()
        async with trio.open_nursery() as self.nursery:
            while True:
                await self._awake.wait()
                self._awake = trio.Event()
                assert self._wanted is not None
                function, args = self._wanted
                self.clock.autojump_threshold = 0
                self._result = await outcome.acapture(function, *args)
                # Else the clock would jump to the next deadline while nobody waits for anything.
                self.clock.autojump_threshold = math.inf


def run_machine(machine: type[RuleBasedStateMachine]) -> None:
    """Run *machine* for :data:`STEPS` steps, and fail if it made fewer."""
    made = 0

    class Counted(machine):  # type: ignore[misc, valid-type]
        @invariant()
        def one_step_more(self) -> None:
            nonlocal made
            made += 1

    options = settings(
        max_examples=max(1, STEPS * 3 // (AT_ONCE * 2)),
        stateful_step_count=AT_ONCE,
        deadline=None,
        # CI judges a change by the same trees each time; everywhere else new ones are searched.
        derandomize=bool(os.environ.get("CI")),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Counted, settings=options)
    assert made >= STEPS, f"only {made} steps were made"
