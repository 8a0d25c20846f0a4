"""Whether a message to somebody else's server is sent again, and when.

Sent again is what may go better: no connection, no answer in time, 5xx, and of 4xx the four that say so. What the
server has understood and refused it will refuse again.
"""

import email.utils
from collections.abc import Callable
from typing import Final

import attrs

from realtime.fields import at_least, greater_than

LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds that a server may ask us to wait: a wrong clock or a typing error there must not stop us for a year."""

_LATER: Final = frozenset({408, 409, 425, 429})
"""Request Timeout, Conflict (somebody holds what it needs), Too Early, Too Many Requests."""


@attrs.frozen
class Patience:
    """How often and how long to try.

    Attributes:
      attempts: in all; then it is given up.
      first: seconds before the second attempt, at most; then twice that, and so on to *maximum*.
    """

    attempts: int = attrs.field(default=10, validator=at_least(1))
    first: float = attrs.field(default=1.0, validator=greater_than(0))
    maximum: float = attrs.field(default=300.0, validator=greater_than(0))


@attrs.frozen
class Attempt:
    """How one attempt ended.

    Attributes:
      status: of the answer; None if there was none.
      error: what went wrong, for people.
      retry_after: seconds that the server asks for.
    """

    status: int | None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the other side has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def may_go_better(self) -> bool:
        """Whether another attempt makes sense."""
        return self.status is None or self.status >= 500 or self.status in _LATER


def next_attempt(patience: Patience, made: int, last: Attempt, random: Callable[[], float]) -> float | None:
    """Seconds to wait after *made* attempts, of which the *last* has failed; None to give up.

    Half of the delay is left to chance, so that what failed together does not come back together; what the server asks
    for is waited for in full.

    Args:
      random: returns a number in [0, 1).
    """
    if made >= patience.attempts or not last.may_go_better:
        return None
    ceiling = min(patience.maximum, patience.first * 2.0 ** min(made - 1, 64))
    delay = ceiling * (1 + random()) / 2
    return delay if last.retry_after is None else max(delay, min(last.retry_after, LONGEST_RETRY_AFTER))


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds from *now* (since 1970) that a ``Retry-After`` asks for (RFC 9110 section 10.2.3); None if none."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:12]), LONGEST_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return min(max(0.0, moment.timestamp() - now), LONGEST_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
