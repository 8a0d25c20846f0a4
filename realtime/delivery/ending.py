"""How a connection ends: how long its last things may take, and what is kept of it."""

from __future__ import annotations

from typing import Final, Literal

import attrs

# Seconds for what waits before an orderly close: a minute's figures on a slow line, and half of a drain at
# most.
FLUSH_SECONDS: Final = 5.0
# Seconds for the write under way before an aborting close: 64 KiB at 32 KiB/s. Who needs longer is cut off.
ABORT_SECONDS: Final = 2.0
# Seconds for the closing handshake: several round trips to anywhere. The wire may give up earlier.
ANSWER_SECONDS: Final = 2.0
# The same for a connection that is cancelled from outside: its stop is overdue already, so it gets one round
# trip.
LAST_WORD_SECONDS: Final = 0.5

# RFC 6455 section 7.1.5: what a close is called that came without a code, or not at all.
NO_CODE: Final = 1005
VANISHED: Final = 1006


@attrs.frozen
class Closed:
    """How a connection ended: the code and reason that were sent or received, and by which side."""

    code: int
    reason: str
    by: Literal["server", "client", "nobody"]
    """``nobody``: the peer vanished without a Close frame, which is code 1006."""
