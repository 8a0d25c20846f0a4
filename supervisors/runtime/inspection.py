"""From Trio's tasks back to the children of a tree, and from frames to lines of text."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Final, TypeAlias

from trio.lowlevel import Task

from .child import Child

Place: TypeAlias = tuple[CodeType, int]
"""A line of code: cheap to take, to compare and to count; made into text only when somebody is to read it."""

_STANDARD_LIBRARY: Final = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def child_of(task: Task, root: Child) -> Child | None:
    """The child of *root*'s tree that *task* belongs to: in whose own task, or in a nursery below it, it runs."""
    current: Task | None = task
    while current is not None:
        child = root if current is root.task else _at(root, current.name)
        # A name proves nothing: anyone can give a task any name.
        if child is not None and child.task is current:
            return child
        nursery = current.parent_nursery
        current = None if nursery is None else nursery.parent_task
    return None


def _at(root: Child, path: str) -> Child | None:
    child: Child | None = root
    for part in path.split("/"):
        if child is None or child.supervisor is None:
            return None
        child = child.supervisor.children.get(part)
    return child


def all_children(child: Child) -> Iterator[Child]:
    """*child* and all below it, from the top."""
    yield child
    for below in child.supervisor.children.values() if child.supervisor is not None else ():
        yield from all_children(below)


def describe(place: Place) -> str:
    """*place* as ``file:line in function``."""
    code, line = place
    return f"{code.co_filename}:{line} in {code.co_qualname}"


def most_telling(places: Sequence[Place]) -> Place:
    """The innermost of *places*, given innermost first, that is not the standard library's: whose code it was."""
    return next((place for place in places if not _is_standard(place[0].co_filename)), places[0])


def _is_standard(filename: str) -> bool:
    if filename.startswith("<frozen "):
        return True
    return filename.startswith(_STANDARD_LIBRARY) and not any(part in filename for part in _INSTALLED)
