"""What one client may ask of us.

- Bad messages: `MAX_BAD_MESSAGES` within `BAD_MESSAGES_SECONDS` are answered with an error each; the next one
  closes with 4400. A client with one bug is told what it is, one that is nothing but wrong is sent away.
- Messages, good and bad: at most `max_inbound_per_second` within any second; the next one closes with 4429.
- Control frames and fragments: `FRAMES_PER_MESSAGE` for each message that is allowed, since neither is one; beyond
  that 4429 as well. A client may send Pings and may cut its messages up, but it cannot keep us busy with nothing.
- Messages and requests of one principal, over all its connections: `auth.max_inbound_per_second`, again after a
  burst of one second's worth; 4429 and 429.
- Topics: at most `max_topics_per_connection`; a further one is refused, and nothing is closed.

The windows of messages slide: they look back from each message, so no boundary lets twice the number pass. Frames
are too many to remember each: after a burst of one second's worth they have to keep the pace.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

import attrs

MAX_BAD_MESSAGES: Final = 20
BAD_MESSAGES_SECONDS: Final = 10.0
INBOUND_SECONDS: Final = 1.0
# 64 KiB, the longest message by default, in pieces of 4 KiB, and a few Pings and Pongs beside them.
FRAMES_PER_MESSAGE: Final = 20


@attrs.define
class SlidingWindow:
    """At most *limit* events in any *seconds* seconds."""

    limit: int = attrs.field(validator=attrs.validators.ge(0))
    seconds: float = attrs.field(validator=attrs.validators.gt(0))
    # A list, not a deque: ten thousand idle connections have two of these each, and an empty deque alone
    # takes 600 bytes. Cutting its head moves at most `limit` references.
    _at: list[float] = attrs.field(factory=list, init=False)

    def allow(self, now: float) -> bool:
        """Count an event at *now* (seconds, monotonic); False means that it is one too many."""
        self._at.append(now)
        expired = 0
        while now - self._at[expired] > self.seconds:
            expired += 1
        # Beyond one too many nothing need be remembered; a flood must not grow what watches it.
        del self._at[: max(expired, len(self._at) - self.limit - 1)]
        return len(self._at) <= self.limit


class Pace:
    """*per_second* events at once, then as many each second: the generic cell rate algorithm of ITU-T I.371."""

    __slots__ = ("_free_at", "_interval")

    def __init__(self, per_second: float) -> None:
        if per_second <= 0:
            raise ValueError(f"per_second must be above 0, not {per_second}")
        self._interval = 1 / per_second
        # When all that was counted would be over, had it come evenly.
        self._free_at = -math.inf

    def allow(self, now: float) -> bool:
        """Count an event at *now* (seconds, monotonic); False means that it is one too many, and not counted."""
        free_at = max(self._free_at, now) + self._interval
        # Half an interval of tolerance: the sum of many small floats is not exact.
        if free_at - now > 1 + self._interval / 2:
            return False
        self._free_at = free_at
        return True

    def rested(self, now: float) -> bool:
        """Whether nothing that was counted matters any more at *now*."""
        return self._free_at <= now


def bad_messages() -> SlidingWindow:
    """The window for a connection's malformed messages."""
    return SlidingWindow(MAX_BAD_MESSAGES, BAD_MESSAGES_SECONDS)


def inbound(max_inbound_per_second: int) -> SlidingWindow:
    """The window for all messages of a connection."""
    return SlidingWindow(max_inbound_per_second, INBOUND_SECONDS)


def may_subscribe(subscribed: int, max_topics: int) -> bool:
    """Whether a connection with *subscribed* topics may have one more."""
    return subscribed < max_topics


class Paces:
    """A `Pace` for each key that comes, remembered for as long as it matters."""

    __slots__ = ("_paces", "_per_second", "_sweep_at")

    # Keys below which none is looked for that may be forgotten: some 200 KiB.
    _FEW: Final = 1000

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._paces: dict[Hashable, Pace] = {}
        self._sweep_at = self._FEW

    def allow(self, key: Hashable, now: float) -> bool:
        """Count an event of *key* at *now* (seconds, monotonic); False means that it is one too many."""
        pace = self._paces.get(key)
        if pace is None:
            if len(self._paces) >= self._sweep_at:
                self._sweep(now)
            pace = self._paces[key] = Pace(self._per_second)
        return pace.allow(now)

    def _sweep(self, now: float) -> None:
        """Forget who has been quiet for so long that it makes no difference; those who have not bound the rest."""
        self._paces = {key: pace for key, pace in self._paces.items() if not pace.rested(now)}
        self._sweep_at = max(self._FEW, 2 * len(self._paces))
