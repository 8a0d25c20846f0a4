"""A log of events in files, which knows by itself how far it has come; plain functions that block, for one thread.

The position stands in the lines. So a line and the position behind it are written in one, and nothing that can happen
between two writes can part them: after a kill the log goes on with the first event that has no line.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from realtime.policy.loglines import DAY, LineFormat, Mark
from realtime.policy.pages import Cursor
from realtime.policy.rotation import Rotation, rotated, rotated_name, surplus
from realtime.ports import StoreError
from realtime.storage.lockfile import LockFile, StoreLocked

TAIL: Final = 1 << 21
"""Bytes at the end of a file in which its last whole line is looked for: several times the longest line."""


class NotOurLog(StoreError):
    """The file holds something else. It was left as it is."""


class LogInUse(StoreError):
    """Somebody else, or another sink, writes the file."""


class LogFile:
    """The log *path*; ``<path>.lock`` beside it keeps another writer out.

    A process that is killed leaves at most the beginning of a line, which `open` cuts off. What the machine had not
    written when its power failed is written again from the store.

    Args:
      sync: whether each `write` waits until the disk has it. A file that is put away is synced in any case.
    """

    def __init__(self, path: Path, form: LineFormat, rotation: Rotation, *, sync: bool = False) -> None:
        self.path = path
        self.written = self.rotations = self.size = 0
        self._form = form
        self._rotation = rotation
        self._sync = sync
        self._lock: LockFile | None = None
        self._fd: int | None = None
        self._day: str | None = None

    def open(self) -> Cursor | None:
        """Mend and open the file, and return the position behind its last line; None if nothing was written yet.

        Raises:
          NotOurLog: there is something else in it.
          LogInUse: another writer has it.
          OSError: it cannot be opened.
        """
        try:
            self._lock = LockFile(str(self.path))
        except StoreLocked as error:
            raise LogInUse(
                f"process {error.holder or 'unknown'} writes {self.path} already; name another path"
            ) from None
        try:
            last = self._open_file()
            if last is None:
                last = self._newest_rotated()
            self._trim()
        except BaseException:
            self.close()
            raise
        return None if last is None else last.position

    def write(self, events: Iterable[tuple[dict[str, Any], Cursor]]) -> None:
        """Write events, each with the position behind it, beginning new files where they are due.

        Raises:
          OSError: how much was written is what the file says when it is opened again.
        """
        self._follow_the_name()
        lines: list[bytes] = []
        waiting = 0
        for wire, position in events:
            line, day = self._form.line(wire, position), wire["timestamp"][:DAY]
            if self._rotation.due(self.size + waiting, self._day, len(line), day):
                self._flush(lines)
                waiting = 0
                self._rotate()
            lines.append(line)
            waiting += len(line)
            self._day = day if self._day is None else max(day, self._day)
        self._flush(lines)
        if self._sync:
            os.fsync(self._open_fd)

    def close(self) -> None:
        """Let go of the file and its lock; again is no error."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def _open_fd(self) -> int:
        assert self._fd is not None, "open() comes first"
        return self._fd

    def _open_file(self) -> Mark | None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, TAIL, max(0, size - TAIL))
        whole, piece = _last_line(tail)
        mark = None if whole is None else self._form.mark(whole)
        if (whole is not None and mark is None) or not self._may_be_cut(piece):
            raise NotOurLog(f"{self.path} is not a log of ours in this format; move it away, or name another path")
        if piece:
            size -= len(piece)
            os.ftruncate(self._fd, size)
        self.size, self._day = size, None if mark is None else mark.day
        return mark

    def _may_be_cut(self, piece: bytes) -> bool:
        # Zeros are what a file system may leave where the power failed.
        return self._form.begins(piece.rstrip(b"\0"))

    def _newest_rotated(self) -> Mark | None:
        """Killed between putting a file away and the first line of the next, it goes on behind the former."""
        for _, name in reversed(self._rotated()):
            with open(self.path.with_name(name), "rb") as file:
                file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
                whole, _ = _last_line(file.read())
            if whole is not None and (mark := self._form.mark(whole)) is not None:
                return mark
        return None

    def _follow_the_name(self) -> None:
        """Begin a new file if somebody else has moved the file away."""
        try:
            named, ours = os.stat(self.path), os.fstat(self._open_fd)
            moved = (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)
        except FileNotFoundError:
            moved = True
        if moved:
            os.close(self._open_fd)
            self._fd = None
            self._open_file()

    def _flush(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            written = os.write(self._open_fd, data)
            self.size += written
            data = data[written:]
        self.written += len(lines)
        lines.clear()

    def _rotate(self) -> None:
        os.fsync(self._open_fd)
        files = self._rotated()
        number = files[-1][0] + 1 if files else 1
        assert self._day is not None, "an empty file is never put away"
        os.rename(self.path, self.path.with_name(rotated_name(self.path.name, number, self._day)))
        os.close(self._open_fd)
        self._fd = None
        self._open_file()
        self.rotations += 1
        self._sync_folder()
        self._trim()

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _trim(self) -> None:
        for name in surplus(self._rotated(), self._rotation.keep):
            self.path.with_name(name).unlink(missing_ok=True)

    def _rotated(self) -> list[tuple[int, str]]:
        return rotated(self.path.name, os.listdir(self.path.parent))


def _last_line(tail: bytes) -> tuple[bytes | None, bytes]:
    """The last whole line of *tail* without its end, and the piece behind it."""
    lines, _, piece = tail.rpartition(b"\n")
    if not _:
        return None, piece
    return lines.rpartition(b"\n")[2], piece
