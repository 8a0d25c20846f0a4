"""The order of bytes on real sockets: small buffers, everybody writing at once, and a foreign parser that reads along.

The server's side is a hub with its flusher and our transport; the client's is the `websockets` package without its
own I/O, so that the test decides how slowly it reads.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from quart import websocket
from quart_trio import QuartTrio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from realtime.delivery import frames
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.delivery.wire import ping_payload
from realtime.settings import TopicSettings
from realtime.transport import SocketWire, WebsocketConnection, open_wire

from .harness import Server, connect, running, until

TOPICS = ["a", "b", "c"]
MESSAGES = 150  # of each topic
SMALL = 4096


@attrs.define
class World:
    hub: Hub
    server: Server
    streams: ExitStack
    connections: list[Connection] = attrs.field(factory=list)


@asynccontextmanager
async def serving() -> AsyncIterator[World]:
    """A hub behind our server; each client subscribes to all topics, and what it says is answered."""
    hub = Hub(lambda _: TopicSettings(), epoch="e")
    for topic in TOPICS:
        hub.declare(topic)
    quart = QuartTrio("tests")
    quart.asgi_websocket_class = WebsocketConnection
    connections: list[Connection] = []

    @quart.websocket("/ws/<pace>")
    async def handler(pace: str) -> None:
        wire = await open_wire(websocket)
        assert isinstance(wire, SocketWire)
        if pace == "slow":
            wire._link.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        connection = Connection(wire.id, wire, max_inbound_per_second=10_000)
        connections.append(connection)

        async def answer(message: str | bytes) -> None:
            connection.reply(json.dumps({"type": "reply", "to": message}).encode())

        with hub.registered(connection):
            for topic in TOPICS:
                hub.subscribe(connection, topic)
            await connection.run(answer)

    async with (
        running(quart, write_timeout=5.0, max_frames_per_second=10_000.0) as server,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(hub.run)
        with ExitStack() as streams:
            yield World(hub, server, streams, connections)
        nursery.cancel_scope.cancel()


@attrs.define
class Client:
    """A client whose bytes are judged by `websockets`."""

    stream: trio.SocketStream
    protocol: ClientProtocol
    chance: random.Random
    slow: bool
    texts: list[Any] = attrs.field(factory=list)
    pongs: int = 0
    pings: int = 0
    ended: trio.Event = attrs.field(factory=trio.Event)
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    @classmethod
    async def open(cls, world: World, seed: int, *, slow: bool) -> Client:
        stream = await connect(world.server.port, receive_buffer=SMALL if slow else None)
        world.streams.callback(stream.socket.close)
        uri = parse_uri(world.server.url("/ws/slow" if slow else "/ws/quick"))
        client = cls(stream, ClientProtocol(uri, max_size=None), random.Random(seed), slow)
        client.protocol.send_request(client.protocol.connect())
        await client.flush()
        while client.protocol.state is State.CONNECTING:
            client.protocol.receive_data(await stream.receive_some(1))
            if client.protocol.handshake_exc is not None:
                raise InvalidHandshake from client.protocol.handshake_exc
        client.protocol.events_received()
        return client

    async def flush(self) -> None:
        async with self._sending:
            for data in self.protocol.data_to_send():
                try:
                    await self.stream.send_all(data)
                except trio.BrokenResourceError:  # the reader will see the end of it
                    return

    async def read(self) -> None:
        """Read at a pace of its own until the server has closed."""
        while self.protocol.state in (State.OPEN, State.CLOSING):
            try:
                data = await self.stream.receive_some(self.chance.choice([1, 13, 500, 4000]) if self.slow else 65_536)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                self.protocol.receive_eof()
                break
            self.protocol.receive_data(data)
            assert self.protocol.parser_exc is None, self.protocol.parser_exc
            for event in self.protocol.events_received():
                self.take(event)
            await self.flush()
            if self.slow and self.chance.random() < 0.02:
                await trio.sleep(0.002)
        self.ended.set()

    def take(self, event: Any) -> None:
        assert isinstance(event, Frame)
        assert event.fin
        if event.opcode is Opcode.TEXT:
            self.texts.append(json.loads(bytes(event.data)))
        elif event.opcode is Opcode.PONG:
            self.pongs += 1
        elif event.opcode is Opcode.PING:
            self.pings += 1
        else:
            assert event.opcode is Opcode.CLOSE

    async def ping_and_ask(self) -> None:
        """A Ping every 2 ms, and every now and then a message that is answered."""
        number = 0
        while self.protocol.state is State.OPEN:
            self.protocol.send_ping(number.to_bytes(4))
            if number % 5 == 0:
                self.protocol.send_text(str(number).encode())
            await self.flush()
            number += 1
            await trio.sleep(0.002)

    def check(self, *, complete: bool) -> None:
        """Each topic's messages and gaps account for every offset, in order; each reply came in its turn."""
        last = dict.fromkeys(TOPICS, 0)
        replies = [int(text["to"]) for text in self.texts if text["type"] == "reply"]
        assert replies == sorted(replies)
        for text in self.texts:
            if text["type"] == "m":
                assert text["offset"] == last[text["topic"]] + 1
                last[text["topic"]] = text["offset"]
            elif text["type"] == "gap":
                assert text["offset"] - text["missed"] == last[text["topic"]]
                last[text["topic"]] = text["offset"]
        if complete:
            assert set(last.values()) == {MESSAGES}


async def publish(world: World, seed: int) -> None:
    """On all topics, of all sizes, alone and several in one tick, with Pings of the server's in between."""
    chance = random.Random(seed)
    left = TOPICS * MESSAGES
    chance.shuffle(left)
    for topic in left:
        world.hub.publish_nowait(topic, "m", "x" * chance.choice([1, 100, 1000, 6000]))
        if chance.random() < 0.2:
            for connection in world.connections:
                connection.ping(frames.ping(ping_payload(trio.current_time())), frames.text(b'{"type":"ping"}'))
        if chance.random() < 0.7:
            await trio.sleep(chance.choice([0, 0.001, 0.004]))


@pytest.mark.parametrize("seed", range(3))
async def test_nobody_can_break_the_order_of_bytes(seed: int) -> None:
    async with serving() as world, trio.open_nursery() as nursery:
        clients = [await Client.open(world, number, slow=number % 2 == 0) for number in range(4)]
        await until(lambda: len(world.connections) == 4)
        for client in clients:
            nursery.start_soon(client.read)
            nursery.start_soon(client.ping_and_ask)
        await publish(world, seed)
        await until(lambda: all(connection.outbox.idle for connection in world.connections), 8)
        for connection in world.connections:
            connection.close(1000, "done")
        for client in clients:
            await client.ended.wait()
        nursery.cancel_scope.cancel()
    for client in clients:
        client.check(complete=True)
        assert client.protocol.close_code == 1000
        assert client.pongs
        assert client.pings
    written = world.hub.statistics()
    # Both paths were taken, and neither alone.
    assert 0 < written.written < written.deliveries


@pytest.mark.parametrize("code", [1000, 1012, 4001])
async def test_a_close_in_the_middle_of_it_all_is_the_end_of_whole_frames(code: int) -> None:
    async with serving() as world, trio.open_nursery() as nursery:
        clients = [await Client.open(world, number, slow=True) for number in range(3)]
        await until(lambda: len(world.connections) == 3)
        for client in clients:
            nursery.start_soon(client.read)
            nursery.start_soon(client.ping_and_ask)
        nursery.start_soon(publish, world, code)
        await until(lambda: any(not connection.outbox.idle for connection in world.connections))
        for connection in world.connections:
            connection.close(code, "in the middle")
        for client in clients:
            await client.ended.wait()
        nursery.cancel_scope.cancel()
    for client in clients:
        client.check(complete=False)
        assert client.protocol.close_code in (code, 1006)
    assert code in [client.protocol.close_code for client in clients]


async def test_a_client_that_does_not_read_delays_nobody() -> None:
    async with serving() as world, trio.open_nursery() as nursery:
        await Client.open(world, 0, slow=True)
        clients = [await Client.open(world, number, slow=False) for number in (1, 2)]
        await until(lambda: len(world.connections) == 3)
        for client in clients:
            nursery.start_soon(client.read)
        waits = []
        for number in range(1, MESSAGES + 1):
            begun = trio.current_time()
            world.hub.publish_nowait("a", "m", "x" * 2000)
            await until(lambda: all(client.texts and client.texts[-1].get("offset") == number for client in clients))  # noqa: B023
            waits.append(trio.current_time() - begun)
        # It is polled for each 5 ms; a write that waited for the stalled one would take its deadline of 5 s.
        assert sorted(waits)[len(waits) // 2] < 0.05
        assert world.connections[0].outbox.statistics().queued_messages > 0
        nursery.cancel_scope.cancel()
