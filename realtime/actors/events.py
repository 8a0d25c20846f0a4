"""Events: stored, logged, then published to whoever listens.

The one rule: an event is what the store has committed. Creating one therefore waits for the commit and for nothing
else; publishing follows the order of the commits, and what goes wrong there is never the creator's concern.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, overload

import attrs
import structlog

from realtime.policy.checks import Severity
from realtime.ports import EventStore, NewEvent, StoredEvent

logger = structlog.get_logger("realtime.events")


@attrs.frozen
class EventStatistics:
    """Figures of an `EventManager` since it was made.

    Attributes:
      created: events that were stored for a creator here.
      published: committed events that were handed on, whoever created them.
      publish_failures: events whose publication raised; they are stored all the same.
    """

    created: int
    published: int
    publish_failures: int


class EventManager:
    """Creates events in *store*, which has a running child, and publishes every event that it commits.

    Args:
      publish: called with each committed event, in commit order, on the Trio thread; must not block. None: nobody is
        told.
    """

    def __init__(self, store: EventStore, publish: Callable[[StoredEvent], object] | None = None) -> None:
        self._store = store
        self._created = 0
        self._published = 0
        self._publish_failures = 0
        if publish is not None:
            store.on_commit.append(functools.partial(self._publish_committed, publish))

    @overload
    async def create_event(self, event: NewEvent, /) -> StoredEvent: ...

    @overload
    async def create_event(
        self,
        /,
        *,
        type: str,
        data: dict[str, Any] = ...,
        severity: Severity = ...,
        source: str | None = ...,
        tags: Sequence[str] = ...,
    ) -> StoredEvent: ...

    async def create_event(self, event: NewEvent | None = None, /, **fields: Any) -> StoredEvent:
        """Store an event, given as it is or by its fields, and return it once it is committed durably.

        A checkpoint on every call; waits while the store's queue is full. If cancelled, the event may still be stored
        and published.

        Raises:
          realtime.fields.BadField: a field does not fit; nothing was stored.
          realtime.ports.StoreStopped: the store is not running; nothing was stored.
          realtime.ports.AppendFailed: the event could not be stored, for the reason in ``__cause__``.
        """
        stored = await self._store.append(NewEvent(**fields) if event is None else event)
        self._created += 1
        logger.info(
            "event_created",
            event_id=stored.event_id,
            event_type=stored.type,
            severity=stored.severity,
            source=stored.source,
            offset=stored.offset,
        )
        return stored

    def statistics(self) -> EventStatistics:
        """A frozen snapshot of the figures."""
        return EventStatistics(self._created, self._published, self._publish_failures)

    def _publish_committed(self, publish: Callable[[StoredEvent], object], event: StoredEvent) -> None:
        try:
            publish(event)
        except Exception:
            self._publish_failures += 1
            logger.exception("event_publish_failed", event_id=event.event_id, offset=event.offset)
        else:
            self._published += 1
