"""What the output and the end of an external program mean: bytes and numbers in, values out."""

from __future__ import annotations

import signal
from collections.abc import Container
from typing import Final, Literal

MAX_LINE_BYTES: Final = 8192
"""Bytes kept of one line of output; the rest is left out: a program cannot fill the memory by writing no newline."""

CUT: Final = b" [cut]"
"""What a line that was too long ends with."""

Verdict = Literal["normal", "shutdown", "failed"]


class LineSplitter:
    """Cuts a stream of bytes into lines, each without its line end and of at most *max_bytes* bytes."""

    __slots__ = ("_held", "_in_tail", "cut", "max_bytes")

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.cut = 0
        """How many lines were too long."""
        self._held = b""
        self._in_tail = False
        """What comes now belongs to a line that was cut already."""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that *data* completes, and one that is too long already."""
        *whole, rest = (self._held + data).split(b"\n")
        lines: list[bytes] = []
        for line in whole:
            if self._in_tail:
                self._in_tail = False
            else:
                lines.append(self._shortened(line.removesuffix(b"\r")))
        if not self._in_tail and len(rest) > self.max_bytes:
            lines.append(self._shortened(rest))
            self._in_tail = True
        self._held = b"" if self._in_tail else rest
        return lines

    def finish(self) -> list[bytes]:
        """The last line, if the stream ended in the middle of one."""
        rest, self._held = self._held, b""
        return [rest] if rest else []

    def _shortened(self, line: bytes) -> bytes:
        if len(line) <= self.max_bytes:
            return line
        self.cut += 1
        return line[: self.max_bytes] + CUT


def judge(returncode: int, ok_statuses: Container[int], *, ready: bool, asked: bool) -> Verdict:
    """What it means that a program ended with *returncode*, negative for a signal as in :mod:`subprocess`.

    One that was *asked* to stop by SIGTERM may die of it, or say so in the way of shells (status 143).  One that was
    never *ready* has failed to start, whatever its status.
    """
    if not ready:
        return "failed"
    if asked and returncode in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return "shutdown"
    if returncode not in ok_statuses:
        return "failed"
    return "shutdown" if asked else "normal"


def signal_name(returncode: int) -> str | None:
    """The name of the signal that a program died of; None if it exited."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:  # real-time signals have numbers only
        return f"signal {-returncode}"
