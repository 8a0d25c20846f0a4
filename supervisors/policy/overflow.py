"""What a full mailbox does with one more message.

===========  ===========================================
overflow     a message that comes when the mailbox is full
===========  ===========================================
wait         its sender waits for room
refuse       its sender is told (``MailboxFull``)
drop_oldest  the oldest waiting message makes room
drop_newest  it is dropped itself
===========  ===========================================

Both drops are counted, and a dropped call is told to its caller.
"""

from __future__ import annotations

import enum

from ..spec import Overflow


class Verdict(enum.Enum):
    """What to do with the message at hand."""

    ACCEPT = enum.auto()
    WAIT = enum.auto()
    REFUSE = enum.auto()
    EVICT_OLDEST = enum.auto()
    DROP = enum.auto()


_WHEN_FULL: dict[Overflow, Verdict] = {
    "wait": Verdict.WAIT,
    "refuse": Verdict.REFUSE,
    "drop_oldest": Verdict.EVICT_OLDEST,
    "drop_newest": Verdict.DROP,
}


def admit(overflow: Overflow, depth: int, capacity: int) -> Verdict:
    """The verdict for one more message when *depth* of *capacity* places are taken."""
    return Verdict.ACCEPT if depth < capacity else _WHEN_FULL[overflow]
