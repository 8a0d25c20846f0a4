"""The form in which a message of a topic travels over a backplane: encoded once, by whoever publishes it."""

from __future__ import annotations

import msgspec

from realtime.messages import encode

_decoder = msgspec.json.Decoder(tuple[str, int, msgspec.Raw])


def pack(type: str, offset: int, data: object) -> bytes:
    """The message of *type* that has *offset* in its topic, as bytes."""
    return encode((type, offset, data))


def unpack(frame: bytes) -> tuple[str, int, msgspec.Raw]:
    """Type, offset and data of what :func:`pack` made; the data stays encoded.

    Raises:
      msgspec.DecodeError: *frame* was not made by :func:`pack`.
    """
    type_, offset, data = _decoder.decode(frame)
    return type_, offset, data.copy()  # a Raw looks into the whole frame and would keep it alive
