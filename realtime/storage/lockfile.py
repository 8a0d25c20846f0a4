"""One process per store: an exclusive lock beside the file."""

import fcntl
import os
import weakref

from realtime.ports import StoreError


class StoreLocked(StoreError):
    """Another process, or another store in this one, serves the same file."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(path, holder)
        self.path = path
        self.holder = holder

    def __str__(self) -> str:
        return (
            f"{self.path} is in use by process {self.holder or 'unknown'}, which holds {self.path}.lock: with a local "
            "engine one process has to serve all clients, because a message reaches only the clients of the process in "
            "which it was published; stop that process, or name another [store] path"
        )


class LockFile:
    """An exclusive lock on ``<path>.lock``, held until `release` or the end of the object or the process.

    The kernel ends it with the process, however that dies, so the file itself is never removed: a second process could
    hold the removed file while a third locks a new one.
    """

    def __init__(self, path: str) -> None:
        """Take the lock; StoreLocked if it is held already. *path* is that of the file beside it."""
        self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 20).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise StoreLocked(path, holder) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, b"%d\n" % os.getpid())
        self._release = weakref.finalize(self, os.close, self._fd)

    def release(self) -> None:
        """Let go of the lock; again is no error."""
        self._release()
