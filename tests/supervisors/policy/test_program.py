"""Lines of output, and what the end of a program means."""

from __future__ import annotations

import signal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.policy.program import CUT, LineSplitter, judge, signal_name


def split(chunks: list[bytes], max_bytes: int = 8) -> list[bytes]:
    splitter = LineSplitter(max_bytes)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


def test_lines_are_put_together_from_pieces_and_lose_their_ends() -> None:
    assert split([b"one\ntw", b"o\r\n", b"\nthr", b"ee"]) == [b"one", b"two", b"", b"three"]


def test_a_long_line_is_cut_as_soon_as_it_is_too_long_and_its_tail_is_left_out() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"12345") == [b"1234" + CUT]
    assert splitter.feed(b"6789") == []
    assert splitter.feed(b"0\nnext\n") == [b"next"]
    assert splitter.finish() == []
    assert splitter.cut == 1


def test_a_long_line_that_comes_whole_is_cut_too() -> None:
    assert split([b"123456789\n12345678\n"]) == [b"12345678" + CUT, b"12345678"]


def test_a_tail_that_never_ends_leaves_nothing_behind() -> None:
    assert split([b"123456789", b"0" * 100]) == [b"12345678" + CUT]


LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=6)


@given(LINES, st.lists(st.integers(0, 80), max_size=8))
def test_lines_do_not_depend_on_how_the_bytes_are_cut_into_pieces(lines: list[bytes], cuts: list[int]) -> None:
    text = b"".join(line + b"\n" for line in lines)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert split(pieces) == [line if len(line) <= 8 else line[:8] + CUT for line in lines]


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_what_is_held_never_exceeds_the_bound(pieces: list[bytes]) -> None:
    splitter = LineSplitter(8)
    for piece in pieces:
        assert all(len(line) <= 8 + len(CUT) for line in splitter.feed(piece))
        assert len(splitter._held) <= 8


@pytest.mark.parametrize(
    ("returncode", "ok", "ready", "asked", "verdict"),
    [
        (0, (0,), True, False, "normal"),
        (0, (0,), True, True, "shutdown"),
        (0, (0,), False, False, "failed"),
        (0, (3,), True, False, "failed"),
        (3, (0, 3), True, False, "normal"),
        (1, (0,), True, True, "failed"),
        (-signal.SIGTERM, (0,), True, True, "shutdown"),
        (-signal.SIGTERM, (0,), True, False, "failed"),
        (143, (0,), True, True, "shutdown"),
        (143, (0,), True, False, "failed"),
        (-signal.SIGKILL, (0,), True, True, "failed"),
    ],
)
def test_the_end_of_a_program_is_judged(
    returncode: int, ok: tuple[int, ...], ready: bool, asked: bool, verdict: str
) -> None:
    assert judge(returncode, ok, ready=ready, asked=asked) == verdict


def test_signals_have_names_and_exit_statuses_none() -> None:
    assert signal_name(-9) == "SIGKILL"
    assert signal_name(-40) == "signal 40"
    assert signal_name(3) is None
