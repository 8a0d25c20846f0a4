"""The payloads of permessage-deflate (RFC 7692 section 7.2), each compressed and inflated by itself.

No state outlives a call: neither a connection nor the process keeps a window. Pure: imports no Trio.
"""

from __future__ import annotations

import zlib
from typing import Final

from realtime.policy.deflate import WINDOW_BITS

# Below, an event of ours loses some 50 bytes, in a packet that is sent either way. Measured on the messages in
# docs/how-to/compression.md.
MIN_BYTES: Final = 256
# zlib's own default: of a JSON message of 4 KiB it leaves 6 % less than level 3, for 5 us more, spent once for all
# receivers.
_LEVEL: Final = zlib.Z_DEFAULT_COMPRESSION
# 16 KiB beside the 16 KiB that go with the window, lent for one call (zlib.h, deflateInit2). With more, and so small
# a window, zlib takes longer and gains nothing.
_MEMORY_LEVEL: Final = 5
# Section 7.2.1: the end of every flush, which is not sent, and section 7.2.2: is put back to inflate.
_TAIL: Final = b"\x00\x00\xff\xff"
# An empty last block. What ends where a block ends makes it the end of the stream; what was cut off does not.
_LAST: Final = b"\x01\x00\x00\xff\xff"
# Section 7.2.3.4: who ends with a last block of their own adds one byte to it, of which the tail makes a block.
_BEYOND_LAST: Final = b"\x00" + _TAIL + _LAST
# A client may use the largest window of all, whatever it says.
_CLIENT_WINDOW_BITS: Final = 15


class TooLong(ValueError):
    """An inflated message is longer than it may be; it was not inflated further than that."""


class Corrupt(ValueError):
    """What came is not compressed as section 7.2.1 wants it."""


def deflate(payload: bytes) -> bytes | None:
    """*payload* compressed; None where that does not make it smaller, or hardly could."""
    if len(payload) < MIN_BYTES:
        return None
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    small = compressed[: -len(_TAIL)]
    return small if len(small) < len(payload) else None


def inflate(compressed: bytes | bytearray, max_bytes: int) -> bytes:
    """What *compressed*, the whole payload of a message, stands for.

    Raises:
      TooLong: it has more than *max_bytes*, of which only one more was inflated.
      Corrupt: it is no such payload, or was cut off.
    """
    inflater = zlib.decompressobj(-_CLIENT_WINDOW_BITS)
    try:
        payload = inflater.decompress(compressed + _TAIL + _LAST, max_bytes + 1)
    except zlib.error as error:
        raise Corrupt(f"the message is not compressed as RFC 7692 has it: {error}") from error
    if len(payload) > max_bytes:
        raise TooLong(f"a message has at most {max_bytes} bytes")
    if not inflater.eof or inflater.unused_data not in (b"", _BEYOND_LAST):
        raise Corrupt("the compressed message does not end where it should")
    return payload
