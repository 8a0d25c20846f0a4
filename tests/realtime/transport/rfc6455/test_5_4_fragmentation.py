"""Section 5.4: messages in several frames, with control frames between them and nothing else."""

from __future__ import annotations

import pytest

from .kit import BINARY, CLOSE, CONTINUATION, MAX_MESSAGE, PING, PONG, TEXT, close, closed, frame, talking


def fragments(opcode: int, *payloads: bytes) -> list[bytes]:
    """A message in as many frames."""
    opcodes = [opcode] + [CONTINUATION] * (len(payloads) - 1)
    last = len(payloads) - 1
    return [
        frame(code, payload, fin=at == last) for at, (code, payload) in enumerate(zip(opcodes, payloads, strict=True))
    ]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    "payloads",
    [
        (b"one", b"two"),
        (b"one", b"two", b"three"),
        (b"", b""),
        (b"", b"late"),
        (b"early", b""),
        (b"", b"", b"middle", b"", b""),
        (b"x" * 125, b"y" * 126, b"z" * 40_000),
        tuple(b"%d" % digit for digit in range(10)) * 20,
    ],
    ids=["two", "three", "both empty", "first empty", "last empty", "empty around", "of all sizes", "two hundred"],
)
async def test_fragments_make_one_message(way, opcode, payloads):
    async with talking(way) as client:
        await client.send(b"".join(fragments(opcode, *payloads)))
        await client.hear(way.echo(opcode, b"".join(payloads)))


async def test_one_message_after_the_other(way):
    async with talking(way) as client:
        for number in (b"1", b"2", b"3"):
            await client.send(b"".join(fragments(TEXT, b"message ", number)) + frame(BINARY, number))
        for number in (b"1", b"2", b"3"):
            await client.hear(way.echo(TEXT, b"message " + number), way.echo(BINARY, number))


@pytest.mark.parametrize(
    ("between", "answer"),
    [
        (frame(PING, b"?"), [(PONG, b"?")]),
        (frame(PONG, b"unasked"), []),
        (frame(PING) + frame(PONG) + frame(PING, b"!"), [(PONG, b""), (PONG, b"!")]),
    ],
    ids=["ping", "pong", "three"],
)
async def test_control_frames_may_come_between(way, between, answer):
    first, second, third = fragments(TEXT, b"a", b"b", b"c")
    async with talking(way) as client:
        await client.send(first + between + second)
        await client.hear(*answer)
        await client.send(between + third)
        await client.hear(*answer, way.echo(TEXT, b"abc"))


async def test_a_close_between_fragments_ends_it_and_the_message_is_lost(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"a", fin=False) + close(4001, b"bye") + frame(CONTINUATION, b"b"))
        await client.hear_end(closed(4001, b"bye"))


@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
@pytest.mark.parametrize("payload", [b"", b"x"])
@pytest.mark.parametrize(
    "before",
    [b"", frame(PING), frame(TEXT, b"", fin=False) + frame(CONTINUATION)],
    ids=["first", "after a ping", "after the end"],
)
async def test_a_continuation_of_nothing_fails_the_connection(way, before, payload, fin):
    heard = {b"": [], frame(PING): [(PONG, b"")]}.get(before, [way.echo(TEXT, b"")])
    async with talking(way) as client:
        await client.send(before)
        await client.hear(*heard)
        await client.send(frame(CONTINUATION, payload, fin=fin))
        await client.hear_failure(1002)


@pytest.mark.parametrize("first", [TEXT, BINARY])
@pytest.mark.parametrize("second", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False], ids=["fin", "more"])
async def test_a_new_message_inside_of_another_fails_the_connection(way, first, second, fin):
    async with talking(way) as client:
        await client.send(frame(first, b"a", fin=False) + frame(second, b"b", fin=fin))
        await client.hear_failure(1002)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8"])
async def test_a_control_frame_must_not_be_fragmented(way, opcode, payload):
    async with talking(way) as client:
        await client.send(frame(opcode, payload, fin=False) + frame(CONTINUATION))
        await client.hear_failure(1002)


async def test_fragments_are_too_big_together(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"x" * MAX_MESSAGE, fin=False) + frame(CONTINUATION, b"x"))
        await client.hear_failure(1009)


async def test_fragments_of_the_full_size_are_not(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"x" * (MAX_MESSAGE - 1), fin=False) + frame(CONTINUATION, b"x"))
        await client.hear(way.echo(TEXT, b"x" * MAX_MESSAGE))
