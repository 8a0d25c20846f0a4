"""A client of server-sent events, written from the standard (HTML, section 9.2.6) and nothing of ours."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs


@attrs.frozen
class SentEvent:
    """One event as a browser would dispatch it."""

    type: str
    data: str
    last_event_id: str

    def json(self) -> dict[str, Any]:
        """Its data."""
        found: dict[str, Any] = json.loads(self.data)
        return found


@attrs.define
class EventSource:
    """Takes the bytes of a stream as they come; *events*, *comments* and *retry* are what they said."""

    events: list[SentEvent] = attrs.field(factory=list)
    comments: list[str] = attrs.field(factory=list)
    retry: int | None = None
    _unread: bytes = b""
    _data: list[str] = attrs.field(factory=list)
    _type: str = ""
    _id: str = ""

    def feed(self, chunk: bytes) -> None:
        """Read on; a line end that may still become longer waits for the next chunk."""
        self._unread += chunk
        while (found := re.search(rb"\r\n|\n|\r(?!\Z)", self._unread)) is not None:
            line, self._unread = self._unread[: found.start()], self._unread[found.end() :]
            self._take(line.decode())

    def _take(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments.append(value)
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry = int(value)

    def _dispatch(self) -> None:
        if self._data:
            self.events.append(SentEvent(self._type or "message", "\n".join(self._data), self._id))
        self._data, self._type = [], ""
