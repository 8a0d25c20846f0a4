"""Events in an SQLite file: one thread at a time writes, others read.

Threads come from Trio's cache by ``trio.to_thread.run_sync``, one call per batch, rather than from a thread of our own
with a queue: the child awaits each call, so calls are one after the other, errors travel, none is ever abandoned, and
what that costs (0.1 ms) is nothing beside a sync. Limiters of its own keep the store apart from samplers that may hold
every token of Trio's.
"""

import os
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import trio

from realtime.policy import pages
from realtime.policy.retention import Retention
from realtime.ports import EventPage, EventQuery, StoredEvent, StoreError
from realtime.storage.commits import CommittingStore
from realtime.storage.database import ReadConnection, WriteConnection
from realtime.storage.lockfile import LockFile
from realtime.storage.medium import Draft, Opened

READERS = 2
"""Reads at a time: a long search beside a resuming client, without taking the cores from the loop."""

T = TypeVar("T")


class SqliteStore(CommittingStore):
    """An `EventStore` in the file *path*; ``<path>.lock`` beside it keeps other processes out while this one runs.

    Args:
      path: of the file, made if it is missing; its folder has to exist.
      options: those of `CommittingStore`.
    """

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(**options)
        # Resolved: two names of one file must meet at one lock.
        self.path = os.path.realpath(path)
        self._lock: LockFile | None = None
        self._writer: WriteConnection | None = None
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(READERS)
        self._idle_readers: list[ReadConnection] = []
        # Reads go on while the child is down; if it never comes back, nobody else closes what they opened.
        weakref.finalize(self, _close_all, self._idle_readers)

    async def get(self, event_id: str) -> StoredEvent | None:
        """See `EventStore.get`. Runs in a thread; a cancelled read ends within milliseconds."""
        return await self._read(lambda reader: reader.get(event_id))

    async def query(self, query: EventQuery) -> EventPage:
        """See `EventStore.query`. Runs in a thread; a cancelled read ends within milliseconds."""
        self._check_readable()
        # Up to what was handed over: a commit can be in the file a moment before anybody was told of it.
        epoch, upto = self.epoch, self.last_offset
        return await self._read(lambda reader: reader.query(query, epoch, upto))

    async def since(self, epoch: str, offset: int, upto: int, limit: int) -> tuple[StoredEvent, ...] | None:
        """See `EventStore.since`. Runs in a thread; a cancelled read ends within milliseconds."""
        self._check_readable()
        asked = pages.Cursor(epoch, offset)
        if not pages.can_replay(asked, upto=upto, limit=limit, epoch=self.epoch, last_offset=self.last_offset):
            await trio.lowlevel.checkpoint()
            return None
        found = await self._read(lambda reader: reader.since(offset, upto))
        return found if pages.is_whole([event.offset for event in found], offset=offset, upto=upto) else None

    # --- the medium, see CommittingStore ----------------------------------------------------------------------------

    async def _open(self, last_offset: int | None) -> Opened:
        return await self._in_writer(self._open_sync, last_offset)

    def _open_sync(self, last_offset: int | None) -> Opened:
        try:
            if self._lock is None:
                self._lock = LockFile(self.path)
            self._writer = WriteConnection(self.path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open {self.path}: {error}") from error
        return self._writer.opened(last_offset)

    async def _commit(self, drafts: Sequence[Draft]) -> Sequence[StoredEvent | Exception]:
        return await self._in_writer(self._open_writer.commit, drafts)

    async def _retire(self, retention: Retention, now_ms: int) -> int:
        return await self._in_writer(self._open_writer.retire, retention, now_ms)

    async def _close(self, *, keep_claim: bool) -> None:
        await self._in_writer(self._close_sync, keep_claim)

    def _close_sync(self, keep_claim: bool) -> None:
        # Readers first: whoever closes last folds the log into the file, which a reader cannot.
        _close_all(self._idle_readers)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock is not None and not keep_claim:
            self._lock.release()
            self._lock = None

    def _file_bytes(self) -> int:
        return 0 if self._writer is None else self._writer.file_bytes

    @property
    def _open_writer(self) -> WriteConnection:
        assert self._writer is not None  # the child commits only between _open and _close
        return self._writer

    async def _in_writer(self, function: Callable[..., T], *args: Any) -> T:
        return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=False, limiter=self._write_limiter)

    async def _read(self, function: Callable[[ReadConnection], T]) -> T:
        self._check_readable()
        return await trio.to_thread.run_sync(
            self._read_sync, function, abandon_on_cancel=False, limiter=self._read_limiter
        )

    def _read_sync(self, function: Callable[[ReadConnection], T]) -> T:
        reader = _pop(self._idle_readers)
        try:
            if reader is None:
                reader = ReadConnection(self.path, trio.from_thread.check_cancelled)
            return function(reader)
        except sqlite3.Error as error:
            if reader is not None:
                reader.close()
                reader = None
            raise StoreError(f"cannot read {self.path}: {error}") from error
        finally:
            if reader is not None:
                self._idle_readers.append(reader)
            if not self._readable:  # stopped meanwhile
                _close_all(self._idle_readers)


def _pop(readers: list[ReadConnection]) -> ReadConnection | None:
    try:
        return readers.pop()  # atomic, while a look at the length before it could be out of date
    except IndexError:
        return None


def _close_all(readers: list[ReadConnection]) -> None:
    while (reader := _pop(readers)) is not None:
        reader.close()
