import sqlite3

import pytest

from realtime.policy.progress import Progress, TaskError, TaskRecord
from realtime.ports import StoreError
from realtime.storage.schema import migrate
from realtime.storage.tasks import TaskStore

AT = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-01T00:01:00.000Z"


def a_task(number=1, **facts):
    return TaskRecord(f"t{number:04}", "job", **{"state": "running", "created_at": AT, **facts})


def ended(number=1, state="completed", **facts):
    progress = Progress("hashing", 100, "all of it", {"files": 3})
    return a_task(number, state=state, ended_at=LATER, progress=progress, **facts)


@pytest.fixture
def path(tmp_path):
    """A file that the event store has made."""
    path = str(tmp_path / "realtime.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, path)
    connection.close()
    return path


@pytest.fixture(params=["file", "memory"])
async def store(request):
    store = TaskStore(request.getfixturevalue("path") if request.param == "file" else ":memory:")
    yield store
    await store.aclose()


async def test_a_task_is_remembered_as_it_began_and_as_it_ended(store):
    await store.add(a_task())
    assert await store.get("t0001") == a_task()
    outcome = ended(result={"sum": "a1"}, error=None)
    await store.end(outcome)
    assert await store.get("t0001") == outcome


async def test_an_error_is_remembered(store):
    await store.add(a_task())
    await store.end(ended(state="failed", error=TaskError("OSError", "no space left")))
    assert (await store.get("t0001")).error == TaskError("OSError", "no space left")


async def test_an_unknown_task_is_none(store):
    assert await store.get("t0001") is None


async def test_the_newest_come_first(store):
    for number in (2, 1, 3):
        await store.add(a_task(number))
    assert [task.task_id for task in await store.newest(2)] == ["t0003", "t0002"]


async def test_the_history_is_bounded_and_running_tasks_are_never_forgotten():
    store = TaskStore(":memory:", max_tasks=3)
    await store.add(a_task(0))
    for number in range(1, 6):
        await store.add(a_task(number))
        await store.end(ended(number))
    assert [task.task_id for task in await store.newest(10)] == ["t0005", "t0004", "t0000"]


async def test_what_a_killed_process_left_running_is_interrupted(path):
    earlier = TaskStore(path)
    await earlier.add(a_task(1))
    await earlier.add(a_task(2))
    await earlier.end(ended(2))
    await earlier.aclose()
    store = TaskStore(path)
    interrupted, completed = await store.get("t0001"), await store.get("t0002")
    assert (interrupted.state, completed.state) == ("interrupted", "completed")
    assert len(interrupted.ended_at) == len(AT)
    assert interrupted.ended_at.endswith("Z")
    await store.aclose()


async def test_opening_it_again_interrupts_nothing(path):
    store = TaskStore(path)
    await store.add(a_task())
    await store.aclose()
    assert (await store.get("t0001")).state == "running"
    await store.aclose()


async def test_a_file_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(StoreError, match="nowhere"):
        await TaskStore(str(tmp_path / "nowhere" / "realtime.db")).newest(1)


async def test_a_file_without_its_tables_is_left_for_the_event_store_to_make(tmp_path):
    store = TaskStore(str(tmp_path / "realtime.db"))
    with pytest.raises(StoreError, match="no such table"):
        await store.newest(1)
