"""The last messages of a topic, for subscribers that come back: kept once, and shared by all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from realtime.delivery.message import Message


class History:
    """At most *max_messages* and *max_bytes* of the messages up to the topic's offset, without a hole among them."""

    __slots__ = ("_kept", "_max_bytes", "_max_messages", "bytes")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._kept: deque[Message] = deque()
        #: What is kept, as it goes over the wire.
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def first(self) -> int | None:
        """The offset of the oldest message kept."""
        return self._kept[0].offset if self._kept else None

    @property
    def room(self) -> int:
        """How many messages can be added without one of them going."""
        return self._max_messages - len(self._kept)

    def add(self, message: Message) -> None:
        """Keep *message*, the topic's latest, and let go of as many of the oldest as that takes."""
        if self._kept and self._kept[-1].offset != message.offset - 1:
            self.clear()  # what lies before a hole cannot be followed by all that came after it
        self._kept.append(message)
        self.bytes += message.size
        while len(self._kept) > self._max_messages or self.bytes > self._max_bytes:
            self.bytes -= self._kept.popleft().size

    def prepend(self, message: Message) -> bool:
        """Keep *message*, which came right before the oldest; False if there is no room for it."""
        if not self.room or self.bytes + message.size > self._max_bytes:
            return False
        self._kept.appendleft(message)
        self.bytes += message.size
        return True

    def clear(self) -> None:
        """Forget everything: the numbers begin anew, or have a hole."""
        self._kept.clear()
        self.bytes = 0

    def sizes(self, upto: int) -> list[int]:
        """The sizes of the messages, oldest first; of none if the last is not the one with the offset *upto*."""
        if not self._kept or self._kept[-1].offset != upto:
            return []
        return [message.size for message in self._kept]

    def last(self, count: int) -> Iterable[Message]:
        """The last *count* messages, oldest first."""
        return islice(self._kept, len(self._kept) - count, None)
