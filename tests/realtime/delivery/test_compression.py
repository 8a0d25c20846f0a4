"""What RFC 7692 section 7.2 does to a payload, with zlib itself as the foreign side."""

import os
import tracemalloc
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime.delivery.compression import MIN_BYTES, Corrupt, TooLong, deflate, inflate
from realtime.policy.deflate import WINDOW_BITS

LIMIT = 65_536
TAIL = b"\x00\x00\xff\xff"
JSON = b'{"type":"tick","topic":"clock","data":{"at":"2026-01-01T00:00:00Z"}}' * 20


def compressed(payload, *, window=15, flush=zlib.Z_SYNC_FLUSH):
    """As a client would compress it, with any window."""
    compressor = zlib.compressobj(wbits=-window)
    return (compressor.compress(payload) + compressor.flush(flush)).removesuffix(TAIL)


# --- what we send ---


@given(st.binary(min_size=MIN_BYTES) | st.text(min_size=MIN_BYTES).map(str.encode))
@example(JSON)
@example(bytes(1_000_000))
def test_a_client_that_keeps_the_agreed_window_reads_it_and_it_is_smaller(payload):
    sent = deflate(payload)
    if sent is not None:
        assert zlib.decompressobj(-WINDOW_BITS).decompress(sent + TAIL) == payload
        assert len(sent) < len(payload)


def test_what_can_be_compressed_is():
    sent = deflate(JSON)
    assert sent is not None
    assert len(sent) < len(JSON) / 10


def test_what_would_not_get_smaller_is_not_compressed():
    assert deflate(os.urandom(5000)) is None


def test_what_is_small_is_not_compressed():
    assert deflate(b"x" * (MIN_BYTES - 1)) is None
    assert deflate(b"x" * MIN_BYTES) is not None


def test_no_message_depends_on_the_one_before():
    assert deflate(JSON) == deflate(JSON)


# --- what we receive ---


@pytest.mark.parametrize(
    "payload",
    [
        bytes([0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]),
        bytes([0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00]),
        bytes([0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00]),
        bytes([0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00]),
    ],
    ids=["one block", "not compressed", "a last block", "two blocks"],
)
def test_the_examples_of_section_7_2_3_say_hello(payload):
    assert inflate(payload, 5) == b"Hello"


def test_an_empty_message_is_one_byte():
    """Section 7.2.3.6."""
    assert inflate(b"\x00", LIMIT) == b""


@given(st.binary(max_size=3000), st.integers(9, 15), st.integers(0, 9))
def test_any_window_and_level_of_a_client_is_read(payload, window, level):
    compressor = zlib.compressobj(level, wbits=-window)
    sent = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert inflate(sent.removesuffix(TAIL), len(payload)) == payload


@given(st.binary(max_size=3000))
def test_a_message_that_ends_with_a_last_block_is_read(payload):
    """Section 7.2.3.4: with a byte of zeroes behind it."""
    assert inflate(compressed(payload, flush=zlib.Z_FINISH) + b"\x00", len(payload)) == payload


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_a_message_that_was_flushed_between_its_fragments_is_read(parts):
    compressor = zlib.compressobj(wbits=-15)
    sent = b"".join(compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH) for part in [*parts, b"!"])
    assert inflate(sent.removesuffix(TAIL), LIMIT) == b"".join(parts) + b"!"


@given(st.binary(max_size=200), st.integers(0, 300))
@example(bytes([0x02, 0x00]) * 100, 0)
def test_any_bytes_are_read_within_the_limit_or_refused(garbage, limit):
    try:
        assert len(inflate(garbage, limit)) <= limit
    except (Corrupt, TooLong):
        pass


@pytest.mark.parametrize("end", [10, 1000, -10, -1])
def test_a_message_that_was_cut_off_is_refused(end):
    with pytest.raises(Corrupt):
        inflate(compressed(os.urandom(2000))[:end], LIMIT)


def test_an_empty_payload_is_refused():
    """Without its one byte the tail is no block."""
    with pytest.raises(Corrupt):
        inflate(b"", LIMIT)


@pytest.mark.parametrize("more", [b"", b"\x00\x00", compressed(b"more")])
def test_nothing_but_its_byte_of_zeroes_may_follow_a_last_block(more):
    """To leave out what follows would be to swallow a part of the message."""
    with pytest.raises(Corrupt, match="does not end where it should"):
        inflate(compressed(b"Hello", flush=zlib.Z_FINISH) + more, LIMIT)


@pytest.mark.parametrize("size", [0, 1, LIMIT])
def test_the_limit_itself_is_allowed(size):
    assert inflate(compressed(bytes(size)), size) == bytes(size)
    with pytest.raises(TooLong, match=rf"at most {size} bytes"):
        inflate(compressed(bytes(size + 1)), size)


def test_a_bomb_is_not_inflated_beyond_the_limit():
    bomb = compressed(bytes(60_000_000))
    assert len(bomb) < LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(TooLong):
            inflate(bomb, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMIT + len(bomb)
