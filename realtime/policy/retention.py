"""Which stored events are old enough to go."""

from collections.abc import Iterable
from typing import Any

import attrs

from realtime.fields import greater_than

_POSITIVE: Any = attrs.validators.optional(greater_than(0))

DAY_MS = 24 * 60 * 60 * 1000


@attrs.frozen
class Retention:
    """How long events are kept: at most *days* and at most *events* of them; None keeps all."""

    days: float | None = attrs.field(default=30.0, validator=_POSITIVE)
    events: int | None = attrs.field(default=1_000_000, validator=_POSITIVE)

    def expired_upto(self, oldest: Iterable[tuple[int, int]], *, last_offset: int, now_ms: int) -> int | None:
        """The offset up to which events have expired, or None.

        Args:
          oldest: offset and time (milliseconds since 1970) of the oldest events, in the order of their
            offsets.

        Only ever a prefix: an event behind one that is kept is kept as well, even if a clock that was set
        back dated it earlier, since a story with holes could not be replayed.
        """
        expired = None
        for offset, timestamp_ms in oldest:
            too_many = self.events is not None and offset <= last_offset - self.events
            too_old = self.days is not None and timestamp_ms < now_ms - self.days * DAY_MS
            if not (too_many or too_old):
                break
            expired = offset
        return expired
