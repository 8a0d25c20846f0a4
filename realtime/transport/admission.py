"""How many connections there are, in all and from each address, and whether one more is let in."""

from __future__ import annotations

import attrs


@attrs.frozen
class TooManyConnections(Exception):
    """A limit on connections is reached: in all, or of one *address*."""

    limit: int
    address: str | None = None

    def __str__(self) -> str:
        whose = "" if self.address is None else f" from {self.address}"
        return f"there are already {self.limit} connections{whose}; try again later"


@attrs.frozen
class AdmissionStatistics:
    """Connections open now and from how many addresses; accepted and refused since the start.

    Attributes:
      refused_of_address: those of the refused that were too many from their own address.
    """

    open: int
    addresses: int
    accepted: int
    refused: int
    refused_of_address: int


class Admission:
    """Counts connections in and out, and gives each its id.

    It belongs to the tree and not to an incarnation of the server, since connections outlive those.
    """

    def __init__(self, max_connections: int, max_connections_per_address: int) -> None:
        self.max_connections = max_connections
        self.max_connections_per_address = max_connections_per_address
        self._open = 0
        self._accepted = 0
        self._refused = 0
        self._refused_of_address = 0
        self._per_address: dict[str, int] = {}

    def admit(self, address: str) -> str:
        """Count a connection from *address* in; returns its id, unique while the process lives.

        Raises:
          TooManyConnections: it is not let in, and counted as refused.
        """
        from_there = self._per_address.get(address, 0)
        if self._open >= self.max_connections:
            self._refused += 1
            raise TooManyConnections(self.max_connections)
        if from_there >= self.max_connections_per_address:
            self._refused += 1
            self._refused_of_address += 1
            raise TooManyConnections(self.max_connections_per_address, address)
        self._open += 1
        self._per_address[address] = from_there + 1
        self._accepted += 1
        return f"c{self._accepted}"

    def release(self, address: str) -> None:
        """Count a connection from *address* out again."""
        self._open -= 1
        left = self._per_address.pop(address) - 1
        if left:
            self._per_address[address] = left

    def statistics(self) -> AdmissionStatistics:
        """The counts at this moment."""
        return AdmissionStatistics(
            self._open, len(self._per_address), self._accepted, self._refused, self._refused_of_address
        )
