"""A job that hashes every file of a folder tree, with progress by bytes; also the example of one that blocks.

It is a plain function and runs in a thread. Each of its words may raise `TaskEnded`, which is how it learns that it was
cancelled.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from realtime.actors.jobs import Job
from realtime.actors.progress import ProgressEmitter
from realtime.fields import BadField

if TYPE_CHECKING:
    from realtime.plugins import Services

CHUNK: Final = 1 << 20
"""Bytes read at a time: a word about ten times a second on a slow disk."""

MAX_FILES: Final = 100_000
"""Files of one tree; a larger one is refused before the work begins."""


def hash_folder(progress: ProgressEmitter, folder: Path, root: Path) -> dict[str, Any]:
    """The SHA-256 of every regular file below *folder*, which lies in *root*; links are not followed.

    Returns ``{"files", "bytes", "sha256"}``; the last is over the sorted lines ``<sum>  <path>`` of all files, as
    ``sha256sum`` would print them.

    Raises:
      BadField: *folder* is none, or lies outside of *root*.
      OSError: a file cannot be read.
    """
    progress.update("looking", message=f"looking for files in {folder}")
    base = _inside(root, folder)
    files = list(_files(base))
    total = sum(size for _, size in files)
    lines, done = [], 0
    for number, (path, _) in enumerate(files, 1):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                done += len(chunk)
                # A file may have grown meanwhile.
                percent = min(100.0, 100 * done / total) if total else 100.0
                progress.update("hashing", percent, str(path.relative_to(base)), bytes_done=done, bytes_total=total)
        lines.append(f"{digest.hexdigest()}  {path.relative_to(base).as_posix()}\n")
        progress.update(files_done=number, files_total=len(files))
    whole = hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode(errors="surrogateescape"))
    return {"files": len(files), "bytes": done, "sha256": whole.hexdigest()}


def _inside(root: Path, folder: Path) -> Path:
    found = (root / folder).resolve()
    if not found.is_relative_to(root.resolve()):
        raise BadField("params.folder", f"params.folder must lie inside of the configured root, not at {folder}")
    if not found.is_dir():
        raise BadField("params.folder", f"params.folder: there is no folder {folder}")
    return found


def _files(base: Path) -> Iterator[tuple[Path, int]]:
    count = 0
    for where, folders, names in os.walk(base, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                count += 1
                if count > MAX_FILES:
                    raise BadField("params.folder", f"params.folder: it has more than {MAX_FILES} files")
                yield path, found.st_size


def _raise(error: OSError) -> None:
    raise error


def jobs(services: Services, *, root: Path, timeout: float = 3600.0) -> list[Job]:
    """The actor module's entry point.

    Args:
      root: the folder below which trees may be hashed.
      timeout: seconds for one tree.
    """

    def run(progress: ProgressEmitter, *, folder: str = ".") -> dict[str, Any]:
        return hash_folder(progress, Path(folder), root)

    return [Job("hash_folder", run, timeout)]
