"""A hub, and somebody who subscribes to its topics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.delivery.outbox import Outbox
from realtime.settings import Settings

from ..delivery.memory_wire import MemoryWire


def a_hub() -> Hub:
    return Hub(Settings().topic, epoch="e")


class Listeners:
    """Subscribers of *hub*, whose flusher runs."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._ids = itertools.count(1)

    @contextmanager
    def one(self, topic: str) -> Iterator[Callable[[], list[tuple[str, Any]]]]:
        """A subscriber of *topic* while the block runs.

        Gives a function that returns what was sent to it so far, as (type, data), without the confirmation.
        """
        connection = Connection(f"c{next(self._ids)}", MemoryWire(), outbox=Outbox(1000, 10_000_000))
        sent: list[dict[str, Any]] = []

        def heard() -> list[tuple[str, Any]]:
            sent.extend(msgspec.json.decode(frame.payload) for frame in connection.outbox.receive_nowait())
            return [(message["type"], message["data"]) for message in sent if message["type"] != "subscribed"]

        with self.hub.registered(connection):
            self.hub.subscribe(connection, topic)
            yield heard
