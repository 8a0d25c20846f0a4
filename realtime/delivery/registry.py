"""Which connections there are; in numbers, for the heartbeat, and for the day on which all of them must go."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import structlog

from realtime.delivery.connection import Connection
from realtime.delivery.counts import Counts
from realtime.policy import closing

logger = structlog.get_logger("realtime.delivery")


class Registry:
    """The connections of this process, in the order in which they came. Nothing here blocks."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        #: What they did, all together.
        self.counts = Counts()
        self._latecomers: tuple[random.Random, float] | None = None
        #: Called with each connection that has been dropped, in this order; must neither block nor raise.
        self.on_drop: list[Callable[[Connection], object]] = []

    @contextmanager
    def registered(self, connection: Connection) -> Iterator[None]:
        """Register *connection* for as long as the block runs, and drop it however that ends."""
        self.register(connection)
        try:
            yield
        finally:
            self.drop(connection)

    def register(self, connection: Connection) -> None:
        """Count *connection* in, for the heartbeat and for whoever looks; after `turn_away` send it away."""
        if connection.id in self._connections:
            raise ValueError(f"connection {connection.id!r} is already registered")
        self.counts.registered += 1
        connection.number = self.counts.registered
        connection.counts = self.counts
        self._connections[connection.id] = connection
        if self._latecomers is not None:
            (parting,) = closing.partings(1, 0.0, *self._latecomers)
            connection.drain(parting.delay, parting.reason)
        logger.info("connected", connection_id=connection.id, connections=len(self._connections))

    def drop(self, connection: Connection) -> None:
        """Count *connection* out; again does no harm."""
        if self._connections.get(connection.id) is not connection:
            return
        del self._connections[connection.id]
        closed = connection.closed
        if closed is not None:
            self.counts.went(closed.by, closed.code)
        logger.info(
            "disconnected",
            connection_id=connection.id,
            code=None if closed is None else int(closed.code),
            reason=None if closed is None else closed.reason,
            connections=len(self._connections),
        )
        for told in self.on_drop:
            told(connection)

    def get(self, connection_id: str) -> Connection | None:
        """The registered connection with this id."""
        return self._connections.get(connection_id)

    @property
    def connections(self) -> Collection[Connection]:
        """All registered connections, in the order of their registration; a live view, not to be kept."""
        return self._connections.values()

    def newcomers(self, after: int) -> list[Connection]:
        """The connections whose `number` is greater than *after*; costs as much as there are of them."""
        found = []
        for connection in reversed(self._connections.values()):
            if connection.number <= after:
                break
            found.append(connection)
        return found[::-1]

    def turn_away(self, chance: random.Random, absence: float = closing.RESTART) -> None:
        """From now on send away at once who is registered: its opening handshake was under way when a stop began."""
        self._latecomers = (chance, absence)

    def drain(self, window: float, chance: random.Random, absence: float = closing.RESTART) -> float:
        """Send every client away with 1012 within *window* seconds, paced; return the seconds until the last
        close.

        A connection that is draining already keeps its time.

        Args:
          absence: seconds from the last close until the server is there again.
        """
        leaving = list(self.connections)
        partings = closing.partings(len(leaving), window, chance, absence)
        for connection, parting in zip(leaving, partings, strict=True):
            connection.drain(parting.delay, parting.reason)
        return closing.span(len(leaving), window)
