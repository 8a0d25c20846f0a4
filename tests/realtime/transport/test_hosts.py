"""The same application on our server, over HTTP/2 too, and without its extension: plain Hypercorn, test client."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import h2.events
import pytest
import trio
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect as ws_connect

from .harness import App, bare, make_app, running
from .rfc6455.kit import BINARY, CLOSE, TEXT, frame, heard_in
from .test_http2 import Client, prior_knowledge


class Talk(abc.ABC):
    """One open WebSocket, wherever it leads."""

    @abc.abstractmethod
    async def send(self, message: str | bytes) -> None:
        """Send *message*."""

    @abc.abstractmethod
    async def receive(self) -> str | bytes | int:
        """The next message, or the code with which the server closed."""

    @abc.abstractmethod
    async def leave(self) -> None:
        """Close with 1000."""


class OverSocket(Talk):
    def __init__(self, client: Any) -> None:
        self.client = client

    async def send(self, message: str | bytes) -> None:
        await self.client.send(message)

    async def receive(self) -> str | bytes | int:
        try:
            message: str | bytes = await self.client.recv()
        except ConnectionClosed:
            code: int = self.client.close_code
            return code
        return message

    async def leave(self) -> None:
        await self.client.aclose()


class OverHttp2(Talk):
    def __init__(self, client: Client, id: int) -> None:
        self.client = client
        self.id = id

    async def send(self, message: str | bytes) -> None:
        opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        self.client.h2.send_data(self.id, frame(opcode, payload))
        await self.client.flush()

    async def receive(self) -> str | bytes | int:
        data = await self.client.wait_for_body(lambda body: len(body) >= 2 and len(body) >= 2 + body[1])
        self.client.events.clear()
        ((opcode, payload),) = heard_in(data)
        if opcode == CLOSE:
            return int.from_bytes(payload[:2])
        return payload.decode() if opcode == TEXT else payload

    async def leave(self) -> None:
        self.client.h2.send_data(self.id, frame(CLOSE, b"\x03\xe8"))
        await self.client.flush()


class OnTestClient(Talk):
    def __init__(self, client: Any) -> None:
        self.client = client

    async def send(self, message: str | bytes) -> None:
        await self.client.send(message)

    async def receive(self) -> str | bytes | int:
        try:
            message: str | bytes = await self.client.receive()
        except WebsocketDisconnectError as end:
            code: int = end.args[0]
            return code
        return message

    async def leave(self) -> None:
        # The test client leaves once, at the end of its block; it cannot be asked to twice.
        self.client.disconnect, leave = _nothing, self.client.disconnect
        await leave()


async def _nothing() -> None:
    await trio.lowlevel.checkpoint()


class Refused(Exception):
    """The handshake was, with a status."""


def over_socket(host: Any) -> Any:
    @asynccontextmanager
    async def talking(app: App, path: str) -> AsyncIterator[Talk]:
        async with host(app.quart) as server:
            try:
                async with ws_connect(server.url(path)) as client:
                    yield OverSocket(client)
            except InvalidStatus as refusal:
                raise Refused(refusal.response.status_code) from refusal

    return talking


@asynccontextmanager
async def over_http2(app: App, path: str) -> AsyncIterator[Talk]:
    async with running(app.quart, close_timeout=0.2) as server, prior_knowledge(server.port) as client:
        await client.request("GET", "/")
        await client.wait(h2.events.StreamEnded)
        client.events.clear()
        headers = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        id = await client.request("CONNECT", path, *headers, end=False)
        status = dict((await client.wait(h2.events.ResponseReceived)).headers)[":status"]
        if status != "200":
            raise Refused(int(status))
        client.events[:] = [one for one in client.events if isinstance(one, h2.events.DataReceived)]
        yield OverHttp2(client, id)


@asynccontextmanager
async def on_test_client(app: App, path: str) -> AsyncIterator[Talk]:
    async with app.quart.test_client().websocket(path) as client:
        try:
            yield OnTestClient(client)
        except WebsocketResponseError as refusal:
            raise Refused(refusal.response.status_code) from refusal


Host = Callable[[App, str], AbstractAsyncContextManager[Talk]]
HOSTS = {
    "ours": over_socket(running),
    "ours over http/2": over_http2,
    "hypercorn": over_socket(bare),
    "test client": on_test_client,
}
on_each_host = pytest.mark.parametrize("talking", HOSTS.values(), ids=HOSTS)


@on_each_host
@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_messages_come_back(talking: Host, path: str) -> None:
    async with talking(make_app(), path) as client:
        for message in ("hello", "grüße", ""):
            await client.send(message)
            assert await client.receive() == message
        await client.leave()


@on_each_host
async def test_binary_messages_do(talking: Host) -> None:
    async with talking(make_app(), "/ws/plain") as client:
        await client.send(b"\x00\xff")
        assert await client.receive() == b"\x00\xff"
        await client.leave()


@on_each_host
@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_a_handler_ends_with_its_client(talking: Host, path: str) -> None:
    app = make_app()
    async with talking(app, path) as client:
        await client.send("open")
        await client.receive()
        await client.leave()
        with trio.fail_after(2):
            await app.ended.wait()


@on_each_host
async def test_the_handler_s_code_arrives(talking: Host) -> None:
    async with talking(make_app(), "/ws/close/4404") as client:
        assert await client.receive() == 4404


@on_each_host
@pytest.mark.parametrize("path", ["/ws/forbidden", "/ws/nowhere"])
async def test_a_refusal_has_its_status(talking: Host, path: str) -> None:
    with pytest.RaisesGroup(Refused, allow_unwrapped=True, flatten_subgroups=True) as caught:
        async with talking(make_app(), path) as client:
            await client.receive()
    refusal = caught.value.exceptions[0] if isinstance(caught.value, BaseExceptionGroup) else caught.value
    assert refusal.args == (403 if path == "/ws/forbidden" else 404,)
