"""How far a client has come in each of its topics: where to resume, and what was lost if that was not possible."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from realtime.policy.pages import Cursor


class Heard(msgspec.Struct):
    """What of a server's message tells of a place, and of a heartbeat."""

    type: str | None = None
    timestamp: str | None = None
    topic: str | None = None
    epoch: str | None = None
    offset: int | None = None
    recovered: bool = False
    conflate: bool = False


class Places:
    """The last message of each topic, over all connections of one client."""

    def __init__(self) -> None:
        self._seen: dict[str, Cursor] = {}

    def hear(self, message: Heard) -> str | None:
        """Go on by one message; returns what was lost before it, in words, if that is how it is."""
        if message.topic is None or message.offset is None:
            if message.type == "unsubscribed" and message.topic is not None:
                self._seen.pop(message.topic, None)
            return None
        before = self._seen.get(message.topic)
        if message.type != "subscribed":
            if before is not None:
                self._seen[message.topic] = Cursor(before.epoch, message.offset)
            return None
        if message.epoch is None or (before is not None and message.recovered):
            return None  # what was missed follows, and moves the place
        now = self._seen[message.topic] = Cursor(message.epoch, message.offset)
        # Under conflation only the latest counts, and that is sent.
        return None if before is None or message.conflate else _lost(message.topic, before, now)

    def of(self, topic: str) -> Cursor | None:
        """Where the client is in *topic*, if it has been there."""
        return self._seen.get(topic)

    @property
    def only(self) -> Cursor | None:
        """Where the client is, if it has been in one topic and no more, as on a fixed stream."""
        return next(iter(self._seen.values())) if len(self._seen) == 1 else None


def resuming(url: str, place: Cursor | None) -> str:
    """*url*, asking to resume behind *place*; whatever it asked for before."""
    if place is None:
        return url
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query, True) if key not in ("epoch", "offset")]
    return parts._replace(query=urlencode([*kept, ("epoch", place.epoch), ("offset", place.offset)])).geturl()


def _lost(topic: str, before: Cursor, now: Cursor) -> str | None:
    if before.epoch != now.epoch:
        return f"{topic}: its numbers began anew, so what was missed meanwhile cannot be told"
    missed = now.offset - before.offset
    if missed == 0:
        return None
    return f"{topic}: {missed} message{'s were' if missed > 1 else ' was'} missed and cannot be sent again"
