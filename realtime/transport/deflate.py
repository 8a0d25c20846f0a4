"""permessage-deflate in wsproto's parser: what a client compressed is inflated whole, and only as far as it may be.

wsproto's own extension inflates whatever comes, however much that is, and keeps its window of 32 KiB for the next
message. Here the compressed bytes of a message wait until they are complete, in no more room than the message itself
could take (see `realtime.transport.parser`), so half a message holds no window either.
"""

from __future__ import annotations

from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from realtime.delivery.compression import Corrupt, TooLong, deflate, inflate
from realtime.policy.deflate import NAME

# Each data frame may have RSV1, and says with it that it begins a compressed message (RFC 7692 section 6). On a
# continuation or a control frame it is an error, and the others always are.
_MAY_BE_COMPRESSED: Final = RsvBits(True, False, False)
_PLAIN: Final = RsvBits(False, False, False)
_BEGINS: Final = frozenset({Opcode.TEXT, Opcode.BINARY})


class MessageDeflate(Extension):
    """The server's side of one connection that has agreed on `realtime.policy.deflate.ANSWER`."""

    name = NAME

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        # What has come of a compressed message; None while there is none.
        self._compressed: bytearray | None = None
        self._in_control_frame = False

    def enabled(self) -> bool:
        """Always: it is made when the client's offer has been accepted."""
        return True

    def offer(self) -> bool:
        """Nothing: a server answers offers, which is `realtime.policy.deflate.negotiate`."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> RsvBits:
        """Which reserved bits this frame may have. May be called again, for a header that comes in pieces."""
        self._in_control_frame = opcode.iscontrol()
        if opcode not in _BEGINS:
            return _PLAIN
        self._compressed = bytearray() if rsv.rsv1 else None
        return _MAY_BE_COMPRESSED

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes:
        """What *data* is of the frame's payload: nothing yet, if it is compressed."""
        if self._compressed is None or self._in_control_frame:
            return data
        self._compressed += data
        return b""

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | None:
        """The whole message, if it was compressed and this was its last frame.

        Raises:
          ParseFailed: with 1009 for a message that is too long, with 1007 for one that cannot be inflated.
        """
        if self._compressed is None or self._in_control_frame or not fin:
            return None
        compressed, self._compressed = self._compressed, None
        try:
            return inflate(compressed, self._max_message_bytes)
        except TooLong as error:
            raise ParseFailed(str(error), CloseReason.MESSAGE_TOO_BIG) from error
        except Corrupt as error:
            raise ParseFailed(str(error), CloseReason.INVALID_FRAME_PAYLOAD_DATA) from error

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Compress a whole message, if that makes it smaller: one sent through ASGI's events, for one client."""
        compressed = deflate(bytes(data)) if fin and opcode in _BEGINS else None
        return (rsv, data) if compressed is None else (_MAY_BE_COMPRESSED, compressed)
