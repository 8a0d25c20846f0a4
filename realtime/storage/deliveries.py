"""How far events were delivered to whom, and those that could not be.

They are synced with the disk only when the log is folded in: what a failing power undoes it undoes in order, so that at
worst events are delivered again. A kill undoes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec

from realtime.messages import encode, now_iso
from realtime.policy.pages import Cursor
from realtime.storage import schema
from realtime.storage.side import SideStore

MAX_LETTERS: Final = 10_000
"""Dead letters kept; beyond it the oldest are forgotten. Of the largest events that are 2.5 GB, of usual ones 5 MB."""

_COLUMNS: Final = "id, sink, event, attempts, failed_at, status, error, again"


@attrs.frozen
class DeadLetter:
    """An event that could not be delivered.

    Attributes:
      id: ascends with time.
      event: as on the wire.
      attempts: how many failed.
      status, error: how the last one ended.
      again: whether it is to be sent again.
    """

    id: int
    sink: str
    event: Mapping[str, Any]
    attempts: int
    failed_at: str
    status: int | None
    error: str | None
    again: bool = False

    def to_wire(self) -> dict[str, Any]:
        """As operators see it."""
        return {**attrs.asdict(self, recurse=False), "id": str(self.id)}


class DeliveryStore(SideStore):
    """Positions and dead letters.

    Each async method is a checkpoint, and raises StoreError if the file cannot be used; what is done when it returns
    survives a kill.

    Args:
      path: see `SideStore`.
      max_letters: how many dead letters are kept.

    Attributes:
      on_again: functions that take the name of a sink whose dead letters are to be sent again; they must not block.
    """

    def __init__(self, path: str, *, max_letters: int = MAX_LETTERS) -> None:
        super().__init__(path, name="the deliveries", tables=schema.DELIVERIES, synchronous="NORMAL")
        self.on_again: list[Callable[[str], object]] = []
        self._max_letters = max_letters
        self._claimed: set[str] = set()

    def claim(self, sink: str) -> None:
        """Let nobody else go on from the position of *sink*, until `release`. ValueError if somebody does."""
        if sink in self._claimed:
            raise ValueError(f"two sinks are called {sink!r}; give each a name of its own")
        self._claimed.add(sink)

    def release(self, sink: str) -> None:
        """Undo `claim`."""
        self._claimed.discard(sink)

    # --- positions --------------------------------------------------------------------------------------------------

    async def position(self, sink: str) -> Cursor | None:
        """The position behind the last event that *sink* is done with; None if it never was with any."""
        found = await self._do('SELECT epoch, "offset" FROM cursors WHERE name = ?', (sink,))
        return Cursor(*found[0]) if found else None

    async def advance(self, sink: str, position: Cursor) -> None:
        """*sink* is done with every event up to *position*."""
        await self._do("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (sink, position.epoch, position.offset))

    # --- dead letters -----------------------------------------------------------------------------------------------

    async def bury(
        self,
        sink: str,
        event: Mapping[str, Any],
        position: Cursor,
        *,
        attempts: int,
        status: int | None,
        error: str | None,
    ) -> None:
        """Give *event* up, and be done with it, in one."""
        letter = (sink, encode(event).decode(), attempts, now_iso(), status, error)

        def transaction(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"INSERT INTO dead_letters ({_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, 0)", letter)
            connection.execute(
                "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters ORDER BY id"
                " LIMIT max(0, (SELECT count(*) FROM dead_letters) - ?))",
                (self._max_letters,),
            )
            connection.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (sink, position.epoch, position.offset)
            )
            connection.execute("COMMIT")

        await self._in_thread(transaction)

    async def letters(self, *, sink: str | None = None, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """At most *limit* dead letters, the oldest first, behind the one with the id *after*."""
        where = "id > ?" if sink is None else "id > ? AND sink = ?"
        values = (after,) if sink is None else (after, sink)
        found = await self._do(
            f"SELECT {_COLUMNS} FROM dead_letters WHERE {where} ORDER BY id LIMIT ?", (*values, limit)
        )
        return [_letter(row) for row in found]

    async def count(self, sink: str | None = None) -> int:
        """How many there are."""
        where, values = ("", ()) if sink is None else (" WHERE sink = ?", (sink,))
        found = await self._do(f"SELECT count(*) FROM dead_letters{where}", values)
        return int(found[0][0])

    async def send_again(self, id: int) -> DeadLetter | None:
        """Have the letter sent once more by its sink; None if there is none with this *id*."""
        found = await self._do(f"UPDATE dead_letters SET again = 1 WHERE id = ? RETURNING {_COLUMNS}", (id,))
        if not found:
            return None
        letter = _letter(found[0])
        for notify in tuple(self.on_again):
            notify(letter.sink)
        return letter

    async def discard(self, id: int) -> bool:
        """Forget the letter, because it was delivered or is wanted no more; False if there is none."""
        return bool(await self._do("DELETE FROM dead_letters WHERE id = ? RETURNING id", (id,)))

    async def due(self, sink: str) -> list[DeadLetter]:
        """Some of those that *sink* is to send again, the oldest first."""
        found = await self._do(
            f"SELECT {_COLUMNS} FROM dead_letters WHERE sink = ? AND again = 1 ORDER BY id LIMIT 100", (sink,)
        )
        return [_letter(row) for row in found]

    async def failed_again(self, id: int, *, attempts: int, status: int | None, error: str | None) -> None:
        """The letter could not be delivered this time either; *attempts* are added."""
        await self._do(
            "UPDATE dead_letters SET again = 0, attempts = attempts + ?, failed_at = ?, status = ?, error = ?"
            " WHERE id = ?",
            (attempts, now_iso(), status, error, id),
        )


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    id, sink, event, attempts, failed_at, status, error, again = row
    return DeadLetter(id, sink, msgspec.json.decode(event), attempts, failed_at, status, error, bool(again))
