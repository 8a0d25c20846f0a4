"""The event file as SQLite sees it: plain functions that block, for one thread at a time and connection.

A connection that failed is closed and never used again; closing it undoes what it had begun.
"""

import os
import sqlite3
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from realtime.policy import pages, timestamps, ulid
from realtime.policy.retention import Retention
from realtime.ports import EventPage, EventQuery, StoredEvent, StoreError
from realtime.storage import schema
from realtime.storage.medium import MAX_RETIRED, Draft, Opened

BUSY_TIMEOUT = 5.0
"""Seconds to wait for a lock that only somebody else's tool can hold, such as a backup or the sqlite3 shell."""
MAX_LOOKED_AT = 200_000
"""Offsets that a page without an index of its own may span: 0.1 s of usual events. The next page goes on behind it."""
OPERATIONS_BETWEEN_LOOKS = 10_000
"""Steps of SQLite's machine, about a millisecond, after which a read looks whether it is still wanted."""

_COLUMNS = '"offset", event_id, timestamp_ms, type, severity, source, tags, data'

# What one event can do wrong. Everything else is the medium's fault and fails the whole batch.
_EVENT_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
)


class WriteConnection:
    """The one connection that changes the file. Every acknowledged commit survives a kill and a loss of power."""

    def __init__(self, path: str) -> None:
        """Open the file, make it if it is missing, and bring its schema up to date."""
        # The threads differ from call to call, never two at a time.
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(path)
        except BaseException:
            self._connection.close()
            raise
        self._path = path
        self.file_bytes = 0
        self._measure()

    def _set_up(self, path: str) -> None:
        try:
            mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise schema.NotAnEventFile(f"{path} is not an SQLite database; name another [store] path") from error
            raise
        if mode != "wal":
            raise StoreError(f"{path}: SQLite cannot keep a write-ahead log there (journal mode {mode})")
        # FULL, not WAL's usual NORMAL: that one syncs at checkpoints only, and would acknowledge what a crash can undo.
        self._connection.execute("PRAGMA synchronous = FULL")
        # A long read makes the log grow; without this it would never shrink again.
        self._connection.execute("PRAGMA journal_size_limit = 67108864")
        schema.migrate(self._connection, path)

    def opened(self, last_offset: int | None) -> Opened:
        """What the file holds; with *last_offset* also the events after it."""
        fetch = self._connection.execute
        last = fetch('SELECT "offset", event_id FROM events ORDER BY "offset" DESC LIMIT 1').fetchone()
        given = fetch("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        unseen = f'SELECT {_COLUMNS} FROM events WHERE "offset" > ? ORDER BY "offset"'
        self._last_offset = 0 if given is None else int(given[0])
        self._behind_ms = _meta(self._connection, "behind_ms")
        return Opened(
            epoch=_meta(self._connection, "epoch"),
            last_offset=self._last_offset,
            last_event_id=None if last is None else last[1],
            events=fetch("SELECT count(*) FROM events").fetchone()[0],
            unseen=() if last_offset is None else [_event(row) for row in fetch(unseen, (last_offset,))],
        )

    def commit(self, drafts: Sequence[Draft]) -> list[StoredEvent | Exception]:
        """Store *drafts* in one transaction; for each the event, or why it alone could not be stored."""
        # Raises if the file is gone: SQLite would write on into what no name leads to, and what it holds would be lost.
        self._measure()
        self._connection.execute("BEGIN IMMEDIATE")
        offset = self._last_offset
        outcomes: list[StoredEvent | Exception] = []
        for draft in drafts:
            try:
                self._insert(draft, offset + 1)
            except _EVENT_ERRORS as error:
                outcomes.append(error)
            else:
                offset += 1
                outcomes.append(draft.stored(offset))
        behind_ms = max(draft.behind_ms for draft in drafts)
        if behind_ms > self._behind_ms:
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'behind_ms'", (behind_ms,))
        self._connection.execute("COMMIT")
        self._behind_ms = max(behind_ms, self._behind_ms)
        self._last_offset = offset
        self._measure()
        return outcomes

    def retire(self, retention: Retention, now_ms: int) -> int:
        """Remove the oldest expired events, at most `MAX_RETIRED`, and return their number."""
        execute = self._connection.execute
        oldest = execute('SELECT "offset", timestamp_ms FROM events ORDER BY "offset" LIMIT ?', (MAX_RETIRED,))
        upto = retention.expired_upto(oldest, last_offset=self._last_offset, now_ms=now_ms)
        oldest.close()
        if upto is None:
            return 0
        execute("BEGIN IMMEDIATE")
        # By what the events say: an index from offset to tags would cost every insert more than it saves here.
        tagged = execute("""SELECT "offset", tags FROM events WHERE "offset" <= ? AND tags <> ''""", (upto,))
        pairs = {(tag, offset) for offset, tags in tagged.fetchall() for tag in tags.split("\n")}
        self._connection.executemany('DELETE FROM event_tags WHERE tag = ? AND "offset" = ?', pairs)
        removed = execute('DELETE FROM events WHERE "offset" <= ?', (upto,)).rowcount
        execute("COMMIT")
        self._measure()
        return removed

    def close(self) -> None:
        """Close the file; the last one to do so folds the log into it."""
        self._connection.close()

    def _insert(self, draft: Draft, offset: int) -> None:
        event = draft.event
        execute = self._connection.execute
        execute("SAVEPOINT event")
        try:
            execute(
                f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    offset,
                    draft.event_id,
                    draft.timestamp_ms,
                    event.type,
                    event.severity,
                    event.source,
                    "\n".join(event.tags),
                    event.data_json,
                ),
            )
            if event.tags:
                self._connection.executemany(
                    "INSERT INTO event_tags VALUES (?, ?)", [(tag, offset) for tag in set(event.tags)]
                )
        except _EVENT_ERRORS:
            execute("ROLLBACK TO event")
            execute("RELEASE event")
            raise
        execute("RELEASE event")

    def _measure(self) -> None:
        self.file_bytes = os.stat(self._path).st_size + os.stat(f"{self._path}-wal").st_size


class ReadConnection:
    """A connection that can only read, and never waits for commits nor holds them up (that is what WAL is for).

    Args:
      still_wanted: called about every millisecond while SQLite works; what it raises ends the read.
    """

    def __init__(self, path: str, still_wanted: Callable[[], None]) -> None:
        uri = f"file:{urllib.parse.quote(path)}?mode=ro"
        self._connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        self._still_wanted = still_wanted
        # An exception in the handler interrupts the statement, and is raised again by _rows.
        self._connection.set_progress_handler(still_wanted, OPERATIONS_BETWEEN_LOOKS)

    def get(self, event_id: str) -> StoredEvent | None:
        """The event with this id, or None."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM events WHERE event_id = :id", {"id": event_id})
        return _event(rows[0]) if rows else None

    def query(self, query: EventQuery, epoch: str, upto: int) -> EventPage:
        """A page of the events up to and with the offset *upto*, the last that was handed over."""
        start = pages.offset_after(query.after, epoch=epoch, last_offset=upto, offset_of=self._offset_of)
        after, last = self._bounds(query, start, upto)
        bound = min(last, after + MAX_LOOKED_AT) if is_searching(query) else last
        sql, values = select(query, after, bound)
        found = tuple(_event(row) for row in self._rows(sql, values))
        following = pages.next_cursor(epoch, [event.offset for event in found], query.limit)
        if following is None and bound < last:
            following = str(pages.Cursor(epoch, bound))
        return EventPage(found[: query.limit], following)

    def since(self, offset: int, upto: int) -> tuple[StoredEvent, ...]:
        """The events after *offset* up to and with *upto* that still exist."""
        sql = f'SELECT {_COLUMNS} FROM events WHERE "offset" > :after AND "offset" <= :upto ORDER BY "offset"'
        return tuple(_event(row) for row in self._rows(sql, {"after": offset, "upto": upto}))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _bounds(self, query: EventQuery, after: int, upto: int) -> tuple[int, int]:
        """*after* and *upto* drawn together as far as the query's times surely allow."""
        if query.since_ms is not None:
            first = self._first_from(query.since_ms)
            after = upto if first is None else max(after, first - 1)
        if query.until_ms is not None:
            beyond = self._first_from(query.until_ms + _meta(self._connection, "behind_ms"))
            upto = upto if beyond is None else min(upto, beyond - 1)
        return after, upto

    def _first_from(self, ms: int) -> int | None:
        """The offset of the first event whose id is of *ms* or later."""
        sql = 'SELECT "offset" FROM events WHERE event_id >= :lowest ORDER BY event_id LIMIT 1'
        rows = self._rows(sql, {"lowest": ulid.lowest(ms)})
        return int(rows[0][0]) if rows else None

    def _offset_of(self, event_id: str) -> int | None:
        rows = self._rows('SELECT "offset" FROM events WHERE event_id = :id', {"id": event_id})
        return int(rows[0][0]) if rows else None

    def _rows(self, sql: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError:
            self._still_wanted()
            raise


def is_searching(query: EventQuery) -> bool:
    """Whether no index alone leads to the events of *query*.

    A text is looked for in each event, and of several filters one leads to events at which the others look.
    """
    filters = (query.type, query.severity, query.tag)
    return query.q is not None or sum(value is not None for value in filters) > 1


def select(query: EventQuery, after: int, upto: int) -> tuple[str, dict[str, object]]:
    """The statement for one more than a page of *query*, and its values."""
    values: dict[str, object] = {"after": after, "upto": upto, "more": query.limit + 1}
    conditions = ['e."offset" > :after', 'e."offset" <= :upto']
    tables = "events AS e"
    for name, condition, value in (
        ("type", "e.type = :type", query.type),
        ("severity", "e.severity = :severity", query.severity),
        ("since", "e.timestamp_ms >= :since", query.since_ms),
        ("until", "e.timestamp_ms < :until", query.until_ms),
        ("tag", 't.tag = :tag AND t."offset" > :after AND t."offset" <= :upto', query.tag),
        ("q", _SEARCH, None if query.q is None else f"%{_escaped(query.q)}%"),
    ):
        if value is not None:
            conditions.append(condition)
            values[name] = value
    if query.tag is not None:
        # CROSS JOIN is SQLite's way of saying in which order: the tag's offsets, then each event.
        tables = 'event_tags AS t CROSS JOIN events AS e ON e."offset" = t."offset"'
    order = 't."offset"' if query.tag is not None else 'e."offset"'
    columns = ", ".join(f"e.{column}" for column in _COLUMNS.split(", "))
    where = " AND ".join(conditions)
    return f"SELECT {columns} FROM {tables} WHERE {where} ORDER BY {order} LIMIT :more", values


_SEARCH = "(" + " OR ".join(rf"e.{column} LIKE :q ESCAPE '\'" for column in ("type", "source", "tags", "data")) + ")"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _meta(connection: sqlite3.Connection, key: str) -> Any:
    return connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]


def _event(row: Sequence[Any]) -> StoredEvent:
    offset, event_id, timestamp_ms, type_, severity, source, tags, data = row
    return StoredEvent(
        event_id=event_id,
        offset=offset,
        type=type_,
        timestamp=timestamps.to_iso(timestamp_ms),
        severity=severity,
        source=source,
        tags=tuple(tags.split("\n")) if tags else (),
        data=msgspec.json.decode(data),
    )
