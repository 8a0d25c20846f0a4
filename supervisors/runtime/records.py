"""Whom a supervisor knows: the records of its children, how they are told of, looked up and counted."""

from __future__ import annotations

import trio

from ..errors import ChildRestarting, ChildRunning, NoSuchChild
from ..events import Removed, StateChanged
from ..spec import AnySupervisorSpec
from ..tree import ChildCount, ChildInfo
from .child import Child
from .context import TreeContext


class Records:
    """What a supervisor keeps for as long as its own :class:`Child` is known, so also from one life to the next."""

    def __init__(self, spec: AnySupervisorSpec, path: str, context: TreeContext) -> None:
        self.spec = spec
        self.path = path
        self.context = context
        self.children: dict[str, Child] = {}
        self.troubled: dict[str, Child] = {}
        """Those of its children that failed lately or were given up; what its health is made of."""
        self.reasons: list[str] = []
        """What is wrong with the supervisor itself."""

    def _forget(self, child: Child) -> None:
        # A newer child may have taken the id meanwhile.
        child_id = child.spec.id
        if self.children.get(child_id) is child:
            del self.children[child_id]
            if self.context.watched:
                self.context.emit(Removed(child.path, child.kind, trio.current_time()))

    def tell_state(self, child: Child) -> None:
        """Tell the state of *child*, where no other event does."""
        if self.context.watched:
            now = trio.current_time()
            self.context.emit(StateChanged(child.path, child.kind, child.state, child.generation, now))

    def tell_known(self, child: Child) -> None:
        """Tell that *child* is known, and all below it; none of them runs."""
        self.tell_state(child)
        if child.supervisor is not None:
            for below in child.supervisor.children.values():
                child.supervisor.tell_known(below)

    def refuse_active(self, child: Child) -> None:
        """Raise if *child* runs or is being restarted."""
        if child.state == "backing_off":
            raise ChildRestarting(child.path)
        if child.active:
            raise ChildRunning(child.path)

    def get(self, child_id: str) -> Child:
        """The child of this id.

        Raises:
          NoSuchChild: there is none.
        """
        try:
            return self.children[child_id]
        except KeyError:
            raise NoSuchChild(f"{self.path}/{child_id}" if self.path else child_id) from None

    def which_children(self) -> tuple[ChildInfo, ...]:
        """See :meth:`SupervisorRef.which_children`."""
        return tuple(ChildInfo(c.spec.id, c.state, c.kind) for c in self.children.values())

    def count_children(self) -> ChildCount:
        """See :meth:`SupervisorRef.count_children`."""
        supervisors = sum(c.spec.is_supervisor for c in self.children.values())
        return ChildCount(
            specs=len(self.children),
            active=sum(c.alive for c in self.children.values()),
            supervisors=supervisors,
            workers=len(self.children) - supervisors,
        )
