"""The interfaces behind which storage and distribution can be exchanged, and the facts that pass through them.

Facts are checked when they are built, with a `realtime.fields.BadField` that names the field; `realtime.fields.build`
makes them of decoded JSON and refuses what it does not know.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

import attrs
import msgspec
import trio

from realtime.fields import BadField, build, raise_first, shown
from realtime.policy import checks, timestamps
from realtime.policy.checks import Severity
from realtime.policy.histogram import Histogram


class StoreError(Exception):
    """The store could not do what it was asked."""


class StoreStopped(StoreError):
    """The store is not running, and nobody promised that it will again. Nothing was stored."""


class StoreBusy(StoreError):
    """Too many events wait to be stored. Nothing was stored."""


class AppendFailed(StoreError):
    """An event was not acknowledged; the cause says why.

    After a failure of the whole medium it may be found in the store nonetheless: nobody can tell how far the write got.
    """

    def __init__(self, event_id: str) -> None:
        super().__init__(event_id)
        self.event_id = event_id

    def __str__(self) -> str:
        return f"event {self.event_id} could not be stored: {self.__cause__}"


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen
class NewEvent:
    """An event as its creator states it.

    *type* is 1 to 128 characters of ``[A-Za-z0-9_.:-]``; *data* any JSON object of at most 256 KiB; *source* at most
    256 characters; at most 32 *tags* of 1 to 64 characters. *data* is written down as JSON here and now: changing the
    dict later changes nothing that is stored or sent.
    """

    type: checks.TypeName = attrs.field(validator=checks.is_type)
    data: dict[str, Any] = attrs.field(factory=dict, validator=checks.is_json_object)
    severity: Severity = attrs.field(default="info", validator=checks.is_severity)
    source: checks.Source | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_source))
    tags: Annotated[tuple[checks.Tag, ...], msgspec.Meta(max_length=checks.MAX_TAGS)] = attrs.field(
        default=(), converter=_as_tuple, validator=checks.are_tags
    )
    data_json: str = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # Validators have run by now, defaults that depend on other fields would come before them.
        object.__setattr__(self, "data_json", checks.json_text("data", self.data))


@attrs.frozen
class StoredEvent:
    """An event that is committed: it has an id and a place in the order of all events.

    Attributes:
      event_id: a ULID; ids ascend as offsets do.
      offset: its number within the store's epoch, from 1 on and without holes.
      timestamp: when it was accepted, ISO 8601 in UTC with milliseconds.
    """

    event_id: str
    offset: int
    type: str
    timestamp: str
    severity: Severity
    source: str | None
    tags: tuple[str, ...]
    data: dict[str, Any]

    def to_wire(self) -> dict[str, Any]:
        """The event as clients see it; its offset travels on the message around it."""
        return {
            "event_id": self.event_id,
            "type": self.type,
            "timestamp": self.timestamp,
            "severity": self.severity,
            "source": self.source,
            "tags": list(self.tags),
            "data": self.data,
        }


@attrs.frozen
class EventQuery:
    """Which events are wanted, oldest first.

    Attributes:
      after: begin behind this cursor or event id.
      limit: at most so many, 1 to 1000.
      type, severity, tag: exactly this one.
      since, until: ISO 8601, accepted at or after *since* and before *until*; UTC unless it says otherwise.
      q: found in the type, the source, a tag or the data as JSON; ASCII letters match in either case.
    """

    after: checks.Search | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_search))
    limit: checks.Limit = attrs.field(default=100, validator=checks.is_limit)
    type: checks.TypeName | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_type))
    since: checks.Moment | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_moment))
    until: checks.Moment | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_moment))
    severity: Severity | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_severity))
    tag: checks.Tag | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_tag))
    q: checks.Search | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_search))

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> Self:
        """The query in the parameters of a URL; BadField for an unknown name or a bad value."""
        values: dict[str, object] = dict(params)
        limit = params.get("limit")
        if limit is not None:
            # Four digits are enough for the bound; more could take int() arbitrarily long.
            if not (limit.isascii() and limit.isdecimal() and len(limit) <= 4):
                raise BadField("limit", f"limit must be a whole number from 1 to {checks.MAX_PAGE}, got {shown(limit)}")
            values["limit"] = int(limit)
        query = build(cls, values, raise_first)
        assert query is not None  # raise_first raised otherwise
        return query

    @property
    def since_ms(self) -> int | None:
        """*since* in milliseconds since 1970."""
        return None if self.since is None else timestamps.to_ms(self.since)

    @property
    def until_ms(self) -> int | None:
        """*until* in milliseconds since 1970."""
        return None if self.until is None else timestamps.to_ms(self.until)


@attrs.frozen
class EventPage:
    """Events in the order of their offsets, and the cursor behind them: None when nothing later exists yet.

    A page may be shorter than its limit, even empty, and yet have a cursor: a search is cut into pieces.
    """

    events: tuple[StoredEvent, ...]
    next: str | None


@attrs.frozen
class StoreStatistics:
    """Figures of a store since it was made, except *events* and *file_bytes*, which are those of its contents.

    Attributes:
      queued: events that wait for their commit, of at most *capacity*.
      failed: events that were refused or fell to a failed commit.
      last_commit_s: seconds that the last commit took, its way to the worker thread included; None before the first.
      hand_over_failures: exceptions raised by functions in ``on_commit``.
    """

    events: int
    last_offset: int
    appended: int
    failed: int
    retired: int
    batches: int
    queued: int
    capacity: int
    last_commit_s: float | None
    file_bytes: int
    hand_over_failures: int


class EventStore(abc.ABC):
    """Keeps events and numbers them in the order of their commits.

    The object outlives its child: whoever holds it need not know that `run` crashed and was started again.

    Attributes:
      on_commit: functions that take each committed event, in commit order, once each, synchronously on the Trio thread
        after the commit and before its creator is told. One that raises is logged and counted, and holds up nothing.
      commit_seconds: how long commits took, their way to a worker thread included.
    """

    on_commit: list[Callable[[StoredEvent], None]]
    commit_seconds: Histogram

    @property
    @abc.abstractmethod
    def epoch(self) -> str:
        """Names the numbering of offsets; kept across restarts. StoreStopped before the first `run` is up."""

    @property
    @abc.abstractmethod
    def last_offset(self) -> int:
        """The offset of the last event handed to `on_commit`, 0 if there never was one. StoreStopped as for `epoch`."""

    @abc.abstractmethod
    async def append(self, event: NewEvent) -> StoredEvent:
        """Store *event* and return once it is committed durably.

        A checkpoint on every call; waits while the queue is full. If cancelled, the event may still be stored. While
        the child is down after a crash the event waits for the next one.

        Raises:
          StoreStopped: the store is not running; nothing was stored.
          AppendFailed: the event could not be stored, for the reason in ``__cause__``.
        """

    @abc.abstractmethod
    def append_from_thread(self, event: NewEvent, *, timeout: float) -> StoredEvent:
        """As `append`, from any thread but the event loop's; blocks for at most *timeout* seconds.

        Raises:
          TimeoutError: it may still be stored.
          StoreBusy: too many events wait to be stored; nothing was stored.
          StoreStopped, AppendFailed: as `append`.
          RuntimeError: this is the loop's own thread.
        """

    @abc.abstractmethod
    async def get(self, event_id: str) -> StoredEvent | None:
        """The event with this id, or None. StoreStopped if the store is not running."""

    @abc.abstractmethod
    async def query(self, query: EventQuery) -> EventPage:
        """A page of events.

        Raises:
          BadField: ``query.after`` names no position in this store.
          StoreStopped: the store is not running.
        """

    @abc.abstractmethod
    async def since(self, epoch: str, offset: int, upto: int, limit: int) -> tuple[StoredEvent, ...] | None:
        """Every event after *offset* up to and with *upto*, or None if that whole story cannot be told.

        It cannot when *epoch* is another, when the offsets are not in order or not yet reached, when more than *limit*
        events lie between them, and when some were removed since. StoreStopped if the store is not running.
        """

    @abc.abstractmethod
    def statistics(self) -> StoreStatistics:
        """A frozen snapshot of the figures."""

    @abc.abstractmethod
    async def run(
        self,
        *,
        stopping: trio.Event | None = None,
        task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until *stopping* is set or the task is cancelled: the supervised child, one at a time.

        Reports the store itself as started once it can serve. What is queued when it is asked to stop is committed
        before it returns. When it crashes, the events of the failed commit get the failure as their cause, and what
        else is queued waits for the next `run`.
        """


@attrs.frozen
class BackplaneStatistics:
    """Figures of a backplane since it was made: messages and bytes handed over to it."""

    published: int
    published_bytes: int


class Backplane(abc.ABC):
    """Carries encoded messages from the process that publishes them to every process that has subscribers."""

    @abc.abstractmethod
    def publish_nowait(self, topic: str, frame: bytes) -> None:
        """Hand *frame*, a message encoded for the wire and opaque here, to the subscribers of *topic*. Never blocks."""

    @abc.abstractmethod
    def statistics(self) -> BackplaneStatistics:
        """A frozen snapshot of the figures."""

    @abc.abstractmethod
    async def run(
        self,
        *,
        stopping: trio.Event | None = None,
        task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep the connection to the engine until *stopping* is set or the task is cancelled: the supervised child."""
