"""What one client may ask of us.

- Bad messages: `MAX_BAD_MESSAGES` within `BAD_MESSAGES_SECONDS` are answered with an error each; the next one
  closes with 4400. A client with one bug is told what it is, one that is nothing but wrong is sent away.
- Messages, good and bad: at most `max_inbound_per_second` within any second; the next one closes with 4429.
- Topics: at most `max_topics_per_connection`; a further one is refused, and nothing is closed.

Both windows slide: they look back from each message, so no boundary lets twice the number pass.
"""

from __future__ import annotations

from typing import Final

import attrs

MAX_BAD_MESSAGES: Final = 20
BAD_MESSAGES_SECONDS: Final = 10.0
INBOUND_SECONDS: Final = 1.0


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


def bad_messages() -> SlidingWindow:
    """The window for a connection's malformed messages."""
    return SlidingWindow(MAX_BAD_MESSAGES, BAD_MESSAGES_SECONDS)


def inbound(max_inbound_per_second: int) -> SlidingWindow:
    """The window for all messages of a connection."""
    return SlidingWindow(max_inbound_per_second, INBOUND_SECONDS)


def may_subscribe(subscribed: int, max_topics: int) -> bool:
    """Whether a connection with *subscribed* topics may have one more."""
    return subscribed < max_topics
