"""Frames, byte by byte as RFC 6455 wants them, and as a foreign parser reads them."""

import random
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.streams import StreamReader
from wsproto.frame_protocol import FrameProtocol, Opcode

from realtime.delivery import frames
from realtime.policy.deflate import WINDOW_BITS


def parse(data):
    """What wsproto, as a client, makes of *data*."""
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(data)
    return [(frame.opcode, frame.payload, frame.frame_finished) for frame in protocol.received_frames()]


def test_the_example_of_section_5_7_for_an_unmasked_text_message():
    assert frames.text(b"Hello").data == bytes([0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])


def test_the_example_of_section_5_7_for_an_unmasked_ping():
    assert frames.ping(b"Hello").data == bytes([0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, bytes([0x81, 0])),
        (125, bytes([0x81, 125])),
        (126, bytes([0x81, 126, 0, 126])),
        (65535, bytes([0x81, 126, 0xFF, 0xFF])),
        (65536, bytes([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0])),
    ],
)
def test_the_length_takes_as_few_bytes_as_section_5_2_demands(length, header):
    assert frames.text(b"x" * length).data == header + b"x" * length


@given(st.text())
@example("x" * 126)
@example("x" * 65536)
def test_a_foreign_parser_reads_the_payload_back(text):
    frame = frames.text(text.encode())
    assert parse(frame.data) == [(Opcode.TEXT, text, True)]
    assert frame.payload == text.encode()
    assert not frame.is_control


@given(st.binary(max_size=125))
def test_a_foreign_parser_reads_ping_and_pong(payload):
    assert parse(frames.ping(payload).data) == [(Opcode.PING, payload, True)]
    assert parse(frames.pong(payload).data) == [(Opcode.PONG, payload, True)]


@pytest.mark.parametrize("make", [frames.ping, frames.pong])
def test_a_control_frame_carries_125_bytes_and_no_more(make):
    assert make(b"x" * 125).is_control
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        make(b"x" * 126)


def test_a_close_frame_is_its_code_and_its_reason():
    assert frames.close(1012, "retry-after=2.3").payload == struct.pack("!H", 1012) + b"retry-after=2.3"


@given(st.integers(0, 200).flatmap(lambda size: st.text(min_size=size, max_size=size)))
@example("é" * 62)
@example("a" + "é" * 61)
@example("🙂" * 40)
def test_a_long_reason_is_cut_between_two_characters(reason):
    payload = frames.close(1000, reason).payload
    assert len(payload) <= 125
    cut = payload[2:].decode()
    assert reason.startswith(cut)
    if cut != reason:
        assert len((cut + reason[len(cut)]).encode()) > 123


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_a_code_that_section_7_4_reserves_is_refused(code):
    with pytest.raises(ValueError, match=f"not {code}"):
        frames.close(code)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1007, 1009, 1011, 1012, 3000, 4000, 4429, 4999])
def test_a_code_that_may_be_sent_is_read_back(code):
    [(opcode, payload, _)] = parse(frames.close(code).data)
    assert (opcode, payload) == (Opcode.CLOSE, (code, ""))


# --- the compressed form ---


def read_deflated(data):
    """What the client side of `websockets` makes of *data*, as one that has agreed on the compression."""
    extension = PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=WINDOW_BITS,
        local_max_window_bits=15,
    )
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=False, extensions=[extension])
    with pytest.raises(StopIteration) as parsed:
        next(parsing)
    return parsed.value.value


@given(st.text() | st.text("ab", min_size=1000) | st.just("x" * 70_000) | st.just("0123456789abcdef" * 65_536))
def test_a_foreign_client_reads_the_compressed_form(text):
    frame = frames.text(text.encode())
    read = read_deflated(frame.deflated)
    assert (read.opcode, read.fin, read.data.decode()) == (Opcode.TEXT, True, text)
    assert len(frame.deflated) <= len(frame.data)


def test_the_compressed_form_is_marked_by_rsv1():
    frame = frames.text(b"x" * 1000)
    assert frame.deflated[0] == 0xC1
    assert frame.data[0] == 0x81


def test_all_share_one_compressed_form():
    frame = frames.text(b"x" * 1000)
    assert frame.deflated is frame.deflated


def test_a_message_that_gets_no_smaller_has_one_form_only():
    noise = bytes(random.Random(1).choices(range(128), k=256))
    for frame in (frames.text(b"x" * 100), frames.text(noise)):
        assert frame.deflated is frame.data


def test_a_control_frame_is_never_compressed():
    """RFC 7692 section 6.1."""
    for frame in (frames.ping(b"x" * 125), frames.pong(b"x" * 125), frames.close(1000, "x" * 123)):
        assert frame.deflated is frame.data
