"""WebSocket frames as a server sends them, built once and shared by everyone who receives them.

RFC 6455 section 5.2: FIN and the opcode, the payload's length, the payload. A server never masks what it
sends (section 5.1), so one value serves all connections. A message is never fragmented here: fragments
(section 5.4) would only let control frames in between, and a writer that owns its socket puts those between
messages. Pure: imports no Trio.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Final

import attrs

from realtime.delivery.compression import deflate

# Section 5.2, "Opcode". Continuation and binary frames are never sent.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
# RFC 7692 section 6: the first frame of a compressed message has it.
_RSV1: Final = 0x40
# Section 5.2, "Payload length": up to 125 in seven bits, then 126 announces 16 bits, 127 announces 64.
_MAX_7_BITS: Final = 125
_MAX_16_BITS: Final = 0xFFFF
# Section 5.5: "All control frames MUST have a payload length of 125 bytes or less".
MAX_CONTROL_PAYLOAD: Final = 125
# Section 5.5.1: the first two bytes of a Close frame's payload are the code.
MAX_CLOSE_REASON: Final = MAX_CONTROL_PAYLOAD - 2
# Section 7.4.1: reserved for what is seen, never sent: 1004 undefined, 1005 no code, 1006 no Close frame,
# 1015 TLS failure.
_UNSENDABLE_CODES: Final = frozenset({1004, 1005, 1006, 1015})


@attrs.frozen(eq=False)
class Frame:
    """One complete frame: `data` is what goes over the wire, `payload` what it carries."""

    opcode: int
    data: bytes = attrs.field(repr=False)
    _header_bytes: int = attrs.field(repr=False)

    @property
    def payload(self) -> bytes:
        """The payload alone, cut out of `data` on each use: kept twice it would double what a queued message holds."""
        return self.data[self._header_bytes :]

    @cached_property
    def deflated(self) -> bytes:
        """What goes over the wire where permessage-deflate was agreed on: a smaller frame with the same message, or
        `data` if there is none. The first use makes it, for all connections and for as long as the frame lives.
        """
        compressed = deflate(self.payload) if self.opcode == TEXT else None
        return self.data if compressed is None else _header(_FIN | _RSV1 | TEXT, len(compressed)) + compressed

    @property
    def is_control(self) -> bool:
        """Whether this is a Close, Ping or Pong frame (section 5.5: the highest bit of the opcode is set)."""
        return self.opcode >= CLOSE


def text(payload: bytes) -> Frame:
    """A whole text message; *payload* has to be UTF-8 (section 5.6), which everything that an encoder of JSON
    made is.
    """
    return _frame(TEXT, payload)


def ping(payload: bytes = b"") -> Frame:
    """A Ping (section 5.5.2); the peer's Pong carries the same *payload*, of at most 125 bytes."""
    return _control(PING, payload)


def pong(payload: bytes = b"") -> Frame:
    """The answer to a Ping (section 5.5.3), with that Ping's *payload*, of at most 125 bytes."""
    return _control(PONG, payload)


def close(code: int, reason: str = "") -> Frame:
    """A Close frame (section 5.5.1) with *code* and as much of *reason* as fits, cut between two characters.

    Raises:
      ValueError: *code* is none that may be sent (section 7.4).
    """
    if code in _UNSENDABLE_CODES or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(f"code must be one that RFC 6455 section 7.4 allows in a Close frame, not {code}")
    return _control(CLOSE, struct.pack("!H", code) + truncate(reason, MAX_CLOSE_REASON))


def rest(data: bytes) -> Frame:
    """What is left of a frame that was cut off: not whole, and of use only right behind the beginning.

    It has the opcode of a continuation, which no frame of ours has, so that nobody takes it for a whole one.
    """
    return Frame(CONTINUATION, data, 0)


def truncate(reason: str, max_bytes: int) -> bytes:
    """*reason* in UTF-8, cut to *max_bytes* without leaving half a character at the end (section 5.5.1 wants UTF-8)."""
    encoded = reason.encode()
    if len(encoded) <= max_bytes:
        return encoded
    return encoded[:max_bytes].decode(errors="ignore").encode()


def _control(opcode: int, payload: bytes) -> Frame:
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"a control frame carries at most {MAX_CONTROL_PAYLOAD} bytes, not {len(payload)}")
    return _frame(opcode, payload)


def _frame(opcode: int, payload: bytes) -> Frame:
    header = _header(_FIN | opcode, len(payload))
    return Frame(opcode, header + payload, len(header))


def _header(first: int, length: int) -> bytes:
    if length <= _MAX_7_BITS:
        return bytes((first, length))
    if length <= _MAX_16_BITS:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)
