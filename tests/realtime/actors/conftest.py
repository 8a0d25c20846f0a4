"""What many actors need."""

from __future__ import annotations

import pytest
import trio

from realtime.storage.memory import MemoryStore


@pytest.fixture
async def store(nursery: trio.Nursery) -> MemoryStore:
    """A store that runs for as long as the test."""
    store = MemoryStore()
    await nursery.start(store.run)
    return store
