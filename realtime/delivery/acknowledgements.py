"""Who still owes an acknowledgement of what.

Bounded: each connection that is waited for counts, whatever it is waited for. A connection that ends has not
acknowledged, at once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs
import trio

from realtime.delivery.connection import Connection

MAX_OUTSTANDING: Final = 100_000
"""Acknowledgements waited for at a time, all messages together: ten times `server.max_connections`' default."""


class TooManyOutstanding(Exception):
    """As many acknowledgements are waited for as may be; the message was not sent."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} acknowledgements are waited for already; try again when some have come"


@attrs.define(eq=False)
class Awaited:
    """The acknowledgements of one message.

    Attributes:
      owing: the connections from which none has come yet.
      every: whether all are waited for, or the first alone.
      over: set when nothing more is waited for.
    """

    id: str
    owing: set[Connection]
    every: bool
    acknowledged: int = 0
    over: trio.Event = attrs.field(factory=trio.Event)

    def settle(self) -> None:
        """Set `over` if that is so."""
        if not self.owing or (self.acknowledged and not self.every):
            self.over.set()


class Acknowledgements:
    """All that are outstanding. Nothing here blocks."""

    def __init__(self, limit: int = MAX_OUTSTANDING) -> None:
        self._limit = limit
        self._awaited: dict[str, Awaited] = {}
        self._owed: dict[Connection, set[str]] = {}
        #: How many are outstanding.
        self.outstanding = 0
        #: Those that came from who owed none: too late, twice, or made up.
        self.unexpected = 0

    def expect(self, id: str, connections: Collection[Connection], *, every: bool) -> Awaited:
        """Wait for an acknowledgement of the message *id* from each of *connections*; `end` ends that.

        Raises:
          TooManyOutstanding: nothing was changed.
        """
        if self.outstanding + len(connections) > self._limit:
            raise TooManyOutstanding(self._limit)
        awaited = self._awaited[id] = Awaited(id, set(connections), every)
        self.outstanding += len(awaited.owing)
        for connection in awaited.owing:
            self._owed.setdefault(connection, set()).add(id)
        awaited.settle()
        return awaited

    def acknowledge(self, connection: Connection, id: str) -> bool:
        """*connection* acknowledges the message *id*; False if it does not owe that."""
        awaited = self._awaited.get(id)
        if awaited is None or connection not in awaited.owing:
            self.unexpected += 1
            return False
        self._strike(connection, awaited)
        awaited.acknowledged += 1
        awaited.settle()
        return True

    def forget(self, connection: Connection) -> None:
        """*connection* has ended, and acknowledges nothing more."""
        for id in list(self._owed.get(connection, ())):
            awaited = self._awaited[id]
            self._strike(connection, awaited)
            awaited.settle()

    def end(self, awaited: Awaited) -> None:
        """Wait no longer for what is left of *awaited*; again does no harm."""
        for connection in list(awaited.owing):
            self._strike(connection, awaited)
        self._awaited.pop(awaited.id, None)

    def _strike(self, connection: Connection, awaited: Awaited) -> None:
        awaited.owing.discard(connection)
        self.outstanding -= 1
        owed = self._owed[connection]
        owed.discard(awaited.id)
        if not owed:
            del self._owed[connection]
