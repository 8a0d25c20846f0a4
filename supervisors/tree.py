"""A running tree as frozen values: what an operator sees, and its rendering as text."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from .events import Kind
from .exits import Exit
from .policy.health import Health
from .policy.lifecycle import State
from .spec import Restart, Strategy

CHILDREN_SHOWN: Final = 50
"""Children of a dynamic supervisor that a snapshot holds; ``children_total`` counts them all."""


@attrs.frozen
class ChildInfo:
    """One row of ``which_children``."""

    id: str
    state: State
    kind: Kind


@attrs.frozen
class ChildCount:
    """``count_children``: *active* have a task, *supervisors* and *workers* count running and stopped ones."""

    specs: int
    active: int
    supervisors: int
    workers: int


@attrs.frozen
class Budget:
    """A supervisor's restart intensity, and how many restarts are left in the window at this moment."""

    max_restarts: int
    max_seconds: float
    left: int


@attrs.frozen
class MailboxDepth:
    """An actor's mailbox: messages waiting, room for, dropped so far."""

    depth: int
    capacity: int
    dropped: int


@attrs.frozen
class Blocked:
    """How often a watchdog saw steps of a child's tasks block the loop, and for how many seconds."""

    count: int = 0
    longest: float = 0.0
    last: float = 0.0

    def and_one_of(self, seconds: float) -> Blocked:
        """These figures and one blockage more."""
        return Blocked(self.count + 1, max(self.longest, seconds), seconds)


def in_one_line(error: BaseException) -> str:
    """Class and text of *error*; also of one whose text cannot be made, since a snapshot must never fail."""
    try:
        text = str(error)
    except Exception:
        text = "<its text cannot be made>"
    return f"{type(error).__name__}: {text}"


@attrs.frozen
class LastExit:
    """How the last generation that ended did so; *seconds_ago* at the moment of the snapshot."""

    exit: Exit
    seconds_ago: float

    @property
    def error(self) -> str | None:
        """The exception in one line."""
        error = self.exit.error
        return None if error is None else in_one_line(error)

    @property
    def traceback(self) -> str | None:
        """The exception with its causes and its traceback."""
        error = self.exit.error
        return None if error is None else "".join(traceback.format_exception(error))


@attrs.frozen
class Node:
    """One child of a running tree, a supervisor with what is below it.

    *path* leaves out the root's id, so the root's is ``""``.  *uptime* and *next_retry* are in seconds and None when
    they have no meaning.  *children* is None for a worker; of a *dynamic* supervisor's, which come and go, some are
    shown.
    """

    id: str
    path: str
    kind: Kind
    state: State
    health: Health
    reasons: tuple[str, ...]
    generation: int
    restarts: int
    restart: Restart | None = None
    strategy: Strategy | None = None
    budget: Budget | None = None
    uptime: float | None = None
    mailbox: MailboxDepth | None = None
    next_retry: float | None = None
    last_exit: LastExit | None = None
    stats: Mapping[str, Any] = attrs.field(factory=dict)
    children: tuple[Node, ...] | None = None
    children_total: int | None = None
    dynamic: bool = False

    def walk(self) -> Iterator[Node]:
        """This node and all below it, from the top, in start order."""
        yield self
        for child in self.children or ():
            yield from child.walk()


def headline(node: Node) -> str:
    """One line about *node*: its id, state, uptime, restarts and what is wrong with it."""
    uptime = "" if node.uptime is None else f", up {node.uptime:.0f} s"
    trouble = "" if node.health == "ok" else f"  [{node.health}: {'; '.join(node.reasons)}]"
    restarts = "" if not node.restarts else f", {node.restarts} restarts"
    return f"{node.id} ({node.state}{uptime}{restarts}){trouble}"


def render(node: Node, indent: str = "") -> str:
    """The tree as lines of text, one a node."""
    lines = [f"{indent}{headline(node)}"]
    lines += [render(child, indent + "  ") for child in node.children or ()]
    hidden = (node.children_total or 0) - len(node.children or ())
    if hidden > 0:
        lines.append(f"{indent}  ... and {hidden} more")
    return "\n".join(lines)
