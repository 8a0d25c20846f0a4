"""Whether and when a client comes back after its connection has ended (section 3 of the protocol's documentation).

Delays grow exponentially with full jitter, so that a crowd that lost its server does not return in one moment.  What
the server says in ``retry-after=`` is the least, and so is `LATER` for whoever sent too much; jitter goes on top.
The page in the browser does the same (``web/static/closing.js``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

FINAL_CODES: Final = frozenset({1000, 4401, 4403, 4404})
"""Close codes after which coming back changes nothing."""

LATER_CODES: Final = frozenset({4400, 4429})
"""Close codes of a client that sent too much: it comes back later."""

FIRST: Final = 0.5
"""Seconds: the longest first delay; it doubles with each failure."""
MAXIMUM: Final = 30.0
"""Seconds: the longest delay that nobody asked for."""
LATER: Final = 10.0
"""Seconds: the window in which a server counts bad messages."""
LONGEST_TOLD: Final = 3600.0
"""Seconds: whatever a server says, an hour later it is asked again."""

_RETRY_AFTER: Final = re.compile(r"retry-after=([0-9]+(?:\.[0-9]+)?)")


def reconnect_delay(code: int | None, reason: str, attempt: int, random: Callable[[], float]) -> float | None:
    """Seconds to wait before attempt number *attempt* (from 1); None means do not come back.

    Args:
      code: the close code; None where there was no connection at all.
      random: a source of numbers in [0, 1).
    """
    if code in FINAL_CODES:
        return None
    least = max(_told(reason), LATER if code in LATER_CODES else 0.0)
    return least + random() * min(MAXIMUM, FIRST * 2.0 ** min(attempt - 1, 16))


def _told(reason: str) -> float:
    found = _RETRY_AFTER.search(reason)
    return 0.0 if found is None else min(float(found[1]), LONGEST_TOLD)
