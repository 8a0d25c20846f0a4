"""Where a page of stored events begins and ends, and whether a replay can tell the whole story.

Events are numbered by `offset` within an `epoch`, without holes: what failed to be stored takes no number,
and only the oldest are ever removed. A cursor is ``<epoch>:<offset>`` of the last event seen, the same text
as the id of a server-sent event. It names a position, not a row: it stays good while events arrive, and after
its event is removed.
"""

from collections.abc import Callable, Sequence

import attrs

from realtime.fields import BadField, shown


@attrs.frozen
class Cursor:
    """The position after the event with this *offset*."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """The cursor written as *text*, or None if it is none; only what `__str__` writes is one."""
        epoch, colon, digits = text.rpartition(":")
        # Nineteen digits hold every 64-bit offset; more would cost time and mean nothing.
        if not colon or len(digits) > 19 or not digits.isdecimal() or str(int(digits)) != digits:
            return None
        return cls(epoch, int(digits))


def offset_after(after: str | None, *, epoch: str, last_offset: int, offset_of: Callable[[str], int | None]) -> int:
    """The offset behind which a page begins; 0 is the beginning.

    Args:
      after: a cursor or an event id, as a client gave it.
      offset_of: looks an event id up.

    Raises BadField, naming ``after``, for a cursor of another epoch or from the future and for an unknown
    event id: guessing a position could skip events in silence.
    """
    if after is None:
        return 0
    cursor = Cursor.parse(after)
    offset = offset_of(after) if cursor is None else cursor.offset
    if offset is None or offset > last_offset or (cursor is not None and cursor.epoch != epoch):
        raise BadField("after", f"after must be a cursor of this store or the id of an event in it, got {shown(after)}")
    return offset


def next_cursor(epoch: str, found: Sequence[int], limit: int) -> str | None:
    """The cursor behind a page of *limit* events, given the offsets *found* when one more was asked for.

    None when nothing later exists yet.
    """
    return str(Cursor(epoch, found[limit - 1])) if len(found) > limit else None


def can_replay(asked: Cursor, *, upto: int, limit: int, epoch: str, last_offset: int) -> bool:
    """Whether what lies after *asked* up to and with the offset *upto* may be replayed at all."""
    return asked.epoch == epoch and asked.offset <= upto <= last_offset and upto - asked.offset <= limit


def is_whole(found: Sequence[int], *, offset: int, upto: int) -> bool:
    """Whether *found* holds every offset after *offset* up to and with *upto*, in order."""
    return list(found) == list(range(offset + 1, upto + 1))
