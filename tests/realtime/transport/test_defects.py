"""The defects of Hypercorn's Trio worker that ours must not have, each shown on both.

On the bare worker each test is an expected failure: the day one passes, Hypercorn has mended it, and we may have
something to take out. How fast things go is measured by the bench and not here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from quart import websocket
from quart_trio import QuartTrio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect as ws_connect

from realtime.delivery import frames
from realtime.delivery.wire import ping_payload
from realtime.transport import open_wire

from .harness import (
    bare,
    close_code,
    connect,
    get,
    http,
    make_app,
    masked,
    open_websocket,
    read_all,
    running,
    until,
    upgrade,
)

TEXT, CLOSE = 1, 8


@attrs.frozen
class Server:
    """Either worker, as far as a client and an operator care."""

    port: int
    stop: Callable[[float], Any]
    """Ask it to stop; True if it had within so many seconds."""

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"


Worker = Callable[..., AbstractAsyncContextManager[Server]]


@asynccontextmanager
async def ours(app: Any) -> AsyncIterator[Server]:
    async with running(app, disconnect_grace=0.1) as server:

        async def stop(seconds: float) -> bool:
            with trio.move_on_after(seconds):
                await server.stop(seconds / 2)
                return True
            return False

        yield Server(server.port, stop)


@asynccontextmanager
async def hypercorn(app: Any, **settings: Any) -> AsyncIterator[Server]:
    try:
        async with bare(app, **settings) as server:

            async def stop(seconds: float) -> bool:
                server.stop.set()
                with trio.move_on_after(seconds):
                    await server.ended.wait()
                    return True
                return False

            yield Server(server.port, stop)
    except ExceptionGroup as failures:
        if failures.split(AssertionError)[1] is not None:
            raise
        raise AssertionError("the defect is still there") from failures


def on_both(defect: str, **settings: Any) -> Any:
    """Run on both workers; the bare one, with its own *settings*, has the *defect*."""
    # The assertion alone is expected to fail: nothing else may hide behind it. The group is pytest-trio's.
    known = pytest.mark.xfail(strict=True, raises=pytest.RaisesGroup(AssertionError), reason=defect)
    return pytest.mark.parametrize(
        "worker",
        [pytest.param(partial(hypercorn, **settings), marks=known, id="hypercorn"), pytest.param(ours, id="ours")],
    )


@on_both("1: writes are shielded and have no deadline")
async def test_1_a_client_that_does_not_read_cannot_block_the_shutdown(worker: Worker) -> None:
    app = make_app()
    async with worker(app.quart) as server:
        async with await open_websocket(server.port, "/ws/pour", receive_buffer=4096):
            await app.opened.wait()
            await wait_all_tasks_blocked(0.01)  # the socket takes no more
            stopped = await server.stop(0.6)
        assert stopped


@on_both("2: an exception that leaves a connection's task ends the server")
async def test_2_one_connection_cannot_end_the_others(worker: Worker) -> None:
    async with worker(make_app().quart) as server, await open_websocket(server.port, "/ws/plain") as bystander:
        await http(server.port, upgrade("/ws/plain", "Sec-WebSocket-Protocol: \xff"))
        await bystander.send_all(masked(TEXT, b"still here"))
        assert await read_some(bystander) == b"\x81\x0astill here"


async def read_some(stream: trio.abc.ReceiveStream) -> bytes:
    """What comes next; nothing, if the connection is broken."""
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


@on_both("3: Ping frames are sent, and nothing looks for the Pong", websocket_ping_interval=0.01)
async def test_3_whether_the_client_answers_is_known(worker: Worker) -> None:
    rtt: list[float | None] = []
    quart = QuartTrio("tests")

    @quart.websocket("/ws")
    async def handler() -> None:
        wire = await open_wire(websocket)
        await wire.send([frames.ping(ping_payload(trio.current_time()))])
        await wire.receive()
        rtt.append(wire.rtt)
        await wire.aclose(1000)

    async with worker(quart) as server, ws_connect(server.url("/ws")) as client:
        await wait_all_tasks_blocked()
        await client.send("by now I have answered")
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert rtt[0] is not None


@on_both("4: no Close frame at shutdown")
async def test_4_clients_are_told_that_the_server_goes_away(worker: Worker) -> None:
    async with worker(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as client:
        await server.stop(1)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1012


@on_both("5: permessage-deflate is always negotiated")
async def test_5_compression_is_not_agreed_on(worker: Worker) -> None:
    async with worker(make_app().quart) as server, await connect(server.port) as client:
        await client.send_all(upgrade("/ws/plain", "Sec-WebSocket-Extensions: permessage-deflate"))
        assert b"permessage-deflate" not in await read_some(client)


@on_both("6: send returns without a checkpoint once the connection is closed")
async def test_6_sending_after_the_end_yields(worker: Worker) -> None:
    yields: list[bool] = []

    async def talking(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await wait_all_tasks_blocked()  # nothing of the connection is left
        try:
            with assert_checkpoints():
                await send({"type": "websocket.send", "text": "too late"})
        except AssertionError:
            yields.append(False)
        else:
            yields.append(True)

    async with worker(talking) as server:
        async with await open_websocket(server.port, "/"):
            pass
        await until(lambda: yields)
    assert yields == [True]


@on_both("7: messages are queued ahead of the disconnect")
async def test_7_a_handler_that_does_not_receive_learns_that_its_client_left(worker: Worker) -> None:
    app = make_app()
    async with worker(app.quart) as server:
        async with await open_websocket(server.port, "/ws/deaf") as client:
            await client.send_all(masked(TEXT, b"unread") * 100)
            await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await app.ended.wait()
        assert app.ended.is_set()


@on_both("8: the peer's close code is lost")
async def test_8_the_peer_s_close_code_reaches_the_application(worker: Worker) -> None:
    events: list[Any] = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        await receive()
        await send({"type": "websocket.accept"})
        events.append(await receive())

    async with worker(listening) as server:
        async with await open_websocket(server.port, "/") as client:
            await client.send_all(masked(CLOSE, b"\x0f\xa1bye"))
            await read_all(client)
        await until(lambda: events)
    assert events[0]["code"] == 4001


@on_both("8: protocol errors end without 1002, and the rest without telling the application")
async def test_8_a_protocol_error_is_answered(worker: Worker) -> None:
    async with worker(make_app().quart) as server, await open_websocket(server.port, "/ws/plain") as client:
        await client.send_all(masked(3))
        assert close_code(await read_all(client)) == 1002


@on_both("9: a crash in app.nursery cancels all that runs there, and HTTP goes on answering")
async def test_9_a_crash_behind_a_handler_ends_nothing_else(worker: Worker) -> None:
    """Ours has no such nursery: a handler that wants one fails by itself and at once."""
    quart = QuartTrio("tests")
    ticking = trio.Event()
    stopped: list[bool] = []

    async def tick() -> None:
        ticking.set()
        try:
            await trio.sleep_forever()
        finally:
            stopped.append(True)

    async def crash() -> None:
        raise RuntimeError("on purpose")

    @quart.get("/start")
    async def start() -> str:
        quart.nursery.start_soon(tick)
        return "started"

    @quart.get("/crash")
    async def crash_behind() -> str:
        quart.nursery.start_soon(crash)
        return "fine"

    async with worker(quart) as server, await connect(server.port) as client:
        await client.send_all(get("/start"))
        if b" 200" in await read_some(client):
            await ticking.wait()
        await client.send_all(get("/crash"))
        await read_some(client)
        await wait_all_tasks_blocked()
        assert stopped == []
        assert not hasattr(quart, "nursery")


@on_both("13: a connection stays half closed when Quart is told of the end while it causes it")
async def test_13_a_connection_is_closed_after_its_last_answer(worker: Worker) -> None:
    async with worker(make_app().quart) as server:
        for _ in range(30):
            with trio.move_on_after(0.5) as patience:
                await http(server.port, get("/", "Connection: close"))
            assert not patience.cancelled_caught
