"""The child that every event store runs: group commit of what is queued, the hand-over after it, and forgetting.

What differs between stores, the medium, is in the methods that begin with an underscore and have no body here.
"""

import abc
import time
from collections.abc import Callable, Sequence
from typing import Self

import structlog
import trio

from realtime.policy.histogram import Histogram
from realtime.policy.retention import Retention
from realtime.ports import EventStore, NewEvent, StoredEvent, StoreError, StoreStatistics, StoreStopped
from realtime.storage.medium import MAX_RETIRED, Draft, Opened
from realtime.storage.queue import MAX_QUEUED, CommitQueue, Waiting
from realtime.storage.threads import ThreadDoor

MAX_BATCH = 512
"""Events in one transaction: beyond this the one sync it needs is a small part of its time, and latency grows."""
RETENTION_INTERVAL = 60.0
"""Seconds between two looks at what has expired; under load a look follows every `MAX_RETIRED` new events as well."""
LAST_COMMITS = 3.0
"""Seconds for committing what is queued when the child is cancelled: below the 5 s that children are given to stop."""
CLOSING = 2.0
"""Seconds to begin closing in; once a thread does it, it is waited for."""

logger = structlog.get_logger("realtime.storage")


class CommittingStore(EventStore):
    """An `EventStore` whose child commits what is queued in batches, one at a time.

    Args:
      retention: what may be forgotten.
      max_queued, max_batch: bounds of the queue and of one transaction, in events.
      clock: seconds since 1970; dates events and decides their age.
    """

    def __init__(
        self,
        *,
        retention: Retention | None = None,
        max_queued: int = MAX_QUEUED,
        max_batch: int = MAX_BATCH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.on_commit: list[Callable[[StoredEvent], None]] = []
        self._retention = Retention() if retention is None else retention
        self._clock = clock
        self._max_batch = max_batch
        self._queue = CommitQueue(max_queued, clock)
        self._door = ThreadDoor(self._queue)
        self._running = False
        self._readable = False
        self._epoch: str | None = None
        self._last_offset = 0
        self._events = self._appended = self._failed = self._retired = self._batches = 0
        self._since_forget = 0
        self._hand_over_failures = 0
        self._last_commit_s: float | None = None
        self.commit_seconds = Histogram()

    # --- what the medium does ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    async def _open(self, last_offset: int | None) -> Opened:
        """Make ready to commit and read; *last_offset* is None or, after a crash, the last that was handed over."""

    @abc.abstractmethod
    async def _commit(self, drafts: Sequence[Draft]) -> Sequence[StoredEvent | Exception]:
        """Commit *drafts* in this order, in one transaction; for each the event, or why it alone cannot be stored.

        Raising an Exception fails them all. Cancelled may be raised only as long as nothing has begun.
        """

    @abc.abstractmethod
    async def _retire(self, retention: Retention, now_ms: int) -> int:
        """Remove at most `MAX_RETIRED` expired events and return their number."""

    @abc.abstractmethod
    async def _close(self, *, keep_claim: bool) -> None:
        """Let go of what `_open` took; with *keep_claim* it stays ours, since the next `run` is to come."""

    def _file_bytes(self) -> int:
        return 0

    # --- what callers use -------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """See `EventStore.epoch`."""
        if self._epoch is None:
            raise StoreStopped("the store was not started yet: its child has to run first")
        return self._epoch

    @property
    def last_offset(self) -> int:
        """See `EventStore.last_offset`."""
        if self._epoch is None:
            raise StoreStopped("the store was not started yet: its child has to run first")
        return self._last_offset

    async def append(self, event: NewEvent) -> StoredEvent:
        """See `EventStore.append`."""
        waiting = await self._queue.add(event)
        return await waiting.result()

    def append_from_thread(self, event: NewEvent, *, timeout: float) -> StoredEvent:
        """See `EventStore.append_from_thread`."""
        return self._door.append(event, timeout)

    def statistics(self) -> StoreStatistics:
        """See `EventStore.statistics`."""
        return StoreStatistics(
            events=self._events,
            last_offset=self._last_offset,
            appended=self._appended,
            failed=self._failed,
            retired=self._retired,
            batches=self._batches,
            queued=len(self._queue),
            capacity=self._queue.capacity,
            last_commit_s=self._last_commit_s,
            file_bytes=self._file_bytes(),
            hand_over_failures=self._hand_over_failures,
        )

    def _check_readable(self) -> None:
        if not self._readable:
            raise StoreStopped("the store is not running")

    # --- the child --------------------------------------------------------------------------------------------------

    async def run(
        self,
        *,
        stopping: trio.Event | None = None,
        task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """See `EventStore.run`. Cancelled, it still commits what is queued, within `LAST_COMMITS` seconds."""
        if self._running:
            raise RuntimeError("the store is running already: one child at a time")
        self._running = True
        self._door.open()
        try:
            await self._start()
            task_status.started(self)
            await self._serve(stopping)
        except Exception:
            if stopping is not None and stopping.is_set():  # crashed while it was being stopped
                self._queue.accepting = False
            raise
        except BaseException:  # cancelled: unlike after a crash nobody is expected to come back
            self._queue.accepting = False
            raise
        finally:
            self._running = False
            # Still accepting means that this crashed in service: claim, readers and queue are left for the next run.
            if not self._queue.accepting:
                self._readable = False
                self._refuse_queued()
            with trio.move_on_after(CLOSING, shield=True):
                await self._close(keep_claim=self._queue.accepting)

    async def _start(self) -> None:
        crashed = self._queue.accepting
        opened = await self._open(self._last_offset if crashed else None)
        if crashed and opened.epoch != self._epoch:
            # Offsets would start anew under subscribers who were promised that they go on.
            raise StoreError("the history is not the one it was before the crash; restart to begin with this one")
        self._epoch = opened.epoch
        self._events = opened.events
        if opened.last_event_id is not None:
            self._queue.continue_ids(opened.last_event_id)
        # A commit that failed may have reached the medium all the same. Its creators were told of the failure, but an
        # offset that was handed to nobody would look like a loss to every subscriber.
        for event in opened.unseen:
            self._hand_over(event)
        self._last_offset = opened.last_offset
        self._queue.accepting = self._readable = True

    async def _serve(self, stopping: trio.Event | None) -> None:
        try:
            await self._serve_until(stopping)
        except Exception:
            raise
        except BaseException:
            self._queue.accepting = False
            with trio.move_on_after(LAST_COMMITS, shield=True):
                await self._commit_queued()
            raise
        self._queue.accepting = False
        await self._commit_queued()

    async def _serve_until(self, stopping: trio.Event | None) -> None:
        # Due at once: a process that never lives for an interval would otherwise never forget anything.
        due = trio.current_time()
        while not (stopping is not None and stopping.is_set()):
            if not self._queue:
                with trio.move_on_at(due):
                    await self._queue.wait_filled(stopping)
            if self._queue:
                await self._commit_batch()
            # After a batch, not instead of one: neither commits nor forgetting can starve the other.
            if trio.current_time() >= due or self._since_forget >= MAX_RETIRED:
                due = trio.current_time() + await self._forget()

    async def _commit_queued(self) -> None:
        while self._queue:
            await self._commit_batch()

    async def _commit_batch(self) -> None:
        # Everything that gathered during the commit before. Cancelled before it began, it is all in the queue still.
        batch = self._queue.first(self._max_batch)
        started = time.perf_counter()
        outcomes: Sequence[StoredEvent | Exception]
        try:
            outcomes = await self._commit([waiting.draft for waiting in batch])
        except Exception as error:
            self._settle(batch, [error] * len(batch))
            raise
        self._last_commit_s = time.perf_counter() - started
        self.commit_seconds.observe(self._last_commit_s)
        self._batches += 1
        self._settle(batch, outcomes)

    def _settle(self, batch: Sequence[Waiting], outcomes: Sequence[StoredEvent | Exception]) -> None:
        for _, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, StoredEvent):
                self._appended += 1
                self._events += 1
                self._since_forget += 1
                self._hand_over(outcome)
            else:
                self._failed += 1
            self._queue.settle_first(outcome)

    def _hand_over(self, event: StoredEvent) -> None:
        self._last_offset = event.offset
        for receive in tuple(self.on_commit):
            try:
                receive(event)
            except Exception:
                # The event is committed: neither its creator nor the next event may suffer from who listens.
                self._hand_over_failures += 1
                logger.exception("hand_over_failed", event_id=event.event_id, receiver=repr(receive))

    async def _forget(self) -> float:
        """Remove some expired events and return the seconds until it is time to look again."""
        self._since_forget = 0
        removed = await self._retire(self._retention, int(self._clock() * 1000))
        self._events -= removed
        self._retired += removed
        return 0.0 if removed == MAX_RETIRED else RETENTION_INTERVAL

    def _refuse_queued(self) -> None:
        refused = StoreStopped("the store was stopped before the event was written; it was not stored")
        while self._queue:
            self._failed += 1
            self._queue.settle_first(refused)
