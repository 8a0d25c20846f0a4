"""What a peer's frames say: wsproto's parser, with the limits that it leaves to others.

A frame is judged by its header, before any of its payload is waited for or kept:

| the header says | close code |
|---|---|
| more bytes than a message may have, alone or with the fragments before it | 1009 |
| one more control frame or fragment than `realtime.policy.limits` allows in that time | 4429 |

Whole messages are not counted here: who takes them decides how many it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed

from realtime.messages import CloseCode
from realtime.policy.limits import Pace

# "Bad gateway", registered with IANA after wsproto made its list; the one before it is judged alike.
_BAD_GATEWAY: Final = 1014
_KNOWN: Final = CloseReason.TRY_AGAIN_LATER


class Parser(Connection):
    """Reads a client's frames and tells what they were; see `wsproto.connection.Connection`.

    Args:
      max_message_bytes: of one message's payload, as it is sent.
      frames_per_second: control frames and fragments; see `realtime.policy.limits.Pace`.
      extensions: the ones that were agreed on. With any of them the payload may be longer than its message by
        what a compressor adds at worst.
      pace: of *frames_per_second*, if some have been counted already.
    """

    def __init__(
        self,
        max_message_bytes: int,
        frames_per_second: float,
        extensions: Sequence[Extension] = (),
        *,
        clock: Callable[[], float] = trio.current_time,
        pace: Pace | None = None,
    ) -> None:
        agreed = list(extensions)
        super().__init__(ConnectionType.SERVER, agreed)
        pace = Pace(frames_per_second) if pace is None else pace
        decoder = _Decoder(_allowance(max_message_bytes) if agreed else max_message_bytes, pace, clock, agreed)
        self._proto = _Frames(decoder, agreed)
        # wsproto's queue for an end of the stream, which it is never told here; an empty deque takes 700 bytes.
        self._events = ()  # type: ignore[assignment]


def _allowance(max_message_bytes: int) -> int:
    """What deflate makes of so many bytes at worst, with the smallest of its memory levels (zlib's compressBound)."""
    return max_message_bytes + max_message_bytes // 4 + 64


class _Frames(FrameProtocol):
    def __init__(self, decoder: _Decoder, extensions: list[Extension]) -> None:
        super().__init__(client=False, extensions=extensions)
        self._frame_decoder = decoder

    def _process_close(self, frame: Frame) -> Frame:
        payload = bytes(frame.payload)  # type: ignore[arg-type]
        if payload[:2] != _BAD_GATEWAY.to_bytes(2):
            return super()._process_close(frame)
        judged = super()._process_close(frame._replace(payload=_KNOWN.to_bytes(2) + payload[2:]))
        return judged._replace(payload=(_BAD_GATEWAY, judged.payload[1]))  # type: ignore[arg-type]


class _Decoder(FrameDecoder):
    def __init__(
        self, max_message_bytes: int, pace: Pace, clock: Callable[[], float], extensions: list[Extension]
    ) -> None:
        super().__init__(client=False, extensions=extensions)
        self._max_message_bytes = max_message_bytes
        self._message_bytes = 0
        self._pace = pace
        self._clock = clock

    def parse_header(self) -> bool:
        """See wsproto's; raises `ParseFailed` for what the peer must not go on with."""
        if not super().parse_header():
            return False
        header = self.header
        assert header is not None
        whole = header.fin and header.opcode in (Opcode.TEXT, Opcode.BINARY)
        if not whole and not self._pace.allow(self._clock()):
            raise ParseFailed("too many control frames or fragments", CloseCode.TOO_MANY_MESSAGES)  # type: ignore[arg-type]
        if not header.opcode.iscontrol():
            before = self._message_bytes if header.opcode is Opcode.CONTINUATION else 0
            self._message_bytes = before + header.payload_len
            if self._message_bytes > self._max_message_bytes:
                raise ParseFailed(f"a message has at most {self._max_message_bytes} bytes", CloseReason.MESSAGE_TOO_BIG)
        return True
