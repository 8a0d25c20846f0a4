import sqlite3

import attrs
import pytest
import trio
import trio.testing

from realtime.actors import queue
from realtime.actors.driven import CHECK
from realtime.actors.queue import JobTable, QueueBroadcaster
from realtime.delivery.hub import Hub
from realtime.plugins import PluginError
from realtime.ports import NewEvent
from realtime.settings import ActorSettings, TopicSettings
from realtime.storage.memory import MemoryStore
from realtime.tree import build
from supervisors import ChildSpec, SupervisorSpec, open_tree

from ..in_process import make_settings
from .listeners import Listeners


class Worker:
    """Changes the table, as another process would."""

    def __init__(self, path):
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, status TEXT, owner TEXT)")

    def set(self, id, status, owner="me"):
        self._connection.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", (id, status, owner))

    def remove(self, id):
        self._connection.execute("DELETE FROM jobs WHERE id = ?", (id,))

    def drop(self):
        self._connection.execute("DROP TABLE jobs")

    def close(self):
        self._connection.close()


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path / "work.db")
    yield worker
    worker.close()


@attrs.define
class Watched:
    broadcaster: QueueBroadcaster
    store: MemoryStore
    listeners: Listeners

    async def changed(self):
        await self.store.append(NewEvent("queue_changed"))


@pytest.fixture
async def watched(nursery, worker, monkeypatch):
    """A broadcaster over the worker's table, not running yet."""
    # Not conflated, as the topic is by default: so that each message can be seen.
    hub, store = Hub(lambda _: TopicSettings(), epoch="e"), MemoryStore()
    await nursery.start(hub.run)
    await nursery.start(store.run)
    hub.declare("queue", retain=True)
    broadcaster = QueueBroadcaster(hub, store, JobTable(worker.path))

    async def here(function):
        # A thread would take real time, which the test's clock does not know.
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(broadcaster, "in_thread", here)
    return Watched(broadcaster, store, Listeners(hub))


def states(heard):
    return [(job["queue_id"], job["status"]) for _, job in heard()]


async def test_a_change_that_an_event_tells_of_is_sent_at_once_and_once(nursery, watched, worker, autojump_clock):
    worker.set("a", "waiting")
    await nursery.start(watched.broadcaster.run)
    with watched.listeners.one("queue") as heard:
        await trio.sleep(0.5)
        worker.set("a", "running")
        began = trio.current_time()
        await watched.changed()
        await trio.testing.wait_all_tasks_blocked()
        assert states(heard) == [("a", "waiting"), ("a", "running")]
        assert trio.current_time() - began < 1
        await trio.sleep(10 * CHECK)
        assert len(heard()) == 2
    assert watched.broadcaster.statistics().caught == 0


async def test_a_change_that_nobody_told_of_is_found_by_the_check(nursery, watched, worker, autojump_clock):
    await nursery.start(watched.broadcaster.run)
    with watched.listeners.one("queue") as heard:
        await trio.sleep(0.5)
        worker.set("a", "waiting")
        worker.set("b", "waiting")
        await trio.sleep(CHECK)
        assert states(heard) == [("a", "waiting"), ("b", "waiting")]
    assert watched.broadcaster.statistics().caught == 2


async def test_only_the_jobs_that_changed_are_sent(nursery, watched, worker, autojump_clock):
    worker.set("a", "waiting")
    worker.set("b", "waiting")
    await nursery.start(watched.broadcaster.run)
    await trio.sleep(1)
    with watched.listeners.one("queue") as heard:
        await trio.testing.wait_all_tasks_blocked()
        assert states(heard) == [("a", "waiting"), ("b", "waiting")]  # the state so far
        worker.set("b", "running")
        await watched.changed()
        await trio.sleep(1)
        assert states(heard)[2:] == [("b", "running")]


async def test_a_job_that_is_gone_is_told_once(nursery, watched, worker, autojump_clock):
    worker.set("a", "waiting")
    await nursery.start(watched.broadcaster.run)
    with watched.listeners.one("queue") as heard:
        await trio.sleep(1)
        worker.remove("a")
        await trio.sleep(10 * CHECK)
        assert states(heard) == [("a", "waiting"), ("a", "removed")]
        worker.set("a", "waiting")
        await trio.sleep(CHECK)
        assert states(heard)[2:] == [("a", "waiting")]


async def test_with_more_jobs_than_it_watches_none_is_taken_for_gone(
    nursery, watched, worker, monkeypatch, autojump_clock
):
    monkeypatch.setattr(queue, "ROWS", 2)
    watched.broadcaster._table = JobTable(worker.path)
    worker.set("a", "waiting")
    worker.set("b", "waiting")
    await nursery.start(watched.broadcaster.run)
    with watched.listeners.one("queue") as heard:
        await trio.sleep(1)
        worker.set("c", "waiting")
        await trio.sleep(CHECK)
        assert states(heard) == [("a", "waiting"), ("b", "waiting"), ("c", "waiting")]


async def test_other_events_are_nothing_to_it(nursery, watched, worker, autojump_clock):
    await nursery.start(watched.broadcaster.run)
    with watched.listeners.one("queue") as heard:
        await trio.sleep(0.5)
        worker.set("a", "waiting")
        await watched.store.append(NewEvent("something_else"))
        await trio.sleep(1)
        assert heard() == []


async def test_a_table_that_is_lost_is_a_crash_and_nothing_is_sent_twice_after_it(watched, worker, autojump_clock):
    worker.set("a", "waiting")
    with watched.listeners.one("queue") as heard:
        async with open_tree(
            SupervisorSpec([ChildSpec("queue", watched.broadcaster.run, backoff=queue.RESTART)])
        ) as tree:
            await trio.sleep(1)
            worker.drop()
            await watched.changed()
            await trio.sleep(3)
            node = tree.find("queue")
            assert (node.health, "no such table: jobs" in str(node.last_exit)) == ("degraded", True)
            worker._connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, status TEXT, owner TEXT)")
            worker.set("a", "waiting")
            worker.set("b", "waiting")
            await trio.sleep(20)
            assert tree.find("queue").health == "ok"
        assert states(heard) == [("a", "waiting"), ("b", "waiting")]
    assert watched.store.on_commit == []


def test_other_columns_come_along(worker):
    worker.set(1, "waiting", owner="somebody")
    jobs = JobTable(worker.path, columns=["owner"]).read()
    assert jobs == {"1": {"queue_id": "1", "status": "waiting", "owner": "somebody"}}


def test_it_never_writes(worker, tmp_path):
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        JobTable(tmp_path / "none.db").read()
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "1a", "jobs; DROP TABLE jobs"])
def test_a_name_that_is_none_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="is no name of a table or column"):
        JobTable(tmp_path / "work.db", table=name)


def load(**options):
    return build(make_settings(actors={"queue": ActorSettings(use="realtime.actors.queue", options=options)})).actors


def test_as_a_module_it_needs_a_database(tmp_path):
    assert [spec.id for spec in load(database=str(tmp_path / "work.db"), interval=1.0)] == ["queue"]
    with pytest.raises(PluginError, match="option 'database' is missing"):
        load()
