"""The engine of a single process: there is nowhere else to carry a message to."""

from collections.abc import Callable
from typing import Self

import trio

from realtime.ports import Backplane, BackplaneStatistics


class LocalBackplane(Backplane):
    """Hands every message straight to *sink*, in the order in which they come.

    It has no connection that could be lost, so messages pass whether or not its child runs; the child is there so that
    the tree has the same shape with every engine.
    """

    def __init__(self, sink: Callable[[str, bytes], object]) -> None:
        self._sink = sink
        self._published = 0
        self._published_bytes = 0

    def publish_nowait(self, topic: str, frame: bytes) -> None:
        """Call the sink. What it raises goes to the publisher, and is not counted as published."""
        self._sink(topic, frame)
        self._published += 1
        self._published_bytes += len(frame)

    def statistics(self) -> BackplaneStatistics:
        """A frozen snapshot of the figures."""
        return BackplaneStatistics(self._published, self._published_bytes)

    async def run(
        self,
        *,
        stopping: trio.Event | None = None,
        task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Wait until *stopping* is set or the task is cancelled: there is nothing to keep up."""
        task_status.started(self)
        await (trio.Event() if stopping is None else stopping).wait()
