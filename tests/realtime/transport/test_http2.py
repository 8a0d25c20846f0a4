"""HTTP/2, by prior knowledge and by TLS, and WebSockets over it (RFC 8441): Hypercorn's own, on our sockets."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio
import trustme
from h2.errors import ErrorCodes
from trio.testing import wait_all_tasks_blocked

from .harness import connect, get, make_app, masked, read_all, running, until, vanish

Header = tuple[str, str]


class Client:
    """An HTTP/2 client of one connection; *events* is all it was told."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.events: list[h2.events.Event] = []
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def wait(self, kind: type[h2.events.Event]) -> Any:
        """Read until something of *kind* was told."""
        with trio.fail_after(2):
            while not (found := [event for event in self.events if isinstance(event, kind)]):
                await self.read_on(kind)
        return found[-1]

    async def wait_for_body(self, enough: Callable[[bytes], bool]) -> bytes:
        """Read until the bodies so far are *enough*."""
        with trio.fail_after(2):
            while not enough(self.body()):
                await self.read_on(h2.events.DataReceived)
        return self.body()

    async def read_on(self, kind: type[h2.events.Event]) -> None:
        """Read once; *kind* is what for."""
        data = await self.stream.receive_some()
        assert data, f"ended without {kind.__name__}: {self.events}"
        for event in self.h2.receive_data(bytes(data)):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        await self.flush()

    async def request(self, method: str, path: str, *headers: Header, end: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "localhost")]
        self.h2.send_headers(stream_id, [*pseudo, *headers], end_stream=end)
        await self.flush()
        return stream_id

    def body(self) -> bytes:
        return b"".join(event.data or b"" for event in self.events if isinstance(event, h2.events.DataReceived))


@asynccontextmanager
async def prior_knowledge(port: int, **buffers: Any) -> AsyncIterator[Client]:
    async with await connect(port, **buffers) as stream:
        yield Client(stream)


async def test_requests_and_bodies() -> None:
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        await client.request("GET", "/")
        await client.wait(h2.events.StreamEnded)
        assert client.body() == b'{"hello":"world"}\n'
        client.events.clear()
        stream_id = await client.request("POST", "/echo", end=False)
        client.h2.send_data(stream_id, b"x" * 10_000, end_stream=True)
        await client.flush()
        await client.wait(h2.events.StreamEnded)
        assert client.body() == b"x" * 10_000


async def test_upgraded_from_http1() -> None:
    async with running(make_app().quart) as server, await connect(server.port) as client:
        await client.send_all(get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: "))
        answer = await client.receive_some()
        assert answer.startswith(b"HTTP/1.1 101")


@attrs.frozen
class Certified:
    """What a server needs for TLS, and what its clients do."""

    files: dict[str, Any]
    context: ssl.SSLContext


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    (tmp_path / "pem").write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    return Certified({"certfile": tmp_path / "pem", "keyfile": tmp_path / "pem"}, context)


@asynccontextmanager
async def agreed(port: int, certified: Certified) -> AsyncIterator[Client]:
    plain = await connect(port)
    async with trio.SSLStream(plain, certified.context, server_hostname="localhost", https_compatible=True) as stream:
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == "h2"
        yield Client(stream)


async def test_agreed_on_in_tls(certified: Certified) -> None:
    async with running(make_app().quart, **certified.files) as server, agreed(server.port, certified) as client:
        await client.request("GET", "/")
        await client.wait(h2.events.StreamEnded)
        assert client.body() == b'{"hello":"world"}\n'


@pytest.mark.parametrize("window", [0, 2**16])
async def test_agreed_on_in_tls_one_too_many_is_told_so(certified: Certified, window: int) -> None:
    async with running(make_app().quart, max_connections=1, **certified.files) as server, await connect(server.port):
        await until(lambda: server.open == 1)
        async with agreed(server.port, certified) as client:
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            await client.request("GET", "/")
            headers = dict((await client.wait(h2.events.ResponseReceived)).headers)
            assert (headers[":status"], headers["retry-after"]) == ("503", "5")
            await client.wait(h2.events.StreamEnded)
            assert client.body().startswith(b'{"error":{"code":"too_many_connections",' if window else b"")
            assert (await client.wait(h2.events.ConnectionTerminated)).error_code == ErrorCodes.NO_ERROR
            assert await read_all(client.stream) == b""


@pytest.mark.parametrize(
    "says", [b"", b"\x00\x00\x08\x06" + bytes(13), b"nonsense" * 10], ids=["nothing", "pings", "nonsense"]
)
async def test_one_too_many_that_asks_nothing_is_not_waited_for(
    certified: Certified, says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.transport.refusal._REFUSAL_SECONDS", 0.3)
    async with running(make_app().quart, max_connections=1, **certified.files) as server, await connect(server.port):
        await until(lambda: server.open == 1)
        async with agreed(server.port, certified) as client:
            await client.flush()
            with trio.fail_after(2), contextlib.suppress(trio.BrokenResourceError):
                await client.stream.send_all(says * 10_000)
                await read_all(client.stream)


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_a_websocket_over_it(path: str) -> None:
    app = make_app()
    async with running(app.quart) as server, prior_knowledge(server.port) as client:
        await client.request("GET", "/")
        await client.wait(h2.events.StreamEnded)  # by then its settings are known
        client.events.clear()
        stream_id = await open_over(client, path)
        client.h2.send_data(stream_id, masked(1, b"hello"))
        await client.flush()
        await client.wait(h2.events.DataReceived)
        assert client.body() == b"\x81\x05hello"
        client.h2.send_data(stream_id, masked(8, b"\x03\xe8"))
        await client.flush()
        with trio.fail_after(1):
            await app.ended.wait()


async def open_over(client: Client, path: str) -> int:
    """A WebSocket over *client* that offers compression, which is not agreed on."""
    offers = [("sec-websocket-version", "13"), ("sec-websocket-extensions", "permessage-deflate")]
    stream_id = await client.request("CONNECT", path, (":protocol", "websocket"), *offers, end=False)
    response = await client.wait(h2.events.ResponseReceived)
    headers = dict(response.headers)
    assert headers[":status"] == "200"
    assert "sec-websocket-extensions" not in headers
    return stream_id


async def test_a_failure_ends_its_own_connection_and_is_logged_with_its_id() -> None:
    """A path that Hypercorn cannot decode ends the whole of its own worker."""
    async with running(make_app().quart, fails=True) as server, prior_knowledge(server.port) as bystander:
        await bystander.flush()
        async with prior_knowledge(server.port) as client:
            await client.request("GET", "/\u00fc")
            await read_all(client.stream)
        await until(lambda: server.open == 1)
        await bystander.request("GET", "/")
        await bystander.wait(h2.events.StreamEnded)
        assert server.tree.find("server").generation == 1
    assert [(line["event"], line["connection_id"]) for line in server.log] == [("connection failed", "c2")]
    assert "UnicodeDecodeError" in repr(server.log[0]["exc_info"])


async def test_a_client_that_does_not_read_is_reset() -> None:
    async with running(make_app().quart, write_timeout=0.1) as server:
        slow = prior_knowledge(server.port, receive_buffer=4096)
        async with slow as client:
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
            client.h2.increment_flow_control_window(2**30)
            await client.request("GET", "/endless")
            await until(lambda: server.open == 1)
            await until(lambda: server.open == 0, 2)


async def test_a_client_that_allows_nothing_does_not_hold_up_a_stop() -> None:
    async with running(make_app().quart, write_timeout=0.2) as server, prior_knowledge(server.port) as client:
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.request("GET", "/")
        await client.wait(h2.events.ResponseReceived)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 9)
            assert (await client.wait(h2.events.StreamReset)).error_code == ErrorCodes.ENHANCE_YOUR_CALM
            await client.wait(h2.events.ConnectionTerminated)
            await client.stream.aclose()


async def test_a_cancelled_request_takes_nothing_from_the_others() -> None:
    """Its headers are compressed with what all share: lost on the way, nobody after it is understood."""
    async with running(make_app().quart) as server, prior_knowledge(server.port, receive_buffer=4096) as client:
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
        client.h2.increment_flow_control_window(2**30)
        flood = await client.request("GET", "/endless")
        await wait_all_tasks_blocked(0.01)  # the socket takes no more
        cancelled = [await client.request("GET", "/") for _ in range(5)]
        await wait_all_tasks_blocked(0.01)  # their answers wait behind it
        for stream_id in (flood, *cancelled):
            client.h2.reset_stream(stream_id)
        await client.flush()
        last = await client.request("GET", "/nowhere")
        while (ended := await client.wait(h2.events.StreamEnded)).stream_id != last:
            client.events.clear()
        assert ended.stream_id == last


async def test_an_application_that_only_sends_does_not_spin_when_its_stream_is_reset() -> None:
    ended = trio.Event()

    async def pouring(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        finally:
            ended.set()

    async with running(pouring, disconnect_grace=0.2) as server, prior_knowledge(server.port) as client:
        id = await client.request("GET", "/")
        await client.wait(h2.events.DataReceived)
        client.h2.reset_stream(id)
        await client.flush()
        client.h2.ping(b"12345678")
        await client.flush()
        await client.wait(h2.events.PingAckReceived)
        assert not ended.is_set()  # nothing but the end of the connection ends one that does not listen
        await client.stream.aclose()
        with trio.fail_after(2):
            await ended.wait()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_vanishes_ends_its_requests(how: str) -> None:
    app = make_app()
    async with running(app.quart) as server:
        stream = await connect(server.port)
        await Client(stream).request("GET", "/wait")
        await app.opened.wait()
        await vanish(stream, how)
        await until(lambda: server.open == 0)


async def test_an_idle_one_is_closed_after_a_while_and_pings_do_not_prolong_it() -> None:
    async with running(make_app().quart, keep_alive_timeout=0.15) as server, prior_knowledge(server.port) as client:
        await client.flush()
        with trio.fail_after(1), pytest.raises((trio.BrokenResourceError, AssertionError)):
            while True:
                client.h2.ping(b"12345678")
                await client.flush()
                client.events.clear()
                await client.wait(h2.events.PingAckReceived)
                await trio.sleep(0.01)


async def test_one_whose_client_reset_its_last_request_is_idle() -> None:
    app = make_app()
    async with running(app.quart, keep_alive_timeout=0.1) as server, prior_knowledge(server.port) as client:
        id = await client.request("GET", "/wait")
        await app.opened.wait()
        client.h2.reset_stream(id)
        await client.flush()
        await until(lambda: server.open == 0)


async def test_asked_to_stop_it_says_goodbye() -> None:
    async with running(make_app().quart) as server, prior_knowledge(server.port) as client:
        await client.request("GET", "/")
        await client.wait(h2.events.StreamEnded)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 2)
            await client.wait(h2.events.ConnectionTerminated)
            await client.stream.aclose()


async def test_asked_to_stop_it_finishes_what_runs() -> None:
    app = make_app()
    async with running(app.quart) as server, prior_knowledge(server.port) as client:
        await client.request("GET", "/wait")
        await app.opened.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 2)
            await until(lambda: server.tree.find("server").state == "stopped")
            app.release.set()
            await client.wait(h2.events.StreamEnded)
            assert client.body() == b'{"waited":"yes"}\n'
            await client.wait(h2.events.ConnectionTerminated)
            await client.stream.aclose()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x",  # DATA of no stream
        b"nonsense" * 50_000,  # a frame of 7 MiB, by its first three bytes
    ],
    ids=["frame", "length"],
)
async def test_nonsense_ends_the_connection(nonsense: bytes) -> None:
    async with running(make_app().quart, close_timeout=0.1) as server, await connect(server.port) as client:
        await client.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        try:
            await client.send_all(nonsense)
        except trio.BrokenResourceError:
            pass  # it did not even listen to the end
        with trio.fail_after(1):
            await read_all(client)
        await until(lambda: server.open == 0)
