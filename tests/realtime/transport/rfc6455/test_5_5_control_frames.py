"""Section 5.5: Close, Ping and Pong."""

from __future__ import annotations

import pytest

from .kit import CLOSE, PING, PONG, TEXT, close, closed, frame, talking

PAYLOADS = [b"", b"?", b"\x00\xff\xfe", "grüße".encode(), bytes(range(125))]


@pytest.mark.parametrize("payload", PAYLOADS, ids=["none", "one", "not utf-8", "utf-8", "longest"])
async def test_5_5_2_a_ping_is_answered_with_its_own_payload(way, payload):
    async with talking(way) as client:
        await client.send(frame(PING, payload))
        await client.hear((PONG, payload))


async def test_5_5_2_each_of_many_pings_is_answered_in_order(way):
    sent = [str(number).encode() for number in range(100)]
    async with talking(way) as client:
        await client.send(b"".join(frame(PING, payload) for payload in sent))
        await client.hear(*((PONG, payload) for payload in sent))


@pytest.mark.parametrize("payload", PAYLOADS, ids=["none", "one", "not utf-8", "utf-8", "longest"])
async def test_5_5_3_an_unasked_pong_is_not_answered(way, payload):
    async with talking(way) as client:
        await client.send(frame(PONG, payload) * 3 + frame(PING, b"and"))
        await client.hear((PONG, b"and"))
        await client.send(close(1000))
        await client.hear_end(closed(1000))


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize(("length", "form"), [(126, 16), (127, 16), (1000, 16), (65_536, 64), (5, 16), (5, 64)])
async def test_a_control_frame_has_at_most_125_bytes_and_a_short_length(way, opcode, length, form):
    payload = (b"\x03\xe8" + b"x" * length)[:length]
    async with talking(way) as client:
        await client.send(frame(opcode, payload, form=form))
        await client.hear_failure(1002)


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_5_5_1_after_a_close_frame_no_other_counts(way, opcode):
    async with talking(way) as client:
        await client.send(close(1000) + frame(opcode, b"late") + frame(TEXT, b"late") + frame(15) + close(4000))
        await client.hear_end(closed(1000))


async def test_a_ping_before_the_close_is_answered_before_it(way):
    async with talking(way) as client:
        await client.send(frame(PING, b"last"))
        await client.hear((PONG, b"last"))
        await client.send(close(1000))
        await client.hear_end(closed(1000))
