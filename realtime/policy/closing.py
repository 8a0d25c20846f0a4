"""How a server that goes away parts from its clients: not all in one moment, and not to return in one.

- The closes are spread evenly over a window, each somewhere in its own share of it by chance.
- Few clients do not wait for a whole window: at least `RATE` closes go out in a second, so the window is
  what many clients need at most.
- Each is told when to come back: when the server is expected to be there again at the earliest, and from then
  on spread over as long a time as the closes took, at least a second. So they return at the rate at which they
  left, whatever their number, and in no order.
- Who is cut off, because a stop is overdue, cannot know with how many others: `cut_off` spreads them over as
  long as the longest drain of the default settings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

import attrs

# Closes per second below which nobody is slowed down: some 5 ms each, twenty times what a close costs.
RATE: Final = 200.0
# Seconds from the last close to a listening successor, where nothing better is known: what is left of a drain,
# and a start.
RESTART: Final = 1.0
# Seconds over which those return that were all cut off in one moment.
CUT_SPREAD: Final = 5.0
# Seconds over which even a handful of clients are spread when they return.
LEAST_SPREAD: Final = 1.0


@attrs.frozen
class Parting:
    """Close after *delay* seconds; the client may come back *retry_after* seconds later."""

    delay: float
    retry_after: float

    @property
    def reason(self) -> str:
        """The close reason: ``retry-after=<seconds, one decimal>``."""
        return f"retry-after={self.retry_after:.1f}"


def span(connections: int, window: float) -> float:
    """Seconds that closing *connections* takes: *window* at most, less if there are few."""
    return min(window, connections / RATE)


def partings(connections: int, window: float, chance: random.Random, absence: float = RESTART) -> Iterator[Parting]:
    """One `Parting` for each of *connections*, in the order of their delays, within *window* seconds.

    Args:
      window: seconds; 0 closes all at once.
      chance: the source of randomness.
      absence: seconds from the last close until the server is there again.
    """
    if connections < 0 or window < 0:
        raise ValueError(f"connections and window must be at least 0, not {connections} and {window}")
    seconds = span(connections, window)
    spread = max(seconds, LEAST_SPREAD)
    for place in range(connections):
        delay = seconds * (place + chance.random()) / connections
        back = seconds + absence + spread * chance.random()
        yield Parting(delay, back - delay)


def cut_off(chance: Callable[[], float]) -> Parting:
    """For one of many that are closed in the same moment; *chance* gives numbers in [0, 1)."""
    return Parting(0.0, RESTART + CUT_SPREAD * chance())
