import sqlite3

import pytest

from realtime.storage import schema
from realtime.storage.database import WriteConnection
from realtime.storage.schema import MIGRATIONS, NotAnEventFile, SchemaTooNew, migrate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


def fetch(path, sql):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def make(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_new_file_gets_the_newest_schema_and_a_mark(path):
    WriteConnection(str(path)).close()
    assert fetch(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert fetch(path, "PRAGMA application_id") == [(schema.APPLICATION_ID,)]


def test_opening_again_changes_nothing(path):
    WriteConnection(str(path)).close()
    before = path.read_bytes()
    WriteConnection(str(path)).close()
    assert path.read_bytes() == before


def test_an_older_file_is_brought_forward_and_keeps_what_it_holds(path, monkeypatch):
    WriteConnection(str(path)).close()
    make(path, "INSERT INTO events VALUES (5, 'id', 0, 't', 'info', NULL, '', '{}')")
    added = ("ALTER TABLE events ADD COLUMN colour TEXT", "UPDATE events SET colour = 'red'")
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, added))
    epoch = fetch(path, "SELECT value FROM meta WHERE key = 'epoch'")
    WriteConnection(str(path)).close()
    assert fetch(path, 'SELECT "offset", colour FROM events') == [(5, "red")]
    assert fetch(path, "SELECT value FROM meta WHERE key = 'epoch'") == epoch
    assert fetch(path, "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path, monkeypatch):
    WriteConnection(str(path)).close()
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*MIGRATIONS, ("ALTER TABLE events ADD COLUMN colour TEXT", "UPDATE nowhere SET x = 1"))
    )
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        WriteConnection(str(path))
    assert "colour" not in str(fetch(path, "SELECT sql FROM sqlite_schema"))
    assert fetch(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_a_newer_file_is_refused_with_both_versions(path):
    WriteConnection(str(path)).close()
    make(path, "PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNew) as caught:
        WriteConnection(str(path))
    assert str(path) in str(caught.value)
    assert (caught.value.found, caught.value.known) == (99, len(MIGRATIONS))
    assert "99" in str(caught.value)
    assert "upgrade" in str(caught.value)


@pytest.mark.parametrize("statement", ["CREATE TABLE t (x)", "PRAGMA user_version = 3"])
def test_a_database_of_something_else_is_left_as_it_is(path, statement):
    make(path, statement)
    tables = fetch(path, "SELECT * FROM sqlite_schema")
    with pytest.raises(NotAnEventFile, match="database of something else"):
        WriteConnection(str(path))
    assert fetch(path, "SELECT * FROM sqlite_schema") == tables


def test_a_file_that_is_no_database_is_left_as_it_is(path):
    path.write_text("Dear diary, " * 100)
    with pytest.raises(NotAnEventFile, match="not an SQLite database"):
        WriteConnection(str(path))
    assert path.read_text() == "Dear diary, " * 100


def test_the_file_cannot_be_made(tmp_path):
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        WriteConnection(str(tmp_path))


def test_each_epoch_is_new():
    epochs = set()
    for _ in range(3):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(connection, ":memory:")
        epochs.add(connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone())
        connection.close()
    assert len(epochs) == 3
