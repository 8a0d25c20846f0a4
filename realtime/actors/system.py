"""The machine's figures: processors, memory, load, network and this process, while somebody watches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil

from realtime.actors.broadcaster import RESTART, PeriodicBroadcaster
from realtime.delivery.hub import Hub
from realtime.messages import now_iso
from supervisors import ChildSpec

if TYPE_CHECKING:
    from realtime.plugins import Services


class SystemSampler:
    """Reads the figures with psutil; blocking, so it belongs in a thread.  Rates are since the reading before."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._process = psutil.Process()
        self._started_at = now_iso(self._process.create_time())
        self._before: tuple[float, int, int] | None = None
        # The first reading of a percentage has nothing to compare with and is always 0: take it here.
        psutil.cpu_percent(None)
        self._process.cpu_percent(None)

    def read(self) -> dict[str, Any]:
        """One reading; sizes in bytes, percentages of one processor for the process and of all for the machine."""
        memory = psutil.virtual_memory()
        with self._process.oneshot():
            process = {
                "cpu_percent": self._process.cpu_percent(None),
                "rss_bytes": self._process.memory_info().rss,
                "threads": self._process.num_threads(),
                "open_files": self._process.num_fds(),
                "started_at": self._started_at,
            }
        return {
            "cpu_percent": psutil.cpu_percent(None),
            "cpu_count": os.cpu_count(),
            "load": [round(value, 2) for value in psutil.getloadavg()],
            "memory": {
                "total_bytes": memory.total,
                "available_bytes": memory.available,
                "percent": memory.percent,
            },
            "network": self._network(),
            "process": process,
        }

    def _network(self) -> dict[str, float]:
        now = self._clock()
        counters = psutil.net_io_counters()
        sent, received = (counters.bytes_sent, counters.bytes_recv) if counters is not None else (0, 0)
        before, self._before = self._before, (now, sent, received)
        if before is None or now <= before[0]:
            return {"sent_bytes_per_s": 0, "received_bytes_per_s": 0}
        seconds = now - before[0]
        # Not below 0: counters begin anew when an interface goes, or when their bits are used up.
        return {
            "sent_bytes_per_s": max(0, round((sent - before[1]) / seconds)),
            "received_bytes_per_s": max(0, round((received - before[2]) / seconds)),
        }


class System(PeriodicBroadcaster):
    """Publishes ``snapshot`` with the figures of :class:`SystemSampler` and the number of connections."""

    only_if_changed = True
    only_while_listened_to = True

    def __init__(self, hub: Hub, *, interval: float = 5.0) -> None:
        super().__init__(hub, topic="system", type="snapshot", interval=interval)
        # Now, so that the first reading somebody sees has a stretch of time behind it.
        self._sampler = SystemSampler(time.monotonic)

    async def sample(self) -> dict[str, Any]:
        """One reading, taken in a thread; abandoned when the broadcaster is stopped."""
        figures = await self.in_thread(self._sampler.read)
        return {**figures, "connections": len(self.hub.connections)}


def children(services: Services, *, interval: float = 5.0) -> list[ChildSpec]:
    """The actor module's entry point; *interval* is in seconds."""
    services.hub.declare("system", retain=True)
    return [ChildSpec("system", System(services.hub, interval=interval).run, backoff=RESTART)]
