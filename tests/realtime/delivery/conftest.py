"""A hub with its flusher, and clients of it whose sockets are in memory."""

from contextlib import asynccontextmanager

import pytest
import trio

from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.delivery.outbox import Outbox
from realtime.policy.lag import Overflow
from realtime.settings import TopicSettings

from .memory_wire import MemoryWire

OVERFLOWS = {overflow.value: TopicSettings(overflow=overflow) for overflow in Overflow}


async def ignore(message):
    await trio.lowlevel.checkpoint()


class World:
    """Topics named after their overflow policy, with anything behind a colon."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.hub = Hub(lambda name: OVERFLOWS[name.partition(":")[0].partition("/")[0]], epoch="e")
        for name in OVERFLOWS:
            self.hub.declare(name)
        self.flusher = trio.CancelScope()
        self.count = 0

    def client(self, *topics, handler=ignore, stalled=False, max_messages=10, max_bytes=100_000, wire=None, **options):
        """A registered and running connection that subscribes to *topics*."""
        self.count += 1
        wire = wire or MemoryWire(**options)
        if stalled:
            wire.stall()
        connection = Connection(f"c{self.count}", wire, outbox=Outbox(max_messages, max_bytes))
        self.nursery.start_soon(self._serve, connection, handler, topics)
        return connection

    async def _serve(self, connection, handler, topics):
        with self.hub.registered(connection):
            for topic in topics:
                self.hub.subscribe(connection, topic)
            await connection.run(handler)

    async def start_flusher(self):
        async def flush(task_status):
            self.flusher = trio.CancelScope()
            with self.flusher:
                await self.hub.run(task_status=task_status)

        await self.nursery.start(flush)

    def stop(self):
        self.nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_world(flusher=True):
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        if flusher:
            await world.start_flusher()
        yield world
        nursery.cancel_scope.cancel()


@pytest.fixture
async def world(nursery):
    world = World(nursery)
    await world.start_flusher()
    return world
