"""What only few actors have besides their mailbox: messages put aside, calls to answer later, monitors, names.

An actor's cell has one place for all of it, which is empty until the first of these is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from ..errors import ActorCrashed, ActorStopped, StashFull
from ..exits import Down, Exit
from .ref import ACTORS, Call, Cell

if TYPE_CHECKING:
    from .monitors import Monitor


class Tie(Protocol):
    """What a registry holds of an actor."""

    def came_up(self) -> None:
        """A life of it is up, also after it had been stopped."""

    def ended(self) -> None:
        """It was stopped or given up."""


class Kept:
    """See the module; made by :func:`keep`."""

    __slots__ = ("deferred", "monitors", "stash", "ties")

    def __init__(self) -> None:
        self.stash: list[object] = []
        # Dicts used as sets that keep their order.
        self.deferred: dict[Deferred, None] = {}
        self.monitors: dict[Monitor, None] = {}
        self.ties: dict[Tie, None] = {}

    def came_up(self) -> None:
        """A life of the actor is up."""
        for tie in list(self.ties):
            tie.came_up()

    def life_ended(self, cell: Cell, exit: Exit) -> None:
        """A life is over: what belongs to it goes with it, and what it had put aside goes back into the mailbox."""
        for monitor in list(self.monitors):
            monitor.cancel()
        # What a monitor had told and was not handled.
        cell.urgent = [message for message in cell.urgent if type(message) is not Down]
        self.stash = [message for message in self.stash if type(message) is not Down]
        put_back(cell)
        deferred, self.deferred = self.deferred, {}
        for later in deferred:
            later.end(cell.path, exit)

    def ended(self) -> None:
        """The actor was stopped or given up."""
        for tie in list(self.ties):
            tie.ended()


def keep(cell: Cell) -> Kept:
    """What *cell* keeps, made if it does not yet."""
    if cell.kept is None:
        cell.kept = Kept()
    return cell.kept


def own_cell(what: str) -> Cell:
    """The cell of the actor whose task this is.

    Raises:
      RuntimeError: it is not an actor's own task; *what* says who asked.
    """
    cell = ACTORS.get(trio.lowlevel.current_task())
    if cell is None:
        raise RuntimeError(f"{what} is for an actor's own methods, in its own task")
    return cell


class Deferred:
    """A call that is answered later, by whoever holds this; from any task of the program, at any time.

    Source: the ``From`` of ``gen_server:reply/2`` in Erlang/OTP.
    """

    __slots__ = ("_call", "_kept")

    def __init__(self, call: Call, kept: Kept) -> None:
        self._call = call
        self._kept = kept
        kept.deferred[self] = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._call.abandoned

    def reply(self, value: object) -> None:
        """Answer with *value*; does nothing if it was answered, or the caller has gone."""
        self._kept.deferred.pop(self, None)
        self._call.reply(value)

    def fail(self, error: BaseException) -> None:
        """Answer with *error*, raised in the caller; else as :meth:`reply`."""
        self._kept.deferred.pop(self, None)
        self._call.fail(error)

    def end(self, path: str, exit: Exit) -> None:
        """The actor at *path* ended before it answered; told by the runtime."""
        if exit.reason != "crashed":
            self._call.fail(ActorStopped(path))
            return
        failure = ActorCrashed(path)
        failure.__cause__ = exit.error
        self._call.fail(failure)


def defer() -> Deferred:
    """Take the call that the actor of this task serves out of its hand; what ``handle_call`` returns is not used.

    Raises:
      RuntimeError: it serves none, or that one was taken before.
    """
    cell = own_cell("defer()")
    call, cell.current = cell.current, None
    if call is None:
        raise RuntimeError("defer() is for handle_call, once a call")
    kept = keep(cell)
    if len(kept.deferred) >= cell.spec.capacity:  # then it is worth while to look for those nobody waits for
        kept.deferred = {later: None for later in kept.deferred if not later.abandoned}
    return Deferred(call, kept)


def put_aside(message: object) -> None:
    """Put *message*, or the call that brought it, aside until :func:`put_back`.

    Raises:
      StashFull: as many as the mailbox holds are there already.
      RuntimeError: it is not the actor's own task.
    """
    cell = own_cell("stash()")
    kept, capacity = keep(cell), cell.spec.capacity
    if len(kept.stash) >= capacity:
        raise StashFull(cell.path, capacity)
    call, cell.current = cell.current, None
    kept.stash.append(message if call is None else call)


def put_back(cell: Cell) -> None:
    """Put what the actor had put aside before all that waits in its mailbox, oldest first."""
    if cell.kept is not None and cell.kept.stash:
        stash, cell.kept.stash = cell.kept.stash, []
        cell.put_back(stash)
