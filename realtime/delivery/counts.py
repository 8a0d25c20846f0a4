"""What all connections together did: counted in place, read when somebody asks."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from realtime.messages import CloseCode
from realtime.policy.histogram import Histogram

OTHER: Final = "other"
"""Stands for the close codes that only clients choose, of which there are thousands."""

# 1001: the page was left. 1005 and 1006 stand for a close without a code, and for none.
_KNOWN: Final = frozenset({*map(int, CloseCode), 1001, 1005, 1006})


@attrs.define(eq=False)
class Counts:
    """Since the start of the process; of the loop's thread alone.

    Attributes:
      registered: connections that were opened.
      received, received_bytes: messages of clients, good and bad, and their bytes.
      written_bytes: handed to sockets at once: what is published, and replies.
      sent_bytes: handed to sockets by send actors: pings, and what had to wait.
      dropped: messages that clients lost because they lagged, under any topic's policy.
      closed: connections that ended, by who ended them and the code.
      latency: seconds from the publishing of the oldest message of a batch until it was brought to every subscriber.
      queued: seconds from the first message that has to wait for a client until nothing does.
      round_trip: seconds of pings, as a heartbeat finds them, each once.
      lag: seconds by which the heartbeat was woken too late, at each of its wakings.
    """

    registered: int = 0
    received: int = 0
    received_bytes: int = 0
    written_bytes: int = 0
    sent_bytes: int = 0
    dropped: int = 0
    closed: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    latency: Histogram = attrs.field(factory=Histogram)
    queued: Histogram = attrs.field(factory=Histogram)
    round_trip: Histogram = attrs.field(factory=Histogram)
    lag: Histogram = attrs.field(factory=Histogram)

    def came(self, message: str | bytes) -> None:
        """A client said *message*."""
        self.received += 1
        self.received_bytes += len(message if isinstance(message, bytes) or message.isascii() else message.encode())

    def went(self, by: str, code: int) -> None:
        """A connection ended with *code*."""
        self.closed[by, str(int(code)) if code in _KNOWN else OTHER] += 1
