"""Why the hub refuses what it is asked for."""

from __future__ import annotations


class UnknownTopic(LookupError):
    """No such topic: neither the name nor a prefix of it has been declared."""

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        return f"topic {self.topic!r} is not known"


class TooManyTopics(Exception):
    """The connection has as many topics as one may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"a connection may subscribe to at most {self.limit} topics"
