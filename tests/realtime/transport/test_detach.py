"""Connections whose handler has returned."""

import gc
import os
import weakref
from functools import partial

import attrs
import pytest
import trio
from quart import websocket
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked

from realtime.delivery import frames
from realtime.delivery.wire import PeerClosed
from realtime.transport import WebsocketConnection, open_wire

from .harness import (
    close_code,
    connect,
    masked,
    open_websocket,
    read_all,
    reset,
    running,
    until,
    upgrade,
    whole_frames,
)


@pytest.fixture
async def opened():
    """Opens WebSockets, which are closed with the test."""
    streams = []

    async def opened(server, path):
        streams.append(await open_websocket(server.port, path))
        return streams[-1]

    yield opened
    for stream in streams:
        stream.socket.close()


@attrs.define
class Left:
    """What handlers leave behind, and what became of it."""

    quart: QuartTrio = attrs.field(init=False)
    wires: list = attrs.field(factory=list)
    requests: list = attrs.field(factory=list)
    seen: list = attrs.field(factory=list)
    detached: trio.Event = attrs.field(factory=trio.Event)
    hold: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)

    async def echo(self, wire):
        try:
            while True:
                message = await wire.receive()
                self.seen.append(message)
                await wire.send([frames.text(message.encode())])
        except PeerClosed as end:
            self.seen.append(end.code)
            await wire.aclose(1000)
        finally:
            self.ended.set()

    async def fail(self, wire):
        raise RuntimeError("on purpose")

    async def forget_to_close(self, wire):
        await wire.send([frames.text(b"bye")])

    async def work_for_ever(self, wire):
        message = await wire.receive()

        async def work():
            self.seen.append(message)
            self.detached.set()
            await trio.sleep_forever()

        await wire.attend(work())
        self.seen.append("given up")
        await self.echo(wire)


@pytest.fixture
def left():
    """An application whose handlers detach."""
    found = Left()
    found.quart = quart = QuartTrio("tests")
    quart.asgi_websocket_class = WebsocketConnection

    @quart.websocket("/<life>")
    async def leave(life):
        found.requests.append(weakref.ref(websocket._get_current_object()))
        wire = await open_wire(websocket)
        found.wires.append(wire)
        if life == "late":
            await found.hold.wait()
            life = "echo"
        assert wire.detach(partial(getattr(found, life), wire))
        found.detached.set()

    @quart.websocket("/fails/afterwards")
    async def leave_and_fail():
        wire = await open_wire(websocket)
        found.wires.append(wire)
        wire.detach(partial(found.echo, wire))
        raise RuntimeError("on purpose")

    @quart.websocket("/wrong/use")
    async def misuse():
        wire = await open_wire(websocket)
        wire.detach(partial(found.echo, wire))
        try:
            wire.detach(partial(found.echo, wire))
        except RuntimeError as error:
            found.seen.append(str(error))
        found.wires.append(wire)

    return found


async def say(stream, text):
    await stream.send_all(masked(1, text))
    expected = frames.text(text).data
    received = b""
    while len(received) < len(expected):
        received += await stream.receive_some(len(expected) - len(received))
    assert received == expected


async def closes(stream, code=1000):
    await stream.send_all(masked(8, code.to_bytes(2)))
    return close_code(await read_all(stream))


async def test_it_is_read_and_written_as_before(opened, left):
    async with running(left.quart) as server:
        stream = await opened(server, "/echo")
        await say(stream, b"one")
        await say(stream, b"two")
        assert await closes(stream, 1001) == 1001
        await until(lambda: server.open == 0)
    assert left.seen == ["one", "two", 1001]


async def test_a_ping_that_is_read_while_the_handler_detaches_is_answered(opened, left):
    async with running(left.quart) as server:
        for _ in range(20):  # which of both comes first is Trio's toss of a coin
            left.hold = trio.Event()
            stream = await opened(server, "/late")
            await wait_all_tasks_blocked()
            # Without a checkpoint in between: reader and handler are woken together.
            os.write(stream.socket.fileno(), masked(9, b"here?") + masked(1, b"one"))
            left.hold.set()
            answer = b""
            with trio.fail_after(5):
                while len(whole_frames(answer)) < 2:
                    answer += await stream.receive_some()
            assert set(whole_frames(answer)) == {(10, b"here?"), (1, b"one")}
            assert await closes(stream) == 1000


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_handler_does_not_go_on_when_frames_came_before_its_answer(left, pieces, caplog):
    async with running(left.quart) as server:
        for _ in range(10):
            async with await connect(server.port) as stream:
                request, frame = upgrade("/echo"), masked(9, b"early")
                for piece in [request + frame] if pieces == 1 else [request, frame]:
                    await stream.send_all(piece)
                answer = await read_all(stream) if pieces == 1 else await stream.receive_some()
                assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 101"))
                assert pieces == 2 or answer.startswith(b"HTTP/1.1 400")
        await until(lambda: server.open == 0)
    if pieces == 1:
        assert left.wires == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_handler_does_not_go_on_for_a_peer_that_left_before_it_began(left, caplog):
    async with running(left.quart) as server:
        for _ in range(50):
            stream = await connect(server.port)
            await stream.send_all(upgrade("/echo"))
            reset(stream)
        await until(lambda: server.open == 0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_one_task_is_all_that_is_left(opened, left):
    async with running(left.quart) as server:
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        streams = []
        for path in ("/echo", "/echo"):
            streams.append(await opened(server, path))
        await until(lambda: trio.lowlevel.current_statistics().tasks_living == before + len(streams))
        for stream in streams:
            reset(stream)
        await until(lambda: server.open == 0)


async def test_what_the_handler_had_is_freed(opened, left):
    async with running(left.quart) as server:
        stream = await opened(server, "/echo")
        await say(stream, b"still here")
        gc.collect()
        assert [request() for request in left.requests] == [None]
        assert not hasattr(left.wires[0]._link, "protocol")
        assert await closes(stream) == 1000


async def test_what_came_before_is_not_lost(opened, left):
    async with running(left.quart) as server:
        stream = await opened(server, "/late")
        texts = [str(number) for number in range(200)]
        await stream.send_all(b"".join(masked(1, text.encode()) for text in texts[:100]))
        await until(lambda: left.wires and left.wires[0]._inbox.full)
        left.hold.set()
        await stream.send_all(b"".join(masked(1, text.encode()) for text in texts[100:]))
        await closes(stream)
        await left.ended.wait()
    assert left.seen == [*texts, 1000]


async def test_a_client_that_left_before_is_learned_of(opened, left):
    async with running(left.quart) as server:
        stream = await opened(server, "/late")
        reset(stream)
        await until(lambda: left.wires and left.wires[0].ended)
        left.hold.set()
        await left.ended.wait()
        await until(lambda: server.open == 0)
    assert left.seen == [1006]


@pytest.mark.parametrize(("path", "fails"), [("/fail", True), ("/forget_to_close", False), ("/fails/afterwards", True)])
async def test_a_failure_is_told(opened, left, path, fails):
    async with running(left.quart, fails=fails) as server:
        stream = await opened(server, path)
        data = await read_all(stream)
        assert close_code(data) == 1011
        await until(lambda: server.open == 0)
        if path == "/fail":
            (line,) = [line for line in server.log if line["log_level"] == "error"]
            assert (line["event"], line["connection_id"]) == ("connection failed", "c1")
    assert left.seen == []


async def test_work_that_does_not_end_is_given_up_once_the_client_has_left(opened, left):
    async with running(left.quart, disconnect_grace=0.05) as server:
        stream = await opened(server, "/work_for_ever")
        await stream.send_all(masked(1, b"work"))
        await left.detached.wait()
        reset(stream)
        await left.ended.wait()
        await until(lambda: server.open == 0)
    assert left.seen == ["work", "given up", 1006]


async def test_an_end_from_outside_is_told(opened, left):
    async with running(left.quart) as server:
        stream = await opened(server, "/echo")
        await say(stream, b"x")
        await server.stop(0.1)
        assert close_code(await read_all(stream)) == 1012


async def test_it_is_detached_once(opened, left):
    async with running(left.quart) as server:
        stream = await opened(server, "/wrong/use")
        assert await closes(stream) == 1000
        await left.ended.wait()
    (problem, _) = left.seen
    assert "detach the wire once" in problem


async def test_a_crash_of_the_server_does_not_concern_it(opened, left):
    async with running(left.quart, fails=True) as server:
        stream = await opened(server, "/echo")
        await say(stream, b"before")
        server.tree.crash("server", RuntimeError("on purpose"))
        await wait_all_tasks_blocked()
        await say(stream, b"after")
        assert await closes(stream) == 1000
