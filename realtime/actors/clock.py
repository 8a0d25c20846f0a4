"""The clock: the server's time, each second, to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.actors.broadcaster import RESTART, PeriodicBroadcaster
from realtime.delivery.hub import Hub
from realtime.messages import now_iso
from supervisors import ChildSpec

if TYPE_CHECKING:
    from realtime.plugins import Services


class Clock(PeriodicBroadcaster):
    """Publishes ``time_update`` with the time in UTC."""

    def __init__(self, hub: Hub, *, interval: float = 1.0) -> None:
        super().__init__(hub, topic="clock", type="time_update", interval=interval)

    async def sample(self) -> dict[str, str]:
        """The time of this moment."""
        return {"date": now_iso()}


def children(services: Services, *, interval: float = 1.0) -> list[ChildSpec]:
    """The actor module's entry point; *interval* is in seconds."""
    services.hub.declare("clock", retain=True)
    return [ChildSpec("clock", Clock(services.hub, interval=interval).run, backoff=RESTART)]
