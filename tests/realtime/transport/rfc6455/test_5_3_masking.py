"""Sections 5.1 and 5.3: clients mask every frame, servers none. That ours masks none is checked in every case."""

from __future__ import annotations

import pytest

from .kit import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, talking

# Of each length modulo 4, and longer than one read.
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 127, 66_001]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_an_unmasked_message_closes_with_1002(way, opcode, length):
    async with talking(way) as client:
        await client.send(frame(opcode, b"x" * length, key=None))
        await client.hear_failure(1002)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8"])
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
async def test_an_unmasked_control_frame_too(way, opcode, payload):
    async with talking(way) as client:
        await client.send(frame(opcode, payload, key=None))
        await client.hear_failure(1002)


async def test_an_unmasked_fragment_too(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", key=None))
        await client.hear_failure(1002)


@pytest.mark.parametrize("key", [bytes(4), b"\xff" * 4, b"\x01\x02\x03\x04", b"\x00\x00\x00\xff"])
async def test_every_byte_is_unmasked_with_its_own_byte_of_the_key(way, key):
    async with talking(way) as client:
        for length in LENGTHS:
            payload = bytes(32 + at * 7 % 90 for at in range(length))
            await client.send(frame(TEXT, payload, key=key))
            await client.hear(way.echo(TEXT, payload))


async def test_each_frame_has_a_key_of_its_own(way):
    async with talking(way) as client:
        await client.send(
            frame(TEXT, b"one ", fin=False, key=b"abcd")
            + frame(PING, b"?", key=b"efgh")
            + frame(CONTINUATION, b"message", key=b"ijkl")
        )
        await client.hear((PONG, b"?"), way.echo(TEXT, b"one message"))
