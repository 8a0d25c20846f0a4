"""Section 8.1: text is UTF-8 (RFC 3629), wherever frames and segments cut it; anything else closes with 1007."""

from __future__ import annotations

import pytest

from .kit import BINARY, CONTINUATION, TEXT, Way, close, closed, frame, talking

VALID = {
    "two bytes": "\u00e9\u0080\u07ff",
    "three bytes": "\u20ac\u0800\uffff",
    "four bytes": "\U0001f600\U00010000\U0010ffff",
    "around the surrogates": "\ud7ff\ue000",
    "no characters": "\ufffe\uffff\U0001fffe",
    "nul": "a\x00b",
    "byte order mark": "\ufeffa",
    "combined": "e\u0301\u200d",
}
INVALID = {
    "lone continuation": b"\x80",
    "lone start": b"\xc3",
    "start before ascii": b"\xc3a",
    "never": b"\xfe",
    "never either": b"\xff",
    "overlong slash": b"\xc0\xaf",
    "overlong nul": b"\xc0\x80",
    "overlong in three": b"\xe0\x80\xaf",
    "overlong in four": b"\xf0\x80\x80\xaf",
    "highest overlong in two": b"\xc1\xbf",
    "highest overlong in three": b"\xe0\x9f\xbf",
    "highest overlong in four": b"\xf0\x8f\xbf\xbf",
    "high surrogate": b"\xed\xa0\x80",
    "low surrogate": b"\xed\xbf\xbf",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "truncated three": b"\xe2\x82",
    "truncated four": b"\xf0\x9f\x98",
    "latin 1": "grüße".encode("latin1"),
    "autobahn 6.3.1": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
}


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
async def test_valid_text(way, text):
    async with talking(way) as client:
        await client.send(frame(TEXT, text.encode()))
        await client.hear(way.echo(TEXT, text.encode()))


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
async def test_valid_text_cut_between_any_two_bytes(way, text):
    encoded = text.encode()
    async with talking(way) as client:
        for at in range(len(encoded) + 1):
            await client.send(frame(TEXT, encoded[:at], fin=False) + frame(CONTINUATION, encoded[at:]))
            await client.hear(way.echo(TEXT, encoded))


async def test_valid_text_of_one_byte_in_each_fragment(way):
    encoded = "\U0001f600\u20ac\u00e9!".encode()
    frames = [frame(TEXT, b"", fin=False)]
    frames += [frame(CONTINUATION, encoded[at : at + 1], fin=False) for at in range(len(encoded))]
    async with talking(way) as client:
        await client.send(b"".join([*frames, frame(CONTINUATION)]))
        await client.hear(way.echo(TEXT, encoded))


@pytest.mark.parametrize("bad", INVALID.values(), ids=INVALID)
@pytest.mark.parametrize("around", [b"", b"ascii"], ids=["alone", "within"])
async def test_invalid_text(way, bad, around):
    async with talking(way) as client:
        await client.send(frame(TEXT, around + bad + around))
        await client.hear_failure(1007)


@pytest.mark.parametrize("bad", INVALID.values(), ids=INVALID)
async def test_invalid_text_in_fragments(way, bad):
    frames = [frame(TEXT, b"fine", fin=False)]
    frames += [frame(CONTINUATION, bytes([byte]), fin=False) for byte in bad]
    async with talking(way) as client:
        await client.send(b"".join([*frames, frame(CONTINUATION)]))
        await client.hear_failure(1007)


async def test_a_character_does_not_go_on_in_the_next_message(way):
    first, second = "\u20ac".encode()[:2], "\u20ac".encode()[2:]
    async with talking(way) as client:
        await client.send(frame(TEXT, first) + frame(TEXT, second))
        await client.hear_failure(1007)


async def test_invalid_text_is_refused_before_its_message_has_ended(way):
    """Section 8.1 does not ask for it; waiting would give a client the longest message's time for nothing."""
    async with talking(way) as client:
        await client.send(frame(TEXT, b"\xff", fin=False))
        await client.hear_failure(1007)


async def test_half_a_character_at_the_end_of_a_fragment_is_waited_for(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"\xe2\x82", fin=False))
        await client.send(frame(CONTINUATION, b"\xac"))
        await client.hear(way.echo(TEXT, "\u20ac".encode()))


@pytest.mark.parametrize("bad", INVALID.values(), ids=INVALID)
async def test_the_reason_of_a_close_frame_is_utf8_too(way, bad):
    async with talking(way) as client:
        await client.send(close(1000, b"because " + bad))
        await client.hear_failure(1007)


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
async def test_a_valid_reason_comes_back(way, text):
    async with talking(way) as client:
        await client.send(close(1000, text.encode()))
        await client.hear_end(closed(1000, text.encode()))


@pytest.mark.parametrize("bad", INVALID.values(), ids=INVALID)
async def test_binary_may_be_anything(bad):
    async with talking(Way("/ws/plain", byte_by_byte=False)) as client:
        await client.send(frame(BINARY, bad) + frame(BINARY, bad, fin=False) + frame(CONTINUATION, bad))
        await client.hear((BINARY, bad), (BINARY, bad + bad))
