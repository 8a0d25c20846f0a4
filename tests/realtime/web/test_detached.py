"""The streams on our own server: their handlers return, and the connections stay."""

import contextlib
from functools import partial

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from realtime.delivery.hub import Hub
from realtime.transport import open_listener
from realtime.tree import build
from realtime.web.app import create_app
from supervisors import Tree

from ..in_process import make_settings
from ..transport.harness import close_code, masked, open_websocket, read_all, until


@attrs.frozen
class World:
    """A whole system behind a socket."""

    hub: Hub
    tree: Tree
    port: int
    streams: contextlib.ExitStack

    async def connect(self, path):
        stream = await open_websocket(self.port, path)
        self.streams.callback(stream.socket.close)
        return stream


@contextlib.asynccontextmanager
async def serving():
    built = build(make_settings())
    with open_listener("127.0.0.1:0") as listener:
        async with built.run(create_app(built.backend), listener) as tree:
            with contextlib.ExitStack() as streams:
                yield World(built.hub, tree, listener.getsockname()[1], streams)


def tasks():
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("path", ["/ws/events", "/ws/supervisors", "/ws/mine"])
async def test_an_idle_connection_is_one_task(path):
    async with serving() as world:
        await wait_all_tasks_blocked()
        before = tasks()
        for _ in range(3):
            await world.connect(path)
        await until(lambda: len(world.hub.connections) == 3)
        await until(lambda: tasks() == before + 3)
        with pytest.raises(trio.TooSlowError):
            await until(lambda: tasks() != before + 3, 0.05)
        connections = world.tree.find("connections").children
        assert [child.state for child in connections] == ["running"] * 3


async def test_it_still_hears_and_is_heard():
    async with serving() as world:
        stream = await world.connect("/ws/mine")
        await stream.send_all(masked(1, b'{"type":"ping","timestamp":"t"}'))
        await until(lambda: world.hub.subscribers("session/mine"))
        world.hub.publish_nowait("session/mine", "news", 1)
        await stream.send_all(masked(1, b"no JSON"))
        data = b""
        while b'"bad_message"' not in data:
            data += await stream.receive_some()
        await stream.send_all(masked(8, (1000).to_bytes(2)))
        data += await read_all(stream)
        assert close_code(data) == 1000
        for found in (b'"subscribed"', b'"pong"', b'"news"'):
            assert found in data


async def test_a_handler_that_fails_on_a_message_closes_with_1011(monkeypatch):
    async with serving() as world:
        monkeypatch.setattr(world.hub, "subscribe", _broken(world.hub.subscribe))
        stream = await world.connect("/ws/mine")
        await stream.send_all(masked(1, b'{"type":"subscribe","topic":"events"}'))
        assert close_code(await read_all(stream)) == 1011
        await until(lambda: not world.hub.connections)


def _broken(subscribe):
    def broken(connection, topic):
        if topic == "events":
            raise RuntimeError("on purpose")
        return subscribe(connection, topic)

    return broken


async def test_a_drain_sends_it_away():
    async with serving() as world:
        stream = await world.connect("/ws/events")
        await until(lambda: world.hub.connections)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(world.tree.stop, deadline=trio.current_time() + 5))
            data = await read_all(stream)
        assert close_code(data) == 1012
        assert not world.hub.connections
