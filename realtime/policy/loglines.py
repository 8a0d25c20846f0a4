"""Events as lines of a log. Each line ends the story up to it: it says which position in the store it stands for."""

import abc
import re
from typing import Any

import attrs
import msgspec

from realtime.policy.pages import Cursor

DAY = 10
"""Characters of ``YYYY-MM-DD``, with which a timestamp begins."""


@attrs.frozen
class Mark:
    """What a line says of where it stands: the position behind its event, and its event's day."""

    position: Cursor
    day: str


class LineFormat(abc.ABC):
    """A way to write events, one to a line, from which the position can be read again."""

    @abc.abstractmethod
    def line(self, wire: dict[str, Any], position: Cursor) -> bytes:
        """The event as on the wire, as one line with its end."""

    @abc.abstractmethod
    def mark(self, line: bytes) -> Mark | None:
        """What a whole line, without its end, says of its place; None if it is not one of ours."""

    @abc.abstractmethod
    def begins(self, piece: bytes) -> bool:
        """Whether *piece*, which has no end of line, may be the beginning of a line of ours."""


class JsonLines(LineFormat):
    """``{"epoch":"k3v9","offset":41,"event_id":...}``: the event as on the wire, behind its position."""

    _BEGIN = b'{"epoch":"'

    def line(self, wire: dict[str, Any], position: Cursor) -> bytes:
        """See `LineFormat.line`."""
        return msgspec.json.encode({"epoch": position.epoch, "offset": position.offset, **wire}) + b"\n"

    def mark(self, line: bytes) -> Mark | None:
        """See `LineFormat.mark`."""
        try:
            found = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return Mark(Cursor(found.epoch, found.offset), found.timestamp[:DAY])

    def begins(self, piece: bytes) -> bool:
        """See `LineFormat.begins`."""
        return piece[: len(self._BEGIN)] == self._BEGIN[: len(piece)]


class _Line(msgspec.Struct):
    epoch: str
    offset: int
    timestamp: str


class TextLines(LineFormat):
    """``2026-01-01T00:00:00.000Z WARNING  door_opened hall a,b {"door":7} k3v9:41``, for people and for grep.

    Source and tags are ``-`` if there are none; spaces in them become ``_``. The last word is the position.
    """

    _WHOLE = re.compile(rb"(\d{4}-\d\d-\d\d)T[0-9:.]+Z [A-Z]+ +\S+ \S+ \S+ \{.*\} (\S+)")

    def line(self, wire: dict[str, Any], position: Cursor) -> bytes:
        """See `LineFormat.line`."""
        source, tags = _word(wire["source"] or "-"), ",".join(map(_word, wire["tags"])) or "-"
        data = msgspec.json.encode(wire["data"]).decode()
        severity = wire["severity"].upper()
        return f"{wire['timestamp']} {severity:8} {wire['type']} {source} {tags} {data} {position}\n".encode()

    def mark(self, line: bytes) -> Mark | None:
        """See `LineFormat.mark`."""
        match = self._WHOLE.fullmatch(line)
        position = None if match is None else Cursor.parse(match[2].decode(errors="replace"))
        return None if match is None or position is None else Mark(position, match[1].decode())

    def begins(self, piece: bytes) -> bool:
        """See `LineFormat.begins`."""
        return re.fullmatch(rb"[0-9T:.Z-]{0,24}( .*)?", piece, re.DOTALL) is not None


def _word(text: str) -> str:
    return "_".join(text.split()) or "_"
