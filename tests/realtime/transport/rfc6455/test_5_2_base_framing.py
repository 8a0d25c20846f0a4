"""Section 5.2: FIN, reserved bits, opcodes, and the length in each of its forms."""

from __future__ import annotations

import pytest

from .kit import BINARY, CLOSE, CONTINUATION, MAX_MESSAGE, PING, PONG, TEXT, close, closed, frame, talking

LENGTHS = [0, 1, 125, 126, 127, 128, 65_535, 65_536, MAX_MESSAGE]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", LENGTHS)
async def test_each_length_in_its_shortest_form(way, opcode, length):
    payload = bytes(32 + at % 90 for at in range(length))
    async with talking(way) as client:
        await client.send(frame(opcode, payload))
        await client.hear(way.echo(opcode, payload))
        await client.send(close(1000))
        await client.hear_end(closed(1000))


@pytest.mark.parametrize(("length", "form"), [(0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65_535, 64)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION])
async def test_a_longer_form_than_needed_is_refused(way, opcode, length, form):
    """The minimal number of bytes MUST be used to encode the length."""
    begun = frame(TEXT, b"", fin=False) if opcode == CONTINUATION else b""
    async with talking(way) as client:
        await client.send(begun + frame(opcode, b"x" * length, form=form))
        await client.hear_failure(1002)


@pytest.mark.parametrize("length", [2**63, 2**63 + 1, 2**64 - 1])
async def test_the_most_significant_bit_of_a_64_bit_length_must_be_0(way, length):
    async with talking(way) as client:
        await client.send(frame(BINARY, b"", length=length))
        await client.hear_failure(1002)


@pytest.mark.parametrize("length", [MAX_MESSAGE + 1, 2**20, 2**31, 2**32, 2**62, 2**63 - 1])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_header_alone_is_enough_to_refuse_what_is_too_long(way, opcode, length):
    async with talking(way) as client:
        await client.send(frame(opcode, b"", length=length))
        await client.hear_failure(1009)


@pytest.mark.parametrize(
    ("opcode", "rsv"),
    [
        *((TEXT, rsv) for rsv in range(1, 8)),
        *((code, bit) for code in (BINARY, CLOSE, PING, PONG) for bit in (1, 2, 4)),
    ],
)
async def test_reserved_bits_must_be_0_without_an_extension(way, opcode, rsv):
    async with talking(way) as client:
        await client.send(frame(opcode, b"", rsv=rsv))
        await client.hear_failure(1002)


@pytest.mark.parametrize("rsv", [1, 2, 4])
async def test_reserved_bits_of_a_continuation_too(way, rsv):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", rsv=rsv))
        await client.hear_failure(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"payload"])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
async def test_an_unknown_opcode_fails_the_connection(way, opcode, payload, fin):
    async with talking(way) as client:
        await client.send(frame(opcode, payload, fin=fin))
        await client.hear_failure(1002)


@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
async def test_an_unknown_opcode_between_fragments_too(way, opcode):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"a", fin=False) + frame(opcode) + frame(CONTINUATION, b"b"))
        await client.hear_failure(1002)


async def test_what_was_valid_before_is_still_answered(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"valid"))
        await client.hear(way.echo(TEXT, b"valid"))
        await client.send(frame(3) + frame(TEXT, b"ignored"))
        await client.hear_failure(1002)


async def test_many_frames_in_one_segment(way):
    async with talking(way) as client:
        sent = [str(number).encode() for number in range(200)]
        await client.send(b"".join(frame(TEXT, payload) for payload in sent))
        await client.hear(*(way.echo(TEXT, payload) for payload in sent))
