"""A parser for what clients mostly send: short messages and pongs, each whole in what is read at once.

wsproto's takes 3 KiB and several times as long. It is made when anything else comes: a fragment, a binary or longer
message, a Close frame, a part of a frame, or something that is wrong; from there on it reads all, and judges.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final

import trio
from wsproto.connection import ConnectionState
from wsproto.events import Event, Ping, Pong, TextMessage

from realtime.policy.limits import Pace

from .parser import Parser

# First bytes of whole frames without extensions (RFC 6455 section 5.2).
_TEXT: Final = 0x81
_PING: Final = 0x89
_PONG: Final = 0x8A
_MASKED: Final = 0x80
# The longest payload whose length is a single byte.
_SHORT: Final = 125
# Bytes before it: two, and the masking key.
_HEAD: Final = 6
# Frames taken at once; of more than that, wsproto reads one after the other as they are wanted.
_MOST: Final = 16


class Reader:
    """Reads a client's frames as `Parser`, of which it makes one when it has to; without extensions.

    Args:
      max_message_bytes, frames_per_second: see `Parser`.
    """

    __slots__ = ("_clock", "_events", "_frames_per_second", "_max_message_bytes", "_pace", "_parser")

    def __init__(
        self,
        max_message_bytes: int,
        frames_per_second: float,
        *,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._frames_per_second = frames_per_second
        self._clock = clock
        self._events: list[Event] = []
        self._pace: Pace | None = None
        self._parser: Parser | None = None

    @property
    def state(self) -> ConnectionState:
        """See `wsproto.connection.Connection.state`."""
        return ConnectionState.OPEN if self._parser is None else self._parser.state

    def receive_data(self, data: bytes) -> None:
        """Take what was read; see `events`."""
        if self._parser is None:
            taken = self._take(data)
            if taken == len(data):
                return
            data = data[taken:]
        self._full().receive_data(data)

    def events(self) -> Generator[Event, None, None]:
        """What it says, one event after the other."""
        while self._events:
            yield self._events.pop(0)
        if self._parser is not None:
            yield from self._parser.events()

    def send(self, event: Event) -> bytes:
        """See `wsproto.connection.Connection.send`."""
        return self._full().send(event)

    def _full(self) -> Parser:
        if self._parser is None:
            self._parser = Parser(self._max_message_bytes, self._frames_per_second, clock=self._clock, pace=self._pace)
        return self._parser

    def _take(self, data: bytes) -> int:
        """Take the short frames at the beginning of *data*; return how many bytes they are."""
        at = 0
        for _ in range(_MOST):
            if len(data) < at + _HEAD:
                break
            length = data[at + 1] - _MASKED
            end = at + _HEAD + length
            if not 0 <= length <= _SHORT or len(data) < end:
                break
            event = self._event(data[at], _unmasked(data[at + 2 : at + _HEAD], data[at + _HEAD : end]))
            if event is None:
                break
            self._events.append(event)
            at = end
        return at

    def _event(self, first: int, payload: bytes) -> Event | None:
        """The event of a frame; None if wsproto is to judge it."""
        if first == _TEXT and 0 < len(payload) <= self._max_message_bytes:
            try:
                return TextMessage(data=payload.decode())
            except UnicodeDecodeError:
                return None
        if first in (_PING, _PONG) and self._allowed():
            return Pong(payload=payload) if first == _PONG else Ping(payload=payload)
        return None

    def _allowed(self) -> bool:
        # Counted by the parser as well, once there is one.
        if self._pace is None:
            self._pace = Pace(self._frames_per_second)
        return self._pace.allow(self._clock())


def _unmasked(key: bytes, payload: bytes) -> bytes:
    """*payload* with the mask taken off (RFC 6455 section 5.3), as one number, which is fastest for short ones."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)
