"""Events: stored, logged, then published to whoever listens.

The one rule: an event is what the store has committed. Creating one therefore waits for the commit and for nothing
else; publishing follows the order of the commits, and what goes wrong there is never the creator's concern.
"""

import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, overload

import attrs
import structlog
import trio

from realtime.actors.following import ALL, Follower, following
from realtime.policy.checks import Severity
from realtime.policy.pages import Cursor
from realtime.policy.retention import Retention
from realtime.policy.selection import Selection
from realtime.policy.typed import EventTypes, GenericEvent, to_data
from realtime.policy.typed import event_type as event_type
from realtime.ports import EventStore, NewEvent, StoredEvent
from realtime.storage import open_store
from supervisors import Mailbox, MailboxSpec

FROM_THREAD_TIMEOUT: Final = 10.0
"""Seconds that a thread waits for the store: longer than it takes to restart one."""

T = TypeVar("T")
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

    Needs neither hub nor server: `open_events` runs one in any Trio program.

    Args:
      publish: called with each committed event, in commit order, on the Trio thread; must not block. None: nobody is
        told.
      types: classes of events, see `realtime.policy.typed.event_type`; more can be registered later.
    """

    def __init__(
        self,
        store: EventStore,
        publish: Callable[[StoredEvent], object] | None = None,
        *,
        types: Iterable[type] = (),
    ) -> None:
        self.store = store
        self._types = EventTypes(types)
        self._counting = threading.Lock()  # events are created in threads too
        self._created = 0
        self._published = 0
        self._publish_failures = 0
        if publish is not None:
            store.on_commit.append(functools.partial(self._publish_committed, publish))

    # --- classes of events ------------------------------------------------------------------------------------------

    def register(self, cls: type[T]) -> type[T]:
        """Know the class *cls* of events; from now on nobody can create an event of its type that does not fit.

        Raises:
          TypeError: it is not marked by `realtime.policy.typed.event_type`.
          ValueError: its type is another class's.
        """
        return self._types.register(cls)

    def decode(self, event: StoredEvent) -> Any:
        """What happened, as an instance of its class; a `GenericEvent` for a type without one.

        Raises:
          BadField: it was stored as something that its class does not take (any more).
        """
        return self._types.decode(event.type, event.data)

    # --- creating ---------------------------------------------------------------------------------------------------

    @overload
    async def create_event(self, event: NewEvent, /) -> StoredEvent: ...

    @overload
    async def create_event(
        self,
        event: object,
        /,
        *,
        severity: Severity | None = ...,
        source: str | None = ...,
        tags: Sequence[str] = ...,
    ) -> StoredEvent: ...

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

    async def create_event(self, event: object = None, /, **fields: Any) -> StoredEvent:
        """Store an event and return it once it is committed durably.

        It is given as an instance of a registered class, as a `GenericEvent`, by its fields, or as a `NewEvent`.

        A checkpoint on every call; waits while the store's queue is full. If cancelled, the event may still be stored
        and published.

        Raises:
          realtime.fields.BadField: a field does not fit; nothing was stored.
          realtime.ports.StoreStopped: the store is not running; nothing was stored.
          realtime.ports.AppendFailed: the event could not be stored, for the reason in ``__cause__``.
        """
        return self._log_created(await self.store.append(self._new(event, fields)))

    def create_event_from_thread(
        self, event: object = None, /, *, timeout: float = FROM_THREAD_TIMEOUT, **fields: Any
    ) -> StoredEvent:
        """As `create_event`, from any thread but the event loop's; blocks for *timeout* seconds at most.

        Raises:
          TimeoutError: it was not committed in time; it may still be stored.
          realtime.ports.StoreBusy: too many events from threads wait already; nothing was stored.
          RuntimeError: this is the loop's own thread, which must not block.
          realtime.fields.BadField, realtime.ports.StoreStopped, realtime.ports.AppendFailed: as `create_event`.
        """
        return self._log_created(self.store.append_from_thread(self._new(event, fields), timeout=timeout))

    def _new(self, event: object, fields: dict[str, Any]) -> NewEvent:
        if isinstance(event, NewEvent):
            if fields:
                raise TypeError(f"a NewEvent says everything itself; {', '.join(fields)} cannot be given beside it")
            new = event
        elif event is None:
            new = NewEvent(**fields)
        elif isinstance(event, GenericEvent):
            new = NewEvent(type=event.type, data=event.data, **_given(fields))
        else:
            facts = self._types.facts(event)
            # Its validators have passed it when it was made.
            return NewEvent(type=facts.name, data=to_data(event), **({"severity": facts.severity} | _given(fields)))
        self._types.check(new.type, new.data)
        return new

    def _log_created(self, stored: StoredEvent) -> StoredEvent:
        with self._counting:
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

    # --- receiving --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def subscribe(
        self,
        selection: Selection = ALL,
        *,
        capacity: int = 1000,
        overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
    ) -> Iterator[Mailbox[StoredEvent]]:
        """Receive the events that are committed from now on, as a memory channel of at most *capacity*.

        A commit waits for nobody: who is too slow loses events as *overflow* says, and finds their number in the
        ``dropped`` of the channel's ``statistics()``. Whoever must not lose any uses `follow`. The channel is closed at
        the end of the block.

        Raises:
          ValueError: *capacity* or *overflow* is none of these.
        """
        if overflow not in ("drop_oldest", "drop_newest"):
            raise ValueError(f"overflow must be 'drop_oldest' or 'drop_newest', got {overflow!r}: no commit can wait")
        channel: Mailbox[StoredEvent] = Mailbox(MailboxSpec(capacity, overflow), "events")

        def receive(event: StoredEvent) -> None:
            if selection.wants(event.type, event.severity, event.tags):
                channel.send_nowait(event)

        self.store.on_commit.append(receive)
        try:
            yield channel
        finally:
            self.store.on_commit.remove(receive)
            channel.close()

    def follow(
        self, selection: Selection = ALL, *, after: Cursor | None = None
    ) -> contextlib.AbstractContextManager[Follower]:
        """Receive every event behind the position *after* (None: from the oldest on), at one's own pace.

        Nothing is kept in memory for whoever is slow: the store itself is the buffer.
        """
        return following(self.store, selection, after=after)

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


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    for name in ("type", "data"):
        if name in fields:
            raise TypeError(f"the event itself says its {name}; give it without {name}=")
    return {name: value for name, value in fields.items() if value is not None}


@contextlib.asynccontextmanager
async def open_events(
    path: str | Path, *, types: Iterable[type] = (), retention: Retention | None = None
) -> AsyncIterator[EventManager]:
    """An `EventManager` for any Trio program, with its events in the file *path*, while the block runs.

    At the end what is queued is committed. In a tree of one's own the store's ``run`` is a child instead, as in
    `realtime.tree`, and is restarted when it crashes; here its crash ends the block.

    Args:
      path: of the SQLite file, made if it is missing; ``:memory:`` keeps the events while the block runs.

    Raises:
      realtime.ports.StoreError: the file cannot be used; wrapped in an exception group, as all that a nursery raises.
    """
    store = open_store(str(path), Retention() if retention is None else retention)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(store.run, stopping=stopping), name="store")
        try:
            yield EventManager(store, types=types)
        finally:
            stopping.set()
