"""Many children spread over several dynamic supervisors, each with a budget and a failure of its own.

The model is Elixir's ``PartitionSupervisor``.  There it spares one process from being a bottleneck; a dynamic
supervisor of ours is none, and what is gained is isolation: children that fail too often take those of their partition
with them, and not all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from ..errors import SupervisorNotRunning
from ..spec import ChildSpec, DynamicSupervisorSpec, SupervisorSpec
from ..tree import ChildCount, ChildInfo
from .ref import SupervisorRef

if TYPE_CHECKING:
    from .base import BaseSupervisor


def partitioned(
    spec: DynamicSupervisorSpec, *, partitions: int, max_restarts: int = 3, max_seconds: float = 5.0
) -> SupervisorSpec:
    """A supervisor of *partitions* supervisors by *spec*, with the ids ``0``, ``1`` and so on::

        connections = PartitionedRef()
        ChildSpec("connections", partitioned(DynamicSupervisorSpec(), partitions=8), ref=connections)

    Everything in *spec* is for each partition, so its ``max_children`` bounds one of them.  *max_restarts* in
    *max_seconds* is how often partitions that gave up are restarted, empty.
    """
    if partitions < 1:
        raise ValueError(f"partitions must be at least 1, got {partitions!r}")
    children = [ChildSpec(str(number), spec) for number in range(partitions)]
    return SupervisorSpec(children, max_restarts=max_restarts, max_seconds=max_seconds)


class PartitionedRef(SupervisorRef):
    """The administration of a :func:`partitioned` supervisor: each child by its id, in the partition that is its.

    An id has the same partition in each process and at any time (CRC-32 of its UTF-8).  Methods for one child are as in
    :class:`~supervisors.SupervisorRef` and raise :class:`~supervisors.SupervisorNotRunning` while that partition alone
    does not run.
    """

    __slots__ = ()

    def path_of(self, child_id: str) -> str:
        """The path at which the child of this id stands, or would."""
        supervisor = self._bound()
        partition = self._number(supervisor, child_id)
        return "/".join(part for part in (supervisor.path, partition, child_id) if part)

    async def start_child(self, spec: ChildSpec) -> object:
        """As :meth:`SupervisorRef.start_child`, in its partition."""
        return await self._partition(spec.id).start_child(spec)

    def start_child_nowait(self, spec: ChildSpec) -> None:
        """As :meth:`SupervisorRef.start_child_nowait`, in its partition."""
        self._partition(spec.id).start_child_nowait(spec)

    async def terminate_child(self, child_id: str) -> None:
        """As :meth:`SupervisorRef.terminate_child`, in its partition."""
        await self._partition(child_id).terminate_child(child_id)

    async def restart_child(self, child_id: str) -> object:
        """Refused, as by each dynamic supervisor."""
        return await self._partition(child_id).restart_child(child_id)

    async def delete_child(self, child_id: str) -> None:
        """Refused, as by each dynamic supervisor."""
        await self._partition(child_id).delete_child(child_id)

    def which_children(self) -> tuple[ChildInfo, ...]:
        """The children of all partitions, one partition after the other."""
        return tuple(info for partition in self._partitions() for info in partition.which_children())

    def count_children(self) -> ChildCount:
        """How many children all partitions have together."""
        counts = [partition.count_children() for partition in self._partitions()]
        return ChildCount(
            specs=sum(count.specs for count in counts),
            active=sum(count.active for count in counts),
            supervisors=sum(count.supervisors for count in counts),
            workers=sum(count.workers for count in counts),
        )

    def _partitions(self) -> list[BaseSupervisor]:
        below = [child.supervisor for child in self._bound().children.values()]
        return [supervisor for supervisor in below if supervisor is not None and supervisor.serving]

    def _partition(self, child_id: str) -> BaseSupervisor:
        supervisor = self._bound()
        number = self._number(supervisor, child_id)
        partition = supervisor.get(number).supervisor
        if partition is None or not partition.serving:
            raise SupervisorNotRunning(f"{supervisor.path}/{number}" if supervisor.path else number)
        return partition

    def _number(self, supervisor: BaseSupervisor, child_id: str) -> str:
        assert isinstance(supervisor.spec, SupervisorSpec), "bound to what partitioned() made"
        # The spec's, not those there are now: one deleted by hand must not move the children of all others.
        return str(crc32(child_id.encode(errors="surrogatepass")) % len(supervisor.spec.children))
