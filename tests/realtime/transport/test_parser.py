"""What the parser of a client's frames adds to wsproto's."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Event, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate

from realtime.transport.parser import Parser

from .harness import masked

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
LIMIT = 1000


def events(data: bytes, *, frames_per_second: float = 100, clock: float = 0.0) -> list[Event]:
    parser = Parser(LIMIT, frames_per_second, clock=lambda: clock)
    parser.receive_data(data)
    return list(parser.events())


def header(opcode: int, length: int, *, fin: bool = True) -> bytes:
    """Of a masked frame, with the shortest form of its *length*."""
    whole = masked(opcode, bytes(min(length, 65_536)), fin=fin)
    return whole[:2] + length.to_bytes(8) + bytes(4) if length > 65_535 else whole[: len(whole) - length]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [LIMIT + 1, 65_535, 65_536, 2**31, 2**62, 2**63 - 1])
def test_more_than_a_message_may_have_is_refused_by_its_header(opcode, length):
    (event,) = events(header(opcode, length))
    assert isinstance(event, CloseConnection)
    assert (event.code, event.reason) == (1009, "a message has at most 1000 bytes")


def test_exactly_as_much_is_waited_for():
    assert events(header(TEXT, LIMIT)) == []


def test_fragments_are_added_up():
    first = masked(TEXT, b"x" * 600, fin=False)
    assert len(events(first + header(0, 400))) == 1
    assert [event.code for event in events(first + header(0, 401)) if isinstance(event, CloseConnection)] == [1009]


def test_each_message_begins_anew():
    heard = events(masked(TEXT, b"x" * LIMIT) * 3)
    assert [event.data for event in heard if isinstance(event, TextMessage)] == ["x" * LIMIT] * 3


def test_a_control_frame_between_fragments_is_no_part_of_the_message():
    data = masked(TEXT, b"x" * 900, fin=False) + masked(PING, b"p" * 125) + masked(0, b"x" * 100)
    assert [type(event) for event in events(data)] == [TextMessage, Ping, TextMessage]


def test_what_a_compressor_adds_at_worst_is_allowed_with_an_extension():
    incompressible = bytes(hash((1, n)) & 0xFF for n in range(LIMIT))
    compressor = zlib.compressobj(0, zlib.DEFLATED, -9, 1)
    payload = (compressor.compress(incompressible) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(payload) > LIMIT
    agreed = PerMessageDeflate()
    agreed.accept("permessage-deflate")
    parser = Parser(LIMIT, 100, [agreed], clock=lambda: 0.0)
    parser.receive_data(masked(BINARY, payload, rsv=4))
    assert b"".join(event.data for event in parser.events()) == incompressible  # type: ignore[attr-defined]
    parser.receive_data(header(BINARY, 2 * LIMIT))
    (event,) = parser.events()
    assert isinstance(event, CloseConnection)
    assert event.code == 1009


@given(st.integers(1, 50))
def test_control_frames_and_fragments_have_their_pace(allowed):
    heard = events(masked(PING) * (allowed + 5), frames_per_second=allowed)
    assert [type(event) for event in heard] == [Ping] * allowed + [CloseConnection]
    assert heard[-1] == CloseConnection(code=4429, reason="too many control frames or fragments")


def test_whole_messages_have_none():
    assert len(events(masked(TEXT, b"x") * 50, frames_per_second=1)) == 50


@pytest.mark.parametrize("reason", [b"", b"gateway"])
def test_a_close_code_that_was_registered_later_is_one(reason):
    parser = Parser(LIMIT, 100, clock=lambda: 0.0)
    parser.receive_data(masked(CLOSE, (1014).to_bytes(2) + reason))
    (event,) = parser.events()
    assert event == CloseConnection(code=1014, reason=reason.decode())
    assert parser.state is ConnectionState.REMOTE_CLOSING


def test_its_reason_has_to_be_utf8_too():
    (event,) = events(masked(CLOSE, (1014).to_bytes(2) + b"\xff"))
    assert isinstance(event, CloseConnection)
    assert event.code == 1007
