"""What passes between the child of a store and its medium."""

from collections.abc import Sequence

import attrs
import msgspec

from realtime.policy import timestamps, ulid
from realtime.ports import NewEvent, StoredEvent

MAX_RETIRED = 500
"""Events removed in one step: some milliseconds, the time a commit may have to wait for it."""


@attrs.frozen
class Draft:
    """An accepted event, about to be committed: all but its offset is known."""

    event: NewEvent
    event_id: str
    timestamp_ms: int

    @property
    def behind_ms(self) -> int:
        """By how much the clock was behind the time in the id: above 0 after it was set back."""
        return ulid.time_ms(self.event_id) - self.timestamp_ms

    def stored(self, offset: int) -> StoredEvent:
        """The event once it is committed as *offset*, equal to what the store will read back."""
        return StoredEvent(
            event_id=self.event_id,
            offset=offset,
            type=self.event.type,
            timestamp=timestamps.to_iso(self.timestamp_ms),
            severity=self.event.severity,
            source=self.event.source,
            tags=self.event.tags,
            data=msgspec.json.decode(self.event.data_json),
        )


@attrs.frozen
class Opened:
    """What a medium holds when it is opened. *unseen*: events after the last that this process handed over."""

    epoch: str
    last_offset: int
    last_event_id: str | None
    events: int
    unseen: Sequence[StoredEvent] = ()
