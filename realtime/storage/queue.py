"""The bounded queue in front of a store's medium: it outlives crashes of the child that empties it."""

import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable

import attrs
import trio

from realtime.policy.ulid import UlidSequence
from realtime.ports import AppendFailed, NewEvent, StoreBusy, StoredEvent, StoreStopped
from realtime.storage.medium import Draft

MAX_QUEUED = 1024
"""Events that may wait for their commit: two full batches, one being written and one being filled."""


@attrs.define(eq=False)
class Waiting:
    """An event in the queue, and its creator who waits for what becomes of it."""

    draft: Draft
    _on_settled: Callable[[StoredEvent | Exception], object] | None = None
    _done: trio.Event = attrs.field(factory=trio.Event, init=False)
    _outcome: StoredEvent | Exception | None = attrs.field(default=None, init=False)

    def settle(self, outcome: StoredEvent | Exception) -> None:
        """Wake the creator, if it still waits."""
        self._outcome = outcome
        self._done.set()
        if self._on_settled is not None:
            self._on_settled(outcome if isinstance(outcome, StoredEvent) else self._failure(outcome))

    async def result(self) -> StoredEvent:
        """Wait until the event is settled, and return it or raise why it is not stored."""
        await self._done.wait()
        if isinstance(self._outcome, StoredEvent):
            return self._outcome
        assert self._outcome is not None
        raise self._failure(self._outcome)

    def _failure(self, outcome: Exception) -> Exception:
        if isinstance(outcome, StoreStopped):
            return StoreStopped(*outcome.args)
        # One exception per creator: the cause may be shared by a whole batch.
        failure = AppendFailed(self.draft.event_id)
        failure.__cause__ = outcome
        return failure


class CommitQueue:
    """Events in the order in which they are to be committed; they leave it when they are settled and not before.

    Args:
      capacity: events at most; `add` waits beyond it.
      clock: seconds since 1970; dates the events.
    """

    def __init__(self, capacity: int = MAX_QUEUED, clock: Callable[[], float] = time.time) -> None:
        self.capacity = capacity
        self.accepting = False
        self._clock = clock
        # A token is held from before an event enters the queue until it is settled.
        self._slots = trio.Semaphore(capacity)
        self._waiting: deque[Waiting] = deque()
        self._filled = trio.Event()
        self._ids = UlidSequence()

    def __len__(self) -> int:
        return len(self._waiting)

    async def add(self, event: NewEvent) -> Waiting:
        """Queue *event*, once there is room. A checkpoint; if cancelled, it was not queued.

        Raises StoreStopped while not `accepting`.
        """
        self._check()
        await self._slots.acquire()
        try:
            self._check()
        except StoreStopped:
            self._slots.release()
            raise
        return self._enqueue(event)

    def add_nowait(self, event: NewEvent, on_settled: Callable[[StoredEvent | Exception], object]) -> None:
        """Queue *event* and have *on_settled* called with what becomes of it, which must not raise.

        Raises StoreStopped while not `accepting`, StoreBusy while there is no room.
        """
        self._check()
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            raise StoreBusy(f"{self.capacity} events wait to be stored already; try again in a moment") from None
        self._enqueue(event, on_settled)

    def _enqueue(
        self, event: NewEvent, on_settled: Callable[[StoredEvent | Exception], object] | None = None
    ) -> Waiting:
        # The id is made here and not before the wait, so that ids, queue and offsets have one order.
        now_ms = int(self._clock() * 1000)
        waiting = Waiting(Draft(event, self._ids.next(now_ms, secrets.randbits), now_ms), on_settled)
        self._waiting.append(waiting)
        self._filled.set()
        return waiting

    def continue_ids(self, event_id: str) -> None:
        """Give only ids above *event_id* from now on."""
        self._ids.resume(event_id)

    def first(self, count: int) -> tuple[Waiting, ...]:
        """At most *count* events, oldest first; they stay in the queue."""
        return tuple(itertools.islice(self._waiting, count))

    def settle_first(self, outcome: StoredEvent | Exception) -> None:
        """Take the oldest event out and tell its creator."""
        self._waiting.popleft().settle(outcome)
        self._slots.release()

    async def wait_filled(self, stopping: trio.Event | None) -> None:
        """Wait until the queue, which is empty, gets an event, or *stopping* is set. One waiter at a time."""
        self._filled = trio.Event()
        if stopping is None:
            await self._filled.wait()
            return
        async with trio.open_nursery() as nursery:
            for event in (self._filled, stopping):
                nursery.start_soon(_wait_and_cancel, event, nursery.cancel_scope)

    def _check(self) -> None:
        if not self.accepting:
            raise StoreStopped("the store is not running; the event was not stored")


async def _wait_and_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
