"""The reader of short frames says what wsproto's parser says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Pong, TextMessage

from realtime.transport.parser import Parser
from realtime.transport.reader import Reader

from .harness import masked

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LIMIT = 200


def frame(opcode: int, payload: bytes, *, fin: bool, rsv: int, key: bytes) -> bytes:
    plain = masked(opcode, payload, fin=fin, rsv=rsv)
    head = plain[: len(plain) - len(payload) - 4]
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


frames = st.builds(
    frame,
    st.sampled_from([TEXT] * 5 + [PING, PONG] * 2 + [0, BINARY, CLOSE, 3, 11]),
    st.one_of(st.text(max_size=40).map(str.encode), st.binary(max_size=140)),
    fin=st.sampled_from([True] * 5 + [False]),
    rsv=st.sampled_from([0] * 9 + [4]),
    key=st.binary(min_size=4, max_size=4),
)


def heard(parser: Parser | Reader, chunks: list[bytes]) -> tuple[list[Event], ConnectionState]:
    """What *parser* says of *chunks*, up to the end of the conversation."""
    events: list[Event] = []
    for chunk in chunks:
        parser.receive_data(chunk)
        for event in parser.events():
            events.append(event)
            if isinstance(event, CloseConnection):
                return events, parser.state
    return events, parser.state


@given(st.lists(frames, max_size=25), st.lists(st.integers(0, 200), max_size=8), st.integers(1, 30))
@example([masked(TEXT, b"a"), masked(TEXT, b"b", fin=False), masked(0, b"c"), masked(TEXT, b"d")], [7], 30)
@example([masked(PING, b"p")] * 25, [], 20)
@example([masked(TEXT, bytes([0xE2, 0x82]))], [], 20)
@example([b"\x81\x05hello"], [], 20)
def test_it_hears_what_the_parser_hears(parts: list[bytes], cuts: list[int], per_second: int) -> None:
    data, chunks = b"".join(parts), []
    for cut in cuts:
        chunks.append(data[:cut])
        data = data[cut:]
    chunks.append(data)
    theirs = heard(Parser(LIMIT, per_second, clock=lambda: 0.0), chunks)
    assert heard(Reader(LIMIT, per_second, clock=lambda: 0.0), chunks) == theirs


def test_one_event_can_be_taken_at_a_time() -> None:
    reader = Reader(LIMIT, 100, clock=lambda: 0.0)
    reader.receive_data(masked(TEXT, b"a") + masked(PONG, b"b") + masked(BINARY, b"c") + masked(TEXT, b"d"))
    found = []
    for _ in range(4):
        for event in reader.events():
            found.append(event)
            break
    assert found == [TextMessage("a"), Pong(b"b"), BytesMessage(b"c"), TextMessage("d")]
    assert list(reader.events()) == []


@pytest.mark.parametrize("data", [masked(TEXT, b"x" * 125), masked(PONG, b""), masked(TEXT, b"x") * 16])
def test_for_short_frames_no_parser_is_made(data: bytes) -> None:
    reader = Reader(LIMIT, 100, clock=lambda: 0.0)
    reader.receive_data(data)
    assert list(reader.events())
    assert reader._parser is None


def test_control_frames_are_counted_across_the_change() -> None:
    reader = Reader(LIMIT, 10, clock=lambda: 0.0)
    events, _ = heard(reader, [masked(PING)] * 5 + [masked(TEXT, b"x", fin=False)] + [masked(PING)] * 5)
    assert isinstance(events[-1], CloseConnection)
    assert events[-1].code == 4429
    assert len(events) == 11


def test_a_limit_below_the_longest_short_frame_counts() -> None:
    events, _ = heard(Reader(10, 10, clock=lambda: 0.0), [masked(TEXT, b"x" * 10), masked(TEXT, b"x" * 11)])
    assert events[0] == TextMessage("x" * 10)
    assert isinstance(events[1], CloseConnection)
    assert events[1].code == 1009
