"""When a log begins a new file, what the old one is called, and which ones may go."""

import re
from collections.abc import Iterable

import attrs

from realtime.fields import at_least


@attrs.frozen
class Rotation:
    """Rules for the files of one log.

    Attributes:
      max_bytes: a file that would grow beyond it is put away first; a longer line has a file for itself.
      daily: whether each day (UTC, of the events) begins a new file.
      keep: files that were put away and are kept; older ones are removed.
    """

    max_bytes: int = attrs.field(default=10_000_000, validator=at_least(1))
    daily: bool = True
    keep: int = attrs.field(default=7, validator=at_least(1))

    def due(self, size: int, day: str | None, line_bytes: int, line_day: str) -> bool:
        """Whether a file of *size* bytes is put away before a line is written to it.

        Args:
          day: of the last line in the file, ``YYYY-MM-DD``; None if there is none.
        """
        if day is None or size == 0:
            return False
        # Later only: a clock that is set back must not make a file for each line.
        return size + line_bytes > self.max_bytes or (self.daily and line_day > day)


def rotated_name(name: str, number: int, day: str) -> str:
    """What the file *name* is called as the *number*-th that is put away, with *day* that of its last line.

    ``events.jsonl`` becomes ``events.2026-01-01.000042.jsonl``, by which tools still know what it is.
    """
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{day}.{number:06}.{suffix}" if dot and stem else f"{name}.{day}.{number:06}"


def rotated(name: str, found: Iterable[str]) -> list[tuple[int, str]]:
    """The files among *found* that *name* was put away as, with their numbers, oldest first."""
    stem, dot, suffix = name.rpartition(".")
    before, after = (stem, f".{suffix}") if dot and stem else (name, "")
    pattern = re.compile(rf"{re.escape(before)}\.\d{{4}}-\d\d-\d\d\.(\d{{6,}}){re.escape(after)}", re.ASCII)
    return sorted((int(match[1]), each) for each in found if (match := pattern.fullmatch(each)))


def surplus(files: list[tuple[int, str]], keep: int) -> list[str]:
    """Those of *files* (oldest first) that are too many."""
    return [name for _, name in files[: max(0, len(files) - keep)]]
