import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.delivery import frames
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, WriteStalled, ping_payload, round_trip

from .memory_wire import MemoryWire


@given(sent=st.floats(0, 1e9), seconds=st.floats(0, 3000))
def test_a_pong_tells_the_round_trip_time(sent, seconds):
    assert round_trip(ping_payload(sent), sent + seconds) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"short",
        b"123456789",
        ping_payload(11.0),
        ping_payload(-5000),
        ping_payload(math.nan),
        ping_payload(-math.inf),
    ],
)
def test_a_pong_that_answers_no_ping_of_ours_tells_nothing(payload):
    assert round_trip(payload, 10.0) is None


@given(st.binary(max_size=125), st.floats(0, 1e9))
def test_no_payload_of_a_peers_can_hurt(payload, now):
    found = round_trip(payload, now)
    assert found is None or 0 <= found < 3600


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PeerClosed(), "peer closed with 1006"),
        (PeerClosed(1001, "bye"), "peer closed with 1001 (bye)"),
        (PeerMisbehaved(1009, "too big"), "peer broke the protocol: 1009 too big"),
        (PeerMisbehaved(1002), "peer broke the protocol: 1002"),
        (WriteStalled(10.0), "no write progress for 10 s"),
    ],
)
def test_errors_speak_for_themselves(error, text):
    assert str(error) == text


async def test_a_wire_that_gives_out_no_writer_cannot_be_owed_anything():
    wire = MemoryWire()
    assert wire.writer() is None
    with pytest.raises(RuntimeError, match="MemoryWire can be owed nothing: it gave out no writer"):
        wire.owe(frames.rest(b"rest"))
