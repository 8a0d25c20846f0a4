"""Events in memory: for tests, and for ``path = ":memory:"``. Gone when the process is."""

import bisect
import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import attrs
import msgspec
import trio

from realtime.policy import pages, timestamps
from realtime.policy.retention import Retention
from realtime.ports import EventPage, EventQuery, StoredEvent
from realtime.storage.commits import CommittingStore
from realtime.storage.medium import MAX_RETIRED, Draft, Opened

MAX_EVENTS = 10_000
"""Events kept whatever the settings say: some 10 MB of small ones, since this is a working set and not an archive."""

_OFFSET = attrgetter("offset")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class MemoryStore(CommittingStore):
    """An `EventStore` without a medium. Its contents outlive its child, not the object.

    Args:
      retention: as for every store, but never more than `MAX_EVENTS` (and what arrives between two looks).
      options: those of `CommittingStore`.
    """

    def __init__(self, *, retention: Retention | None = None, **options: Any) -> None:
        kept = Retention() if retention is None else retention
        bound = MAX_EVENTS if kept.events is None else min(kept.events, MAX_EVENTS)
        super().__init__(retention=attrs.evolve(kept, events=bound), **options)
        self._held: list[StoredEvent] = []
        self._by_id: dict[str, StoredEvent] = {}
        self._new_epoch = secrets.token_hex(6)

    async def get(self, event_id: str) -> StoredEvent | None:
        """See `EventStore.get`."""
        await trio.lowlevel.checkpoint()
        self._check_readable()
        return self._by_id.get(event_id)

    async def query(self, query: EventQuery) -> EventPage:
        """See `EventStore.query`."""
        await trio.lowlevel.checkpoint()
        self._check_readable()
        start = pages.offset_after(
            query.after, epoch=self.epoch, last_offset=self._last_offset, offset_of=self._offset_of
        )
        wanted = filter(_filter(query), self._after(start))
        found = tuple(itertools.islice(wanted, query.limit + 1))
        following = pages.next_cursor(self.epoch, [event.offset for event in found], query.limit)
        return EventPage(found[: query.limit], following)

    async def since(self, epoch: str, offset: int, upto: int, limit: int) -> tuple[StoredEvent, ...] | None:
        """See `EventStore.since`."""
        await trio.lowlevel.checkpoint()
        self._check_readable()
        asked = pages.Cursor(epoch, offset)
        if not pages.can_replay(asked, upto=upto, limit=limit, epoch=self.epoch, last_offset=self._last_offset):
            return None
        found = tuple(itertools.islice(self._after(offset), upto - offset))
        return found if pages.is_whole([event.offset for event in found], offset=offset, upto=upto) else None

    async def _open(self, last_offset: int | None) -> Opened:
        await trio.lowlevel.checkpoint()
        last = self._held[-1] if self._held else None
        return Opened(
            epoch=self._new_epoch,
            last_offset=self._last_offset,
            last_event_id=None if last is None else last.event_id,
            events=len(self._held),
        )

    async def _commit(self, drafts: Sequence[Draft]) -> Sequence[StoredEvent | Exception]:
        await trio.lowlevel.checkpoint()
        committed = [draft.stored(self._last_offset + 1 + index) for index, draft in enumerate(drafts)]
        self._held.extend(committed)
        self._by_id.update((event.event_id, event) for event in committed)
        return committed

    async def _retire(self, retention: Retention, now_ms: int) -> int:
        await trio.lowlevel.checkpoint()
        oldest = ((event.offset, timestamps.to_ms(event.timestamp)) for event in self._held[:MAX_RETIRED])
        upto = retention.expired_upto(oldest, last_offset=self._last_offset, now_ms=now_ms)
        if upto is None:
            return 0
        count = bisect.bisect_right(self._held, upto, key=_OFFSET)
        for event in self._held[:count]:
            del self._by_id[event.event_id]
        del self._held[:count]
        return count

    async def _close(self, *, keep_claim: bool) -> None:
        await trio.lowlevel.checkpoint()

    def _offset_of(self, event_id: str) -> int | None:
        event = self._by_id.get(event_id)
        return None if event is None else event.offset

    def _after(self, offset: int) -> Iterator[StoredEvent]:
        return itertools.islice(self._held, bisect.bisect_right(self._held, offset, key=_OFFSET), None)


def _filter(query: EventQuery) -> Callable[[StoredEvent], bool]:
    """The query's conditions as one predicate."""
    # Times of the one written form sort as text.
    since = None if query.since_ms is None else timestamps.to_iso(query.since_ms)
    until = None if query.until_ms is None else timestamps.to_iso(query.until_ms)
    q = None if query.q is None else query.q.translate(_LOWER)

    def matches(event: StoredEvent) -> bool:
        return (
            (query.type is None or event.type == query.type)
            and (since is None or event.timestamp >= since)
            and (until is None or event.timestamp < until)
            and (query.severity is None or event.severity == query.severity)
            and (query.tag is None or query.tag in event.tags)
            and (q is None or any(q in text.translate(_LOWER) for text in _texts(event)))
        )

    return matches


def _texts(event: StoredEvent) -> Iterator[str]:
    """Where `EventQuery.q` looks."""
    yield event.type
    if event.source is not None:
        yield event.source
    yield from event.tags
    yield msgspec.json.encode(event.data).decode()
