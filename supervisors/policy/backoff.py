"""How long a child with a backoff waits before it is started again, and when it is given up.

The first failure in a row restarts at once; failure number n waits a random time in [0, first * 2^(n-2)], capped at
``maximum``.  A child that has run for ``healthy_uptime`` begins anew.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
"""

from __future__ import annotations

from collections.abc import Callable

from ..spec import Backoff


def failures_in_a_row(backoff: Backoff, earlier: int, uptime: float | None) -> int:
    """The count after one more failure of a child that had run for *uptime* seconds (None: it never came up)."""
    return 1 if uptime is not None and uptime >= backoff.healthy_uptime else earlier + 1


def next_delay(backoff: Backoff, failures: int, random: Callable[[], float]) -> float | None:
    """Seconds to wait after *failures* (at least 1) in a row; None means give up.

    *random* returns a number in [0, 1).
    """
    if backoff.max_failures is not None and failures >= backoff.max_failures:
        return None
    if failures <= 1:
        return 0.0
    # 2.0 ** 1024 overflows; long before that the maximum has the word.
    ceiling = min(backoff.maximum, backoff.first * 2.0 ** min(failures - 2, 64))
    return ceiling * random()
