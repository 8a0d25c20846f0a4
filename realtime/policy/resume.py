"""Whether somebody who comes back can be told everything that was missed: all or nothing.

| what was asked for                                   | what is sent                          | `recovered` |
|------------------------------------------------------|---------------------------------------|-------------|
| nothing                                              | nothing                               | false       |
| a position of another epoch, or one not yet reached  | nothing                               | false       |
| more than `MOST` messages, or more than is kept      | nothing                               | false       |
| more than now fits into the outbox                   | nothing                               | false       |
| anything else                                        | every message missed, none if none was | true       |

A client that is told ``false`` knows that it has to get the present state by other means. One that is told ``true``
relies on having missed nothing, so what cannot be sent whole is not begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from realtime.policy.lag import Room
from realtime.policy.pages import Cursor

MOST: Final = 500
"""Messages that are sent again at most: half of an outbox, so that what happens meanwhile has room behind them."""

CONFIRMATION_BYTES: Final = 512
"""Room for the confirmation that comes first: a topic of 128 characters, an epoch, and the words around them."""


def replay(asked: Cursor | None, *, epoch: str, offset: int, kept: Sequence[int], room: Room) -> int | None:
    """How many of the last messages follow the confirmation; None if all that was missed cannot.

    Args:
      asked: the last message that the client has seen; None if it asks for nothing.
      epoch, offset: where the topic stands now.
      kept: sizes in bytes of the last messages before that, without a hole, oldest first.
      room: what is left of the client's outbox.
    """
    if asked is None or asked.epoch != epoch or not 0 <= asked.offset <= offset:
        return None
    missed = offset - asked.offset
    if missed > min(len(kept), MOST):
        return None
    size = sum(kept[len(kept) - missed :])
    if missed > room.messages or size + CONFIRMATION_BYTES > room.bytes:
        return None
    return missed
