"""When to ping a connection, and when to give it up for dead.

- The first ping is due one interval after the opening handshake, give or take a quarter of it by chance, so
  that connections opened together are not pinged together for ever; each further one an interval after the
  last. A ping that comes late moves none of those after it, and of several missed ones only the last is made
  up for.
- Any sign of life at or after a ping answers it: a Pong frame, a `pong` message, any message, any byte.
- What counts is the oldest ping that is unanswered, from the moment it was handed to the socket: pings that
  follow it do not extend the peer's time.
- No sign of life within `pong_timeout`: dead. Time for which our own loop did not run is added, because an
  answer may lie unread in the socket meanwhile: a busy server reaps nobody.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

# Wide enough to spread the 10 000 clients of a restart over half an interval, narrow enough that the first
# ping is still "after one interval" to whoever watches one connection.
SPREAD: Final = 0.25


@attrs.frozen
class Wait:
    """Nothing to do before *until* (seconds, monotonic)."""

    until: float


@attrs.frozen
class Probe:
    """Ping now."""


@attrs.frozen
class Reap:
    """Nothing came for *silent_for* seconds after a ping, the server's own lag not counted: close with 4001."""

    silent_for: float


def first_ping(opened_at: float, interval: float, chance: float) -> float:
    """When a connection opened at *opened_at* is pinged first; *chance* is evenly spread over [0, 1)."""
    return opened_at + interval * (1 + SPREAD * (2 * chance - 1))


def next_ping(due: float, interval: float, now: float) -> float:
    """When to ping next after the ping that was *due* and is sent *now*: in the same beat, and later than
    now.
    """
    missed = max(0, math.floor((now - due) / interval))
    following = due + (missed + 1) * interval
    # Rounding can leave the product a hair behind now, which would ping twice.
    return following if following > now else following + interval


def decide(
    now: float, *, ping_due: float, pong_timeout: float, unanswered_since: float | None, lag: float = 0.0
) -> Wait | Probe | Reap:
    """What to do about one connection *now*. All times in seconds of one monotonic clock.

    Args:
      ping_due: when it is to be pinged next.
      unanswered_since: when the oldest ping that no sign of life followed was handed to the socket; None if
        there is none.
      lag: seconds for which the server's own loop did not run since then.
    """
    deadline = math.inf
    if unanswered_since is not None:
        deadline = unanswered_since + pong_timeout + lag
        if now >= deadline:
            return Reap(now - unanswered_since - lag)
    if now >= ping_due:
        return Probe()
    return Wait(min(ping_due, deadline))
