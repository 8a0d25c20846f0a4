"""The tables of the event file and how older files become newer ones.

A migration is never changed once it was released: a change is a new one at the end. The number of those that a file has
seen is its ``user_version``.
"""

import secrets
import sqlite3

from realtime.ports import StoreError

APPLICATION_ID = 0x52544556
"""'RTEV': marks the file as ours (https://www.sqlite.org/pragma.html#pragma_application_id)."""

TASKS = """CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT,
    progress TEXT NOT NULL,
    error TEXT,
    result TEXT
) WITHOUT ROWID"""
"""Ids ascend with time, so the key's own order is that of a list. The last three are JSON."""

DELIVERIES = (
    # How far each sink has come.
    'CREATE TABLE cursors (name TEXT PRIMARY KEY, epoch TEXT NOT NULL, "offset" INTEGER NOT NULL) WITHOUT ROWID',
    # event: JSON. again: whether its sink is to send it once more.
    """CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sink TEXT NOT NULL,
        event TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        failed_at TEXT NOT NULL,
        status INTEGER,
        error TEXT,
        again INTEGER NOT NULL
    )""",
    "CREATE INDEX dead_letters_by_sink ON dead_letters (sink)",
    "CREATE INDEX dead_letters_again ON dead_letters (sink) WHERE again = 1",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # epoch: names the numbering of offsets.
        # behind_ms: the most by which an event's timestamp was ever behind the time in its id, which never goes back.
        # With it the index of ids, whose order is that of the offsets, finds the ends of any range of times.
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('behind_ms', 0)",
        # AUTOINCREMENT: an offset is not given again after the newest events were removed.
        # tags: one to a line, which no tag can contain. data: JSON.
        """CREATE TABLE events (
            "offset" INTEGER PRIMARY KEY AUTOINCREMENT,
            event_id TEXT NOT NULL UNIQUE,
            timestamp_ms INTEGER NOT NULL,
            type TEXT NOT NULL,
            severity TEXT NOT NULL,
            source TEXT,
            tags TEXT NOT NULL,
            data TEXT NOT NULL
        )""",
        # Each ends in the offset, which is the rowid: a filtered page is read in order, without sorting.
        "CREATE INDEX events_by_type ON events (type)",
        "CREATE INDEX events_by_severity ON events (severity)",
        """CREATE TABLE event_tags (
            tag TEXT NOT NULL,
            "offset" INTEGER NOT NULL,
            PRIMARY KEY (tag, "offset")
        ) WITHOUT ROWID""",
    ),
    (TASKS, "CREATE INDEX tasks_running ON tasks (state) WHERE state = 'running'"),
    DELIVERIES,
)


class SchemaTooNew(StoreError):
    """The file was written by a later version of this program."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(path, found, known)
        self.path = path
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"{self.path} has schema version {self.found}, this program knows up to {self.known}: it was written by a "
            "later version; upgrade, or name another [store] path"
        )


class NotAnEventFile(StoreError):
    """The file is no database, or the database of something else. It was left as it is."""


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the database up to the newest schema, in one transaction; *path* is for the errors."""
    connection.execute("BEGIN IMMEDIATE")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    marked: int = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
    if marked != APPLICATION_ID and not (empty and version == 0):
        connection.execute("ROLLBACK")
        raise NotAnEventFile(f"{path} is a database of something else; name another [store] path")
    if version > len(MIGRATIONS):
        connection.execute("ROLLBACK")
        raise SchemaTooNew(path, version, len(MIGRATIONS))
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        # Random: two files must never share it, since offsets of one mean nothing in the other.
        connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(6),))
    if version < len(MIGRATIONS):
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")
