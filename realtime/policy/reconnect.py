"""Whether and when a client comes back after its connection has ended (section 3 of the protocol's documentation).

Delays grow exponentially with full jitter, so that a crowd that lost its server does not return in one moment; what
the server says in ``retry-after=`` goes before, and is spread a little as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

FINAL_CODES: Final = frozenset({1000, 4401, 4403, 4404})
"""Close codes after which coming back changes nothing."""

FIRST: Final = 0.5
MAXIMUM: Final = 30.0

_RETRY_AFTER = re.compile(r"retry-after=(\d+(?:\.\d+)?)")


def reconnect_delay(code: int | None, reason: str, attempt: int, random: Callable[[], float]) -> float | None:
    """Seconds to wait before attempt number *attempt* (from 1); None means do not come back.

    Args:
      code: the close code; None where there was no connection at all.
      random: a source of numbers in [0, 1).
    """
    if code in FINAL_CODES:
        return None
    told = _RETRY_AFTER.search(reason)
    if told is not None:
        return min(float(told[1]), 10 * MAXIMUM) * (1 + 0.1 * random())
    return float(min(MAXIMUM, FIRST * 2 ** min(attempt - 1, 16)) * random())
