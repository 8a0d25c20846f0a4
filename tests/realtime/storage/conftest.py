import contextlib
from functools import partial

import pytest
import trio
import trio.testing

from realtime.storage.memory import MemoryStore
from realtime.storage.sqlite import SqliteStore


@contextlib.asynccontextmanager
async def running(store):
    """The store with its child, which is stopped in order at the end."""
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(store.run, stopping=stopping))
        yield store
        stopping.set()


def crashing(store, error, match, **options):
    """For ``nursery.start``: runs the store's child, which has to crash with this error."""

    async def child(**started):
        with pytest.raises(error, match=match):
            await store.run(**options, **started)

    return child


async def all_quiet():
    """Return when no task has anything to do and no thread is at work."""
    await trio.testing.wait_all_tasks_blocked()
    while trio.testing.active_thread_count():
        await trio.testing.wait_all_threads_completed()
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request, tmp_path):
    """Makes a store of each kind; all that one test makes of the second share a file."""

    def make(**options):
        return MemoryStore(**options) if request.param == "memory" else SqliteStore(tmp_path / "events.db", **options)

    return make


@pytest.fixture
async def store(make_store):
    async with running(make_store()) as store:
        yield store
