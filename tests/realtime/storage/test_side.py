import sqlite3

import pytest
import trio
import trio.testing

from realtime.ports import StoreError
from realtime.storage.side import SideStore

TABLE = "CREATE TABLE notes (text TEXT NOT NULL)"


class Notes(SideStore):
    """The smallest of its kind; its next opening can fail."""

    fails = False

    def __init__(self, path):
        super().__init__(path, name="the notes", tables=(TABLE,), synchronous="NORMAL")
        self.openings = []

    def _opened(self, connection):
        self.openings.append(connection)
        if self.fails:
            raise sqlite3.OperationalError("on purpose")

    async def add(self, text):
        await self._do("INSERT INTO notes VALUES (?)", (text,))

    async def all(self):
        return [text for (text,) in await self._do("SELECT text FROM notes ORDER BY rowid", ())]

    async def transact(self, function):
        return await self._in_thread(function)


@pytest.fixture(params=["memory", "file"])
def path(request, tmp_path):
    if request.param == "memory":
        return ":memory:"
    path = tmp_path / "events.db"
    connection = sqlite3.connect(path)
    connection.execute(TABLE)
    connection.close()
    return str(path)


@pytest.fixture
async def notes(path):
    store = Notes(path)
    yield store
    await store.aclose()


async def test_it_is_opened_by_its_first_use_and_stays_open(notes):
    assert notes.openings == []
    await notes.add("a")
    assert await notes.all() == ["a"]
    assert len(notes.openings) == 1


async def test_it_can_be_used_again_after_it_was_closed(notes):
    await notes.add("a")
    await notes.aclose()
    await notes.aclose()
    assert await notes.all() == ["a"]


async def test_a_cancellation_does_not_cut_the_closing_short(notes, path):
    await notes.aclose()
    await notes.add("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await notes.aclose()
    assert not scope.cancelled_caught
    await notes.all()
    assert len(notes.openings) == (1 if path == ":memory:" else 2)


async def test_each_use_is_a_checkpoint(notes):
    with trio.testing.assert_checkpoints():
        await notes.add("a")


async def test_what_was_not_committed_is_undone_and_the_connection_goes_on(notes):
    def half(connection):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO notes VALUES ('half')")
        connection.execute("INSERT INTO notes VALUES (NULL)")

    with pytest.raises(StoreError, match=r"the notes in .* cannot be used: NOT NULL"):
        await notes.transact(half)
    await notes.add("whole")
    assert await notes.all() == ["whole"]
    assert len(notes.openings) == 1


async def test_an_opening_that_failed_is_closed_and_tried_again(notes):
    notes.fails = True
    with pytest.raises(StoreError, match="on purpose"):
        await notes.all()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        notes.openings[0].execute("SELECT 1")
    notes.fails = False
    assert await notes.all() == []


async def test_two_uses_at_a_time_are_one_after_the_other(notes):
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(notes.add, str(number))
    assert sorted(await notes.all()) == ["0", "1", "2", "3", "4"]
