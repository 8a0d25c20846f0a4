"""A steady cadence: ticks at start, start + interval, start + 2 x interval ..., never closer, never doubled.

A tick that comes late takes the place of those it has missed; they are skipped and counted, so that what is slow once
does not cause a burst, and the ticks after it are where they would have been: there is no drift.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

ROUNDING: Final = 1e-9
"""Fraction of an interval by which clocks and sums of floats may be wrong; a tick that near is not a missed one."""


@attrs.frozen
class Tick:
    """The next tick: when it is *due* (seconds, monotonic), and how many before it were *missed*."""

    due: float
    missed: int


def next_tick(last_due: float, interval: float, now: float) -> Tick:
    """The tick after the one that was due at *last_due*, when its work was done at *now*."""
    steps = max(1, math.ceil((now - last_due) / interval - ROUNDING))
    return Tick(last_due + steps * interval, steps - 1)
