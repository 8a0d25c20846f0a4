"""How often something took how long: plain integers, cheap enough for every batch of messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import attrs

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds: from one small write to the longest that anything here may take."""


@attrs.frozen
class HistogramStatistics:
    """What was observed: for each bound how many were at most it, then how many in all, and their sum."""

    bounds: tuple[float, ...]
    at_most: tuple[int, ...]
    count: int
    sum: float

    def quantile(self, q: float) -> float | None:
        """The bound below which the share *q* of all lies, as far as the buckets tell; None if nothing was observed.

        Infinite if it lies beyond the last of them.
        """
        if not self.count:
            return None
        within = bisect_left(self.at_most, q * self.count)
        return self.bounds[within] if within < len(self.bounds) else float("inf")


class Histogram:
    """Counts values in buckets with fixed bounds."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        if not bounds or list(bounds) != sorted(set(bounds)):
            raise ValueError(f"bounds must be ascending numbers, not {bounds!r}")
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        #: Of all values.
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count *value* in."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def statistics(self) -> HistogramStatistics:
        """A frozen snapshot."""
        at_most, count = [], 0
        for number in self._counts:
            count += number
            at_most.append(count)
        return HistogramStatistics(self._bounds, tuple(at_most[:-1]), count, self.sum)
