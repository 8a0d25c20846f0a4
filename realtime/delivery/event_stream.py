"""Messages as server-sent events (HTML Living Standard, section 9.2): ``text/event-stream``, line by line.

Pure: bytes of JSON in, bytes of the stream out.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from realtime.policy.pages import Cursor

# Section 9.2.6: what ends a line. Our JSON has none in it, but data that was encoded by others may.
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_HEARTBEATS: Final = ("ping", "heartbeat")


class _Head(msgspec.Struct):
    type: str = ""
    offset: int | None = None
    epoch: str | None = None
    recovered: bool = False
    timestamp: str | None = None


class EventStream:
    """The stream of one client, which remembers what the ids of its events are made of.

    Args:
      since: what the client has seen last, if it said so.
    """

    def __init__(self, since: Cursor | None = None) -> None:
        self._since = since
        self._epoch = ""

    def event(self, message: bytes) -> bytes:
        """*message*, JSON, as an event with its type and with an id to resume from; a heartbeat as a comment."""
        head = msgspec.json.decode(message, type=_Head)
        if head.type in _HEARTBEATS:
            return comment(f"{head.type} {head.timestamp}")
        id = self._id(head)
        lines = [] if id is None else [f"id: {id}".encode()]
        if _fits_a_line(head.type):
            lines.append(b"event: " + head.type.encode())
        lines += [b"data: " + line for line in _LINE_END.split(message)]
        return b"\n".join([*lines, b"", b""])

    def _id(self, head: _Head) -> Cursor | None:
        if head.epoch is not None:  # a confirmation
            self._epoch = head.epoch
            if head.recovered and self._since is not None:
                # What was missed is still to come: who is cut off before it has to ask for it again.
                return self._since
        return None if head.offset is None else Cursor(self._epoch, head.offset)


def comment(text: str) -> bytes:
    """A line that clients ignore: it keeps proxies from closing a stream on which nothing happens."""
    return f": {text}\n\n".encode()


def retry(seconds: float) -> bytes:
    """Tells the client how long to wait before it comes back."""
    return f"retry: {round(seconds * 1000)}\n\n".encode()


def _fits_a_line(type: str) -> bool:
    return bool(type) and not re.search(r"[\r\n\0]", type)
