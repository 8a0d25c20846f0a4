"""The whole tree with the stack of each of its tasks: what a program that does nothing, or too much, is waiting for."""

from __future__ import annotations

import linecache
import signal as signals
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import attrs
import trio
from trio.lowlevel import Task

from ..tree import Node, headline
from .child import Child
from .inspection import Place, all_children, describe
from .root import Tree

LIMIT: Final = 200_000
"""Characters of a dump: some 2000 lines, more than anyone reads and less than any log refuses."""

FRAMES: Final = 40
"""Frames that are told of one stack, the innermost; a recursion can have a thousand."""

PATHS: Final = 5
"""Paths that are told of those whose tasks have the same stack."""

SOURCE_CHARACTERS: Final = 100
"""Characters of a line of source that are told."""

_TRAPS: Final = trio.lowlevel.wait_task_rescheduled.__code__.co_filename
"""Where Trio itself waits: the innermost lines of each stack, which say nothing."""

Stack: TypeAlias = tuple[Place, ...]


@attrs.define(eq=False)
class _Group:
    """All tasks of one stack."""

    stack: Stack
    tasks: int = 0
    paths: dict[str, None] = attrs.field(factory=dict)
    number: int | None = None
    """Which one of the stacks that were told; None as long as it was not."""

    def add(self, path: str) -> None:
        self.tasks += 1
        if len(self.paths) <= PATHS:  # one more than are told, to know that there are more
            self.paths[path] = None


def dump(tree: Tree, *, limit: int = LIMIT) -> str:
    """The nodes of *tree* with their states and, below each, the stacks of its tasks, innermost line last.

    A stack is told once, with the number of all tasks that have it and the paths of some; below other nodes its number
    stands for it.  What is outside of the tree comes last.  Cut at *limit* characters.  To be called in Trio; it takes
    some 10 us a task (0.1 s for 10 000 actors), in which the loop does nothing else.
    """
    telling = _Telling(tree)
    kept: list[str] = []
    left = limit
    for line in telling.lines():
        left -= len(line) + 1
        if left < 0:
            kept.append(f"... cut at {limit} characters")
            break
        kept.append(line)
    return "\n".join(kept)


class _Telling:
    """One dump: groups the tasks when it is made, and tells them line by line."""

    def __init__(self, tree: Tree) -> None:
        self._node = tree.snapshot()
        self._root = tree._root
        self._groups: dict[Stack, _Group] = {}
        self._stacks: defaultdict[Child | None, dict[_Group, int]] = defaultdict(dict)
        self._told = 0
        self._tasks = 0
        for task, child in _tasks(self._root):
            self._tasks += 1
            stack = tuple((frame.f_code, line) for frame, line in task.iter_await_frames())
            group = self._groups.get(stack)
            if group is None:
                group = self._groups[stack] = _Group(stack)
            group.add("outside the tree" if child is None else child.path or "root")
            stacks = self._stacks[child]
            stacks[group] = stacks.get(group, 0) + 1

    def lines(self) -> Iterator[str]:
        yield f"{self._tasks} tasks with {len(self._groups)} different stacks"
        yield from self._below(self._node, self._root, "")
        if None in self._stacks:
            yield "outside the tree"
            yield from self._stacks_of(None, "  ")

    def _below(self, node: Node, child: Child, indent: str) -> Iterator[str]:
        yield indent + headline(node)
        inner = indent + "  "
        yield from self._stacks_of(child, inner)
        children = {} if child.supervisor is None else dict(child.supervisor.children)
        for below in node.children or ():
            yield from self._below(below, children.pop(below.id), inner)
        if children:
            yield f"{inner}... and {len(children)} more"
            for hidden in children.values():
                for each in all_children(hidden):
                    yield from self._stacks_of(each, inner, new_only=True)

    def _stacks_of(self, child: Child | None, indent: str, *, new_only: bool = False) -> Iterator[str]:
        for group, count in self._stacks[child].items() if child in self._stacks else ():
            if group.number is None:
                self._told += 1
                group.number = self._told
                yield f"{indent}| stack {group.number}: {_whose(group)}"
                for line in _stack_lines(group.stack):
                    yield f"{indent}|   {line}"
            elif not new_only:
                yield f"{indent}| {count} task{'s' if count > 1 else ''} with stack {group.number}"


def _whose(group: _Group) -> str:
    paths = ", ".join(list(group.paths)[:PATHS])
    more = ", ..." if len(group.paths) > PATHS else ""
    return f"{group.tasks} task{'s' if group.tasks > 1 else ''} of {paths}{more}"


def _stack_lines(stack: Stack) -> Iterator[str]:
    while len(stack) > 1 and stack[-1][0].co_filename == _TRAPS:
        stack = stack[:-1]
    if len(stack) > FRAMES:
        yield f"({len(stack) - FRAMES} lines left out)"
    for code, line in stack[-FRAMES:]:
        source = linecache.getline(code.co_filename, line).strip()[:SOURCE_CHARACTERS]
        yield describe((code, line)) + (f": {source}" if source else "")


def _tasks(root: Child) -> Iterable[tuple[Task, Child | None]]:
    """All tasks of the loop, each with the child of *root*'s tree that it belongs to; from the top."""
    owners = {child.task: child for child in all_children(root) if child.task is not None}
    first = trio.lowlevel.current_root_task()
    assert first is not None, "called outside of Trio"
    waiting: list[tuple[Task, Child | None]] = [(first, None)]
    while waiting:
        task, owner = waiting.pop()
        owner = owners.get(task, owner)
        yield task, owner
        below = [(child, owner) for nursery in task.child_nurseries for child in nursery.child_tasks]
        # A nursery keeps its tasks in a set: by name, so that two dumps of one state are the same.
        waiting += sorted(below, key=lambda pair: pair[0].name, reverse=True)


def write_to_stderr(text: str) -> None:
    """Write *text* to the standard error output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


async def dump_on_signal(
    tree: Tree | Callable[[], Tree],
    *,
    signal: int = signals.SIGUSR1,
    write: Callable[[str], object] = write_to_stderr,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Write a :func:`dump` of *tree* whenever the process is sent *signal*: the function of a child.

    Started with the tree that it is part of, it takes a function that returns it: ``ChildSpec("dump", dump_on_signal,
    (lambda: tree,))``.  Signals that come while one is being written are served by one dump more.

    Args:
      write: called in a thread with the text; if it raises, the child crashes.

    Raises:
      RuntimeError: this is not the main thread, which alone can receive signals.
    """
    with trio.open_signal_receiver(signal) as received:
        task_status.started()
        async for _ in received:
            text = dump(tree if isinstance(tree, Tree) else tree())
            await trio.to_thread.run_sync(write, text, abandon_on_cancel=True)
