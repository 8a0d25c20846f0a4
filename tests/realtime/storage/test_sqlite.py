"""What only a file can do: fail, be locked, be read beside its writer, be reopened."""

import itertools
import sqlite3
from functools import partial

import pytest
import structlog
import trio

from realtime.policy.retention import Retention
from realtime.ports import AppendFailed, EventQuery, NewEvent, StoreError
from realtime.storage import MEMORY, database, open_store
from realtime.storage.database import ReadConnection, WriteConnection, select
from realtime.storage.memory import MemoryStore
from realtime.storage.sqlite import SqliteStore
from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree

from .conftest import all_quiet, crashing, running

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def tool(path):
    """Somebody else's connection to the file, such as the sqlite3 shell."""

    def connect():
        connections.append(sqlite3.connect(path, isolation_level=None, timeout=0))
        return connections[-1]

    connections = []
    yield connect
    for connection in connections:
        connection.close()


async def append(store, *types):
    return [await store.append(NewEvent(type_)) for type_ in types]


def test_the_path_decides_which_store_it_is(path):
    kept = Retention(days=1)
    assert isinstance(open_store(MEMORY, kept), MemoryStore)
    store = open_store(str(path), kept)
    assert isinstance(store, SqliteStore)
    assert store.path == str(path)
    assert not path.exists()


async def test_events_and_epoch_survive_the_process(path):
    async with running(SqliteStore(path)) as store:
        epoch = store.epoch
        before = await append(store, "a", "b")
    async with running(SqliteStore(path)) as store:
        assert store.epoch == epoch
        assert store.last_offset == 2
        assert store.statistics().events == 2
        assert (await store.query(EventQuery())).events == tuple(before)
        (event,) = await append(store, "c")
    assert event.offset == 3
    assert event.event_id > before[1].event_id


async def test_two_files_never_share_an_epoch(tmp_path):
    async with running(SqliteStore(tmp_path / "a.db")) as one, running(SqliteStore(tmp_path / "b.db")) as other:
        assert one.epoch != other.epoch


async def test_offsets_are_not_given_again_after_everything_was_forgotten(path):
    now = [1000.0]
    async with running(SqliteStore(path)) as store:
        await append(store, "a", "b")
    now[0] += 3_000_000_000
    async with running(SqliteStore(path, clock=lambda: now[0])) as store:
        await all_quiet()
        assert store.statistics().events == 0
    async with running(SqliteStore(path)) as store:
        assert store.last_offset == 2
        assert (await append(store, "c"))[0].offset == 3


async def test_a_stop_leaves_one_file_and_the_lock(path):
    async with running(SqliteStore(path)) as store:
        await append(store, "a")
        await store.query(EventQuery())
    assert sorted(file.name for file in path.parent.iterdir()) == ["events.db", "events.db.lock"]


async def test_the_file_is_written_so_that_no_acknowledged_event_is_lost(path):
    async with running(SqliteStore(path)) as store:
        fetch = store._writer._connection.execute
        assert fetch("PRAGMA journal_mode").fetchone() == ("wal",)
        assert fetch("PRAGMA synchronous").fetchone() == (2,)  # FULL


async def test_figures_include_the_size_of_the_file_and_its_log(path):
    async with running(SqliteStore(path)) as store:
        before = store.statistics().file_bytes
        await store.append(NewEvent("a", {"text": "x" * 100_000}))
        assert store.statistics().file_bytes > before + 100_000
    assert store.statistics().file_bytes == 0


# --- opening --------------------------------------------------------------------------------------------------------


async def test_a_folder_that_does_not_exist_is_named(tmp_path):
    store = SqliteStore(tmp_path / "missing" / "events.db")
    with pytest.raises(StoreError, match=r"cannot open .*missing/events.db"):
        await store.run()


async def test_a_second_store_on_the_same_file_is_refused_and_the_first_goes_on(path, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with running(SqliteStore(path)) as store:
        with pytest.raises(StoreError, match="in use by process"):
            await SqliteStore(link).run()
        await append(store, "a")
    async with running(SqliteStore(link)) as store:
        assert store.last_offset == 1


async def test_a_file_that_somebody_holds_for_himself_is_named(path, tool, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.0)
    tool().execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"cannot open .*events\.db: database is locked"):
        await SqliteStore(path).run()


def test_a_file_that_cannot_keep_a_log_is_refused():
    # A database in memory is one of those; the lock beside it is not looked at here.
    with pytest.raises(StoreError, match="write-ahead log"):
        WriteConnection(":memory:")


# --- one bad event, one bad batch -----------------------------------------------------------------------------------


async def test_an_event_that_the_file_refuses_sinks_no_other_of_its_batch(path, tool):
    async with running(SqliteStore(path)) as store:
        tool().execute(
            "CREATE TRIGGER poison BEFORE INSERT ON event_tags WHEN new.tag = 'poison' "
            "BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        )
        outcomes = {}

        async def create(number, *tags):
            try:
                outcomes[number] = await store.append(NewEvent("t", {"number": number}, tags=tags))
            except AppendFailed as error:
                outcomes[number] = error

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(create, number, "good", *(["poison"] if number == 7 else []))
        poisoned = outcomes.pop(7)
        assert isinstance(poisoned.__cause__, sqlite3.IntegrityError)
        assert "poisoned" in str(poisoned)
        page = await store.query(EventQuery(tag="good"))
        assert {event.data["number"] for event in page.events} == outcomes.keys()
        assert [event.offset for event in page.events] == list(range(1, 20))
        assert await store.since(store.epoch, 0, 19, 100) == page.events


async def test_while_somebody_holds_the_file_a_batch_fails_and_the_next_run_goes_on(path, tool, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.0)
    store = SqliteStore(path)
    handed = []
    store.on_commit.append(handed.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(crashing(store, sqlite3.OperationalError, "locked"))
        before = await append(store, "before")
        await all_quiet()
        holder = tool()
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(AppendFailed, match="database is locked"):
            await store.append(NewEvent("lost"))
        holder.execute("ROLLBACK")
    # The child is down: reads go on, and what is created waits.
    assert (await store.query(EventQuery())).events == tuple(before)
    with pytest.raises(StoreError, match="in use by process"):
        await SqliteStore(path).run()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(append, store, "waited")
        await all_quiet()
        async with running(store):
            after = await append(store, "after")
    assert [(event.type, event.offset) for event in handed] == [("before", 1), ("waited", 2), ("after", 3)]
    assert after == handed[2:]


async def test_what_reached_the_file_without_an_acknowledgement_is_handed_over_after_the_crash(path, tool):
    """As if the sync of a commit had failed after its frames were in the log."""
    store = SqliteStore(path)
    handed = []
    store.on_commit.append(handed.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(crashing(store, RuntimeError, "torn"))
        await append(store, "a")
        await all_quiet()

        def torn(drafts):
            WriteConnection.commit(store._writer, drafts)
            raise RuntimeError("torn")

        store._writer.commit = torn
        with pytest.raises(AppendFailed, match="torn"):
            await store.append(NewEvent("b"))
    # Until then nobody is shown what nobody was told of.
    assert [event.type for event in (await store.query(EventQuery())).events] == ["a"]
    async with running(store):
        await append(store, "c")
        assert (await store.query(EventQuery())).events == tuple(handed)
    assert [(event.type, event.offset) for event in handed] == [("a", 1), ("b", 2), ("c", 3)]


async def test_nothing_is_acknowledged_into_a_file_that_was_removed(path):
    store = SqliteStore(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(crashing(store, FileNotFoundError, "No such file"))
        await append(store, "a")
        for file in path.parent.glob("events.db*"):
            file.unlink()
        with pytest.raises(AppendFailed, match=r"No such file .*events\.db"):
            await store.append(NewEvent("b"))
    # A new file begins a new history, and that is not for a restart in passing.
    with pytest.raises(StoreError, match="not the one it was"):
        await store.run()
    async with running(SqliteStore(path)) as other:
        assert other.epoch != store.epoch


async def test_as_a_supervised_child_it_comes_back_and_serves_what_waited(path):
    store = SqliteStore(path)
    spec = ChildSpec("store", store.run, backoff=Backoff(first=0.01, maximum=0.01))
    async with open_tree(SupervisorSpec([spec]), id="root") as tree:
        await append(store, "a")
        await all_quiet()
        store._writer.commit = partial(_fail, OSError("no space left"))
        with pytest.raises(AppendFailed, match="no space left"):
            await store.append(NewEvent("b"))
        with trio.fail_after(5):
            (event,) = await append(store, "c")
        assert event.offset == 2
        node = tree.find("store")
        assert node.generation == 2
        assert node.stats["appended"] == 2
    with pytest.raises(StoreError):
        await store.append(NewEvent("d"))


def _fail(error, drafts):
    raise error


# --- reading --------------------------------------------------------------------------------------------------------


async def test_a_long_read_holds_up_no_commit_and_no_other_read_and_ends_when_cancelled(path):
    async with running(SqliteStore(path)) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store._read, lambda reader: reader._rows(ENDLESS, {}))
        with trio.fail_after(10):
            (event,) = await append(store, "a")
            assert await store.get(event.event_id) == event
            nursery.cancel_scope.cancel()


async def test_a_cancelled_read_leaves_its_connection_usable(path):
    async with running(SqliteStore(path)) as store:
        with trio.move_on_after(0.01) as scope:
            await store._read(lambda reader: reader._rows(ENDLESS, {}))
        assert scope.cancelled_caught
        assert len(store._idle_readers) == 1
        assert (await store.query(EventQuery())).events == ()


async def test_readers_cannot_write(path):
    async with running(SqliteStore(path)) as store:
        with pytest.raises(StoreError, match=r"cannot read .*readonly"):
            await store._read(lambda reader: reader._rows("DELETE FROM events", {}))
        assert store._idle_readers == []  # a connection that failed is not used again


async def test_a_file_that_is_gone_is_named(path):
    async with running(SqliteStore(path)) as store:
        path.unlink()
        with pytest.raises(StoreError, match=r"cannot read .*events.db"):
            await store.query(EventQuery())


async def test_a_read_that_outlives_the_store_closes_its_connection(path):
    store = SqliteStore(path)
    entered, leave = trio.Event(), trio.Event()

    def slow(reader):
        trio.from_thread.run_sync(entered.set)
        trio.from_thread.run(leave.wait)
        return reader.get("x")

    async with trio.open_nursery() as nursery:
        async with running(store):
            nursery.start_soon(store._read, slow)
            await entered.wait()
        leave.set()
    assert store._idle_readers == []


def test_every_filter_has_an_index(path):
    WriteConnection(str(path)).close()
    reader = ReadConnection(str(path), lambda: None)

    def plan(**wanted):
        sql, values = select(EventQuery(**wanted), 0, 100)
        return " / ".join(row[3] for row in reader._rows(f"EXPLAIN QUERY PLAN {sql}", values))

    assert "INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan()
    assert "events_by_type (type=? AND rowid>? AND rowid<?)" in plan(type="a")
    assert "events_by_severity (severity=? AND rowid>? AND rowid<?)" in plan(severity="error")
    assert "SEARCH t USING PRIMARY KEY (tag=? AND offset>? AND offset<?)" in plan(tag="x")
    plans = [plan(type="a", tag="x", severity="error", since="2026-01-01", until="2026-01-02", q="x"), plan(type="a")]
    assert not any("TEMP B-TREE" in text for text in plans)
    reader.close()


FILTERS = {"type": "a", "severity": "error", "tag": "x", "since": "2026-01-01", "until": "2026-01-02", "q": "x"}


@pytest.mark.parametrize("rows", [0, 2000])
def test_no_combination_of_filters_reads_everything_or_sorts(path, rows):
    """Whatever is asked, offsets bound what is read, and it is read in its order; with figures of the contents too."""
    WriteConnection(str(path)).close()
    connection = sqlite3.connect(path)
    for offset in range(1, rows + 1):
        values = (offset, f"id{offset}", offset, "ab"[offset % 2], "info", None, "x", "{}")
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        connection.execute("INSERT INTO event_tags VALUES ('x', ?)", (offset,))
    if rows:
        connection.execute("ANALYZE")
    connection.commit()
    connection.close()
    reader = ReadConnection(str(path), lambda: None)
    for count in range(len(FILTERS) + 1):
        for names in itertools.combinations(FILTERS, count):
            sql, values = select(EventQuery(**{name: FILTERS[name] for name in names}), 0, 100)
            plan = [row[3] for row in reader._rows(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step], (names, plan)
            assert any("rowid>?" in step or "offset>?" in step for step in plan), (names, plan)
    reader.close()


async def test_a_search_is_cut_into_pieces_that_miss_nothing(path, monkeypatch):
    monkeypatch.setattr(database, "MAX_LOOKED_AT", 10)
    async with running(SqliteStore(path)) as store:
        for number in range(55):
            await append(store, "needle" if number in (3, 4, 30, 54) else "hay")
        searched = {"q": "needle"}
        found, pages, after = [], 0, None
        while True:
            page = await store.query(EventQuery(after=after, limit=1, **searched))
            found += page.events
            pages += 1
            if page.next is None:
                break
            after = page.next
        assert [event.offset for event in found] == [4, 5, 31, 55]
        assert pages == 7
        # One filter with an index of its own is read in one go.
        page = await store.query(EventQuery(type="needle", limit=4))
        assert ([event.offset for event in page.events], page.next) == ([4, 5, 31, 55], None)
        page = await store.query(EventQuery(type="needle", severity="info", limit=4))
        assert ([event.offset for event in page.events], page.next is None) == ([4, 5], False)


def test_times_are_found_among_the_ids(path):
    """What lies outside a range of times is not read, as far as the clock ever let an id run ahead of its time."""
    now = [100]

    async def fill():
        async with running(SqliteStore(path, clock=lambda: now[0], retention=Retention(days=None))) as store:
            for now[0] in (100, 200, 300, 295, 400, 500):
                await append(store, str(now[0]))

    trio.run(fill)
    reader = ReadConnection(str(path), lambda: None)

    def bounds(since=None, until=None):
        def iso(seconds):
            return seconds and f"1970-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"

        return reader._bounds(EventQuery(since=iso(since), until=iso(until)), 0, 6)

    assert bounds() == (0, 6)
    assert bounds(since=200) == (1, 6)
    assert bounds(since=600) == (6, 6)
    assert bounds(until=200) == (0, 2)  # 5 s too many, the most that the clock was set back by
    assert bounds(since=200, until=600) == (1, 6)
    reader.close()


async def test_a_clean_life_logs_nothing(path):
    with structlog.testing.capture_logs() as logs:
        async with running(SqliteStore(path)) as store:
            await append(store, "a")
    assert logs == []
