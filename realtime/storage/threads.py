"""The way into a store from other threads: each waits for its own event, with a deadline that nothing can outlast."""

import threading
from concurrent.futures import Future
from typing import Final

import trio

from realtime.ports import NewEvent, StoreBusy, StoredEvent, StoreStopped
from realtime.storage.queue import CommitQueue

MAX_FROM_THREADS: Final = 512
"""Events on their way from threads: half of what waits for a commit, so that they never shut out async code."""


class ThreadDoor:
    """Takes events from any thread but the loop's into *queue*.

    No task serves it: the event is queued by a callback on the loop's thread and the one that commits it answers. So
    there is nothing to cancel, and whoever waits no longer leaves nothing behind.
    """

    def __init__(self, queue: CommitQueue, capacity: int = MAX_FROM_THREADS) -> None:
        self._queue = queue
        self._capacity = capacity
        self._free = threading.BoundedSemaphore(capacity)
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop_thread: int | None = None

    def open(self) -> None:
        """To be called on the loop's thread, by the child of the store."""
        self._token = trio.lowlevel.current_trio_token()
        self._loop_thread = threading.get_ident()

    def append(self, event: NewEvent, timeout: float) -> StoredEvent:
        """Store *event* and return it once it is committed; blocks for *timeout* seconds at most.

        Raises:
          TimeoutError: it is not known what became of it; it may still be stored.
          StoreBusy: too much waits already; nothing was stored.
          StoreStopped, AppendFailed: as `realtime.ports.EventStore.append`.
          RuntimeError: this is the loop's own thread, which must not block.
        """
        if threading.get_ident() == self._loop_thread:
            raise RuntimeError("this is the event loop's thread, which must not block; await create_event() instead")
        if self._token is None:
            raise StoreStopped("the store was not started yet: its child has to run first")
        if not self._free.acquire(blocking=False):
            raise StoreBusy(f"{self._capacity} events from threads wait already; try again in a moment")
        outcome: Future[StoredEvent] = Future()
        outcome.add_done_callback(lambda _: self._free.release())
        try:
            self._token.run_sync_soon(self._queue_one, event, outcome)
        except trio.RunFinishedError:
            outcome.set_exception(StoreStopped("the event loop has ended; the event was not stored"))
        try:
            return outcome.result(timeout)
        except TimeoutError:
            message = f"the event was not committed within {timeout:g} s; it may still be stored"
            raise TimeoutError(message) from None

    def _queue_one(self, event: NewEvent, outcome: Future[StoredEvent]) -> None:
        def settled(result: StoredEvent | Exception) -> None:
            if isinstance(result, StoredEvent):
                outcome.set_result(result)
            else:
                outcome.set_exception(result)

        try:
            self._queue.add_nowait(event, settled)
        except Exception as error:  # nothing may leave a callback of the loop's; the creator gets it
            outcome.set_exception(error)
