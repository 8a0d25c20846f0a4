"""Connections of sessions, whose sockets are in memory."""

from __future__ import annotations

import trio

from realtime.delivery.connection import Connection
from realtime.delivery.outbox import Outbox
from realtime.settings import TopicSettings
from tests.realtime.delivery.memory_wire import MemoryWire


def settings_of(name):
    """Presence for rooms."""
    return TopicSettings(presence=name.startswith("room/"))


class Sessions:
    """Registers connections with *hub* and runs them in *nursery*."""

    def __init__(self, hub, nursery):
        self.hub = hub
        self.nursery = nursery
        self.count = 0

    def join(self, session, *topics, stalled=False, max_messages=100, handler=None, wire=None):
        """A running connection of *session*, subscribed to its own topic and to *topics*; None is a fixed stream."""
        self.count += 1
        wire = MemoryWire() if wire is None else wire
        if stalled:
            wire.stall()
        connection = Connection(f"c{self.count}", wire, session=session, outbox=Outbox(max_messages))
        own = () if session is None else (f"session/{session}",)
        self.hub.register(connection)
        for topic in (*own, *topics):
            self.hub.subscribe(connection, topic)
        self.nursery.start_soon(self._serve, connection, handler or (lambda _message: None))
        return connection

    async def _serve(self, connection, handler):
        try:
            await connection.run(handler)
        finally:
            self.hub.drop(connection)


def heard(connection, *, without=("subscribed",)):
    """What *connection* was sent, without its confirmations."""
    return [message for message in connection.wire.messages if message["type"] not in without]


async def settle():
    await trio.testing.wait_all_tasks_blocked()
