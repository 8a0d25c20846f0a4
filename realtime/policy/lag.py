"""What becomes of a message for a client that lags behind, so that its outbox is full.

| policy        | the new message fits        | it does not fit                                  |
|---------------|-----------------------------|--------------------------------------------------|
| `drop_oldest` | queued                      | as many of the oldest of its own topic go as it  |
|               |                             | needs; if that cannot help, or none is queued,   |
|               |                             | the new one goes                                 |
| `drop_newest` | queued                      | the new one goes                                 |
| `conflate`    | queued, in place of the one | as `drop_oldest`, with the room counted of the   |
|               | of its key, at the end      | one that it replaces                             |
| `disconnect`  | queued                      | the connection is closed with 4000               |
| `wait`        | queued                      | held while its publisher waits; if none waits,   |
|               |                             | as `disconnect`                                  |

One topic never costs another one a message. The newer of two conflated messages takes its place at the end,
not the older one's: it is as new as that, and what else was published meanwhile came before it. What is
replaced is no loss, what is dropped is one, and is told to the client as a gap.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs


class Overflow(enum.StrEnum):
    """What a topic does about a client whose outbox is full."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    CONFLATE = "conflate"
    DISCONNECT = "disconnect"
    WAIT = "wait"


@attrs.frozen
class Room:
    """What an outbox has left before its bounds; never negative."""

    messages: int = attrs.field(validator=attrs.validators.ge(0))
    bytes: int = attrs.field(validator=attrs.validators.ge(0))

    def fits(self, size: int) -> bool:
        """Whether one more message of *size* bytes stays within both bounds."""
        return self.messages >= 1 and self.bytes >= size


@attrs.frozen
class Verdict:
    """What to do, in this order: replace, evict, then queue, hold, disconnect or else let the message go."""

    queue: bool = False
    """The new message is queued, at the end."""
    replace: bool = False
    """The queued message of the same key goes first, and that is no loss."""
    evict: int = 0
    """So many of the oldest queued messages of its own topic, without the replaced one, are dropped."""
    hold: bool = False
    """The new message waits outside until there is room."""
    disconnect: bool = False
    """The connection is too slow for this topic and is closed."""

    @property
    def dropped(self) -> int:
        """How many messages this verdict loses; those of a connection that is closed are not counted."""
        return self.evict + (not (self.queue or self.hold or self.disconnect))


QUEUE: Final = Verdict(queue=True)
REPLACE: Final = Verdict(queue=True, replace=True)
REFUSE: Final = Verdict()
HOLD: Final = Verdict(hold=True)
DISCONNECT: Final = Verdict(disconnect=True)


def judge(
    overflow: Overflow,
    size: int,
    room: Room,
    *,
    own: Iterable[int] = (),
    replaces: int | None = None,
    patient: bool = False,
) -> Verdict:
    """Decide about a new message of *size* bytes under the policy *overflow* of its topic.

    Args:
      room: what is left now, everything queued counted.
      own: sizes in bytes of the topic's queued messages, oldest first, without the one it replaces; read only
        if the message does not fit.
      replaces: size in bytes of the queued message of the same key, if there is one. Counts for `conflate`
        alone.
      patient: whether a publisher waits for this message. Counts for `wait` alone.
    """
    replace = False
    if replaces is not None and overflow is Overflow.CONFLATE:
        replace = True
        room = Room(room.messages + 1, room.bytes + replaces)
    if room.fits(size):
        return REPLACE if replace else QUEUE
    match overflow:
        case Overflow.DROP_NEWEST:
            return REFUSE
        case Overflow.DISCONNECT:
            return DISCONNECT
        case Overflow.WAIT:
            return HOLD if patient else DISCONNECT
        case Overflow.DROP_OLDEST | Overflow.CONFLATE:
            evicted = _needed(size, room, own)
            return REFUSE if evicted is None else Verdict(queue=True, replace=replace, evict=evicted)


def _needed(size: int, room: Room, own: Iterable[int]) -> int | None:
    """How many of *own*, from the oldest, have to go before *size* bytes fit; None if all are not enough."""
    lacking = size - room.bytes
    for count, freed in enumerate(own, 1):
        lacking -= freed
        if lacking <= 0:
            return count
    return None
