"""The wire over plain ASGI: on Quart's test client and on Hypercorn's own worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from quart import websocket
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError
from quart_trio import QuartTrio
from trio.testing import assert_checkpoints
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect as ws_connect

from realtime.delivery import frames
from realtime.delivery.wire import PeerClosed, Wire, WriteStalled
from realtime.transport import AsgiWire, WebsocketConnection, open_wire

from .harness import HOST, bare, http, make_app, running, until, upgrade

Handler = Callable[[Wire], Awaitable[None]]


def app_with(handler: Handler, **settings: Any) -> QuartTrio:
    """An application whose one handler is given a wire."""
    quart = QuartTrio("tests")
    quart.asgi_websocket_class = WebsocketConnection

    @quart.websocket("/ws")
    async def handle() -> None:
        await handler(await open_wire(websocket, **settings))

    return quart


async def echo(wire: Wire) -> None:
    assert isinstance(wire, AsgiWire)
    message = await wire.receive()
    assert isinstance(message, str)
    # Frames that ASGI has no word for are left out.
    await wire.send([frames.ping(b"?"), frames.text(message.encode()), frames.pong(b"!")])
    await wire.aclose(4404, "no such task")
    await wire.aclose(1000)


async def test_on_the_test_client() -> None:
    async with app_with(echo).test_client().websocket("/ws") as client:
        await client.send("grüße")
        assert await client.receive() == "grüße"
        with pytest.raises(WebsocketDisconnectError, match="4404"):
            await client.receive()


async def test_on_hypercorn_s_own_worker() -> None:
    async with bare(app_with(echo)) as server, ws_connect(server.url("/ws")) as client:
        await client.send("grüße")
        assert await client.recv() == "grüße"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4404, "no such task")


@pytest.mark.parametrize("host", [bare, running], ids=["hypercorn", "ours"])
async def test_an_empty_message_is_empty_and_not_nothing(host: Any) -> None:
    async with host(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as client:
        for empty in (b"", ""):
            await client.send(empty)
            assert await client.recv() == empty


async def test_what_it_knows_of_itself() -> None:
    async def look(wire: Wire) -> None:
        assert isinstance(wire, AsgiWire)
        assert not wire.supports_frames
        assert wire.rtt is None
        assert wire.address == HOST
        assert not wire.stopping.is_set()
        before = wire.last_seen
        await wire.receive()
        assert wire.last_seen > before
        seen.set()
        await wire.aclose(1000)

    seen = trio.Event()
    async with bare(app_with(look)) as server, ws_connect(server.url("/ws")) as client:
        await client.send("hello")
        await seen.wait()


async def test_a_close_frame_among_the_frames_closes() -> None:
    async def handler(wire: Wire) -> None:
        await wire.send([frames.text(b"last"), frames.close(4000, "slow")])
        await wire.aclose(4000, "slow")

    async with app_with(handler).test_client().websocket("/ws") as client:
        assert await client.receive() == "last"
        with pytest.raises(WebsocketDisconnectError, match="4000"):
            await client.receive()


async def test_after_abort_everything_has_ended() -> None:
    async def handler(wire: Wire) -> None:
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(PeerClosed):
                    await wire.receive()

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            wire.abort()
        wire.abort()
        with pytest.raises(PeerClosed), assert_checkpoints():
            await wire.receive()
        with pytest.raises(trio.BrokenResourceError), assert_checkpoints():
            await wire.send([frames.text(b"late")])
        ended.set()

    ended = trio.Event()
    async with app_with(handler).test_client().websocket("/ws"):
        await ended.wait()


async def test_a_write_that_does_not_end_is_given_up() -> None:
    async def handler(wire: Wire) -> None:
        with pytest.raises(WriteStalled):
            while True:
                await wire.send([frames.text(b"x")])
        stalled.set()

    stalled = trio.Event()
    async with app_with(handler, write_timeout=0.05).test_client().websocket("/ws") as client:
        with trio.fail_after(1):
            await stalled.wait()
        for _ in range(10):
            await client.receive()


async def test_the_handler_of_a_client_that_left_is_cancelled() -> None:
    async def handler(wire: Wire) -> None:
        try:
            await wire.receive()
        finally:
            ended.set()

    ended = trio.Event()
    async with bare(app_with(handler)) as server:
        async with ws_connect(server.url("/ws")):
            pass
        with trio.fail_after(1):
            await ended.wait()


@pytest.mark.parametrize("path", ["/ws/fail", "/ws/fail-wire"])
@pytest.mark.parametrize("host", [bare, running], ids=["hypercorn", "ours"])
async def test_a_handler_that_fails_closes_with_1011_on_any_server(host: Any, path: str) -> None:
    async with host(make_app().quart) as server, ws_connect(server.url(path)) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011


async def test_a_handler_that_returns_closes_with_1000() -> None:
    quart = make_app().quart

    @quart.websocket("/ws/short")
    async def short() -> None:
        await websocket.accept()

    async with running(quart) as server, ws_connect(server.url("/ws/short")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1000


async def test_a_refusal_on_the_test_client() -> None:
    async with make_app().quart.test_client().websocket("/ws/forbidden") as client:
        with pytest.raises(WebsocketResponseError) as caught:
            await client.receive()
    assert caught.value.response.status_code == 403


async def test_a_server_that_cannot_answer_over_http_closes_instead() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws/forbidden", "query_string": b"", "scheme": "ws", "headers": []}
    await make_app().quart({**scope, "http_version": "1.1"}, receive, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_on_our_server_the_stop_is_announced_to_every_request() -> None:
    stopping: list[trio.Event] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        stopping.append(scope["extensions"]["realtime.stopping"])
        await send({"type": "websocket.close"})

    async with running(note) as server:
        await http(server.port, upgrade("/"))
        await until(lambda: len(stopping) == 1)
    assert isinstance(stopping[0], trio.Event)
