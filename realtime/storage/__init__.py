"""Where events are kept: in a file, or in memory for tests and for servers that need no history."""

from realtime.policy.retention import Retention
from realtime.ports import EventStore
from realtime.settings import MEMORY


def open_store(path: str, retention: Retention) -> EventStore:
    """The store that the settings ask for; it opens nothing before its child runs."""
    # Imported here: each store loads only what it needs.
    if path == MEMORY:
        from realtime.storage.memory import MemoryStore

        return MemoryStore(retention=retention)
    from realtime.storage.sqlite import SqliteStore

    return SqliteStore(path, retention=retention)
