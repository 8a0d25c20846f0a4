"""Names and groups of actors: an object that is made and passed on, so that there is no global one.

A name belongs to an actor as long as it is there, over restarts of every kind.  When it is stopped or given up the name
is free; started again later, it has the name back unless somebody took it.  Nothing of an actor that is gone is left.

Sources: ``Registry`` in Elixir (unique names), ``pg`` in Erlang/OTP (groups).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import trio

from ..errors import MailboxClosed, NameTaken
from .kept import keep
from .ref import Cell, Ref


class _Tie(ABC):
    """What hangs on an actor's cell for one name or group.  While the actor is there, the registry holds it too."""

    __slots__ = ("cell", "name", "ref", "registry")

    def __init__(self, registry: Registry, name: str, ref: Ref[Any], cell: Cell) -> None:
        self.registry, self.name, self.ref, self.cell = registry, name, ref, cell

    @property
    def up(self) -> bool:
        return self.cell.open

    def remove(self) -> None:
        self.ended()
        keep(self.cell).ties.pop(self, None)

    @abstractmethod
    def came_up(self) -> None:
        """The actor is there, for the first time or again."""

    @abstractmethod
    def ended(self) -> None:
        """The actor was stopped or given up."""


class _Name(_Tie):
    __slots__ = ()

    def came_up(self) -> None:
        if self.registry.holders.setdefault(self.name, self) is self:
            self.registry.tell(self.name)

    def ended(self) -> None:
        if self.registry.holders.get(self.name) is self:
            del self.registry.holders[self.name]


class _Member(_Tie):
    __slots__ = ()

    def came_up(self) -> None:
        self.registry.joined.setdefault(self.name, {})[self.cell] = self

    def ended(self) -> None:
        members = self.registry.joined.get(self.name, {})
        if members.get(self.cell) is self:
            del members[self.cell]
            if not members:
                del self.registry.joined[self.name]


class Registry:
    """Unique names, and groups, of actors.  All its methods but :meth:`wait_for` return at once.

    An actor registers itself in ``on_start``, ``registry.register("clock", self.context.ref)``, or is registered by
    whoever started it.  To register again what is registered changes nothing, so each life may do it.
    """

    def __init__(self) -> None:
        self.holders: dict[str, _Name] = {}
        """Who has which name now; this and :attr:`joined` are for the runtime."""
        self.joined: dict[str, dict[Cell, _Member]] = {}
        self._waiting: dict[str, dict[trio.Event, None]] = {}

    # -------------------------------------------------------------------- names

    def register(self, name: str, ref: Ref[Any]) -> None:
        """Give the actor behind *ref* the *name*, for as long as it is there.  It may have several.

        Raises:
          NameTaken: another actor has it.
          MailboxClosed: the actor is not running.
        """
        cell = _running(ref)
        holder = self.holders.get(name)
        if holder is not None:
            if holder.cell is cell:
                return
            raise NameTaken(name, holder.ref.path)
        tie = _Name(self, name, ref, cell)
        self._hang(tie)
        self.holders[name] = tie
        if tie.up:
            self.tell(name)

    def unregister(self, name: str) -> None:
        """Free *name*; does nothing if nobody has it."""
        holder = self.holders.get(name)
        if holder is not None:
            holder.remove()

    def whereis(self, name: str) -> Ref[Any] | None:
        """Who has *name*; None if nobody, or if the actor has not come up yet.

        An actor that crashed and is being restarted has its name, and takes messages.
        """
        holder = self.holders.get(name)
        return holder.ref if holder is not None and holder.up else None

    async def wait_for(self, name: str) -> Ref[Any]:
        """Wait until :meth:`whereis` has an answer, and return it.  A checkpoint."""
        await trio.lowlevel.checkpoint()
        while (ref := self.whereis(name)) is None:
            event = trio.Event()
            waiting = self._waiting.setdefault(name, {})
            waiting[event] = None
            try:
                await event.wait()
            finally:
                del waiting[event]
                if not waiting and self._waiting.get(name) is waiting:
                    del self._waiting[name]
        return ref

    def names(self) -> Mapping[str, Ref[Any]]:
        """All names with who has them, as they are now."""
        return MappingProxyType({name: holder.ref for name, holder in self.holders.items() if holder.up})

    def tell(self, name: str) -> None:
        """Wake those who wait for *name*; done by the runtime."""
        for event in self._waiting.get(name, ()):
            event.set()

    def _hang(self, tie: _Tie) -> None:
        """Hang *tie* on the actor, in place of one that is left from before it was stopped."""
        ties = keep(tie.cell).ties
        for old in list(ties):
            if isinstance(old, type(tie)) and old.registry is self and old.name == tie.name:
                del ties[old]
        ties[tie] = None

    # ------------------------------------------------------------------- groups

    def join(self, group: str, ref: Ref[Any]) -> None:
        """Make the actor behind *ref* a member of *group*, for as long as it is there.

        Raises:
          MailboxClosed: the actor is not running.
        """
        cell = _running(ref)
        if cell not in self.joined.get(group, {}):
            member = _Member(self, group, ref, cell)
            self._hang(member)
            member.came_up()

    def leave(self, group: str, ref: Ref[Any]) -> None:
        """Take the actor behind *ref* out of *group*; does nothing if it is no member."""
        member = None if ref.cell is None else self.joined.get(group, {}).get(ref.cell)
        if member is not None:
            member.remove()

    def members(self, group: str) -> tuple[Ref[Any], ...]:
        """The members of *group* that have come up, in the order in which they joined."""
        return tuple(member.ref for member in self.joined.get(group, {}).values() if member.up)

    def groups(self) -> tuple[str, ...]:
        """The groups that have a member."""
        return tuple(self.joined)


def _running(ref: Ref[Any]) -> Cell:
    cell = ref.cell
    if cell is None or not (cell.open or cell.task is not None):
        raise MailboxClosed(ref.path)
    return cell
