"""Everything again over TLS, where bytes go through another layer."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect as ws_connect

from .harness import connect, get, make_app, read_all, running, until, upgrade


@attrs.frozen
class Certificate:
    """What a server needs, and what its clients trust."""

    certfile: Path
    keyfile: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return Certificate(folder / "cert.pem", folder / "key.pem", context)


def files(certificate: Certificate) -> dict[str, Any]:
    return {"certfile": certificate.certfile, "keyfile": certificate.keyfile}


async def connect_tls(
    port: int, certificate: Certificate, *, receive_buffer: int | None = None
) -> trio.SSLStream[trio.SocketStream]:
    stream = trio.SSLStream(
        await connect(port, receive_buffer=receive_buffer),
        certificate.trust,
        server_hostname="localhost",
        https_compatible=True,
    )
    await stream.do_handshake()
    return stream


async def test_http_and_its_end(certificate: Certificate) -> None:
    async with running(make_app().quart, **files(certificate)) as server:
        async with await connect_tls(server.port, certificate) as client:
            await client.send_all(get("/", "Connection: close"))
            answer = await read_all(client)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b'{"hello":"world"}\n')
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_websockets(certificate: Certificate, path: str) -> None:
    app = make_app()
    async with running(app.quart, **files(certificate)) as server:
        url = f"wss://localhost:{server.port}{path}"
        async with ws_connect(url, ssl=certificate.trust) as client:
            for message in ("hello", "x" * 60_000):
                await client.send(message)
                assert await client.recv() == message
        with trio.fail_after(1):
            await app.ended.wait()


async def test_a_stalled_client_is_reset_and_a_stop_is_not_held_up(certificate: Certificate) -> None:
    app = make_app()
    async with running(app.quart, write_timeout=0.1, **files(certificate)) as server:
        client = await connect_tls(server.port, certificate, receive_buffer=4096)
        async with client:
            await client.send_all(upgrade("/ws/flood"))
            with trio.fail_after(2):
                await app.ended.wait()
            await until(lambda: server.open == 0)


async def test_the_stop_is_told(certificate: Certificate) -> None:
    async with running(make_app().quart, **files(certificate)) as server:
        url = f"wss://localhost:{server.port}/ws/plain"
        async with ws_connect(url, ssl=certificate.trust) as client, trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 2)
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1012


async def test_a_slow_handshake_is_not_waited_for(certificate: Certificate) -> None:
    async with running(make_app().quart, handshake_timeout=0.1, **files(certificate)) as server:
        client = await connect(server.port)
        async with client:
            with trio.fail_after(1):
                assert await read_all(client) == b""


async def test_a_handshake_does_not_hold_up_the_stop(certificate: Certificate) -> None:
    settings = files(certificate) | {"last_request": 0.3}
    async with running(make_app().quart, **settings) as server, await connect(server.port):
        await until(lambda: server.open == 1)
        begun = trio.current_time()
        await server.stop(5)
        assert trio.current_time() - begun < 0.8


async def test_a_client_that_is_just_connecting_when_it_stops_is_answered(certificate: Certificate) -> None:
    async with running(make_app().quart, **files(certificate)) as server, await connect(server.port) as plain:
        await until(lambda: server.open == 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            await until(lambda: server.tree.find("server").state == "stopped")
            client = trio.SSLStream(plain, certificate.trust, server_hostname="localhost", https_compatible=True)
            await client.send_all(get("/"))
            answer = await read_all(client)
            await client.aclose()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


async def test_plain_http_is_no_handshake(certificate: Certificate) -> None:
    async with running(make_app().quart, **files(certificate)) as server:
        async with await connect(server.port) as client:
            await client.send_all(get("/"))
            assert b"HTTP" not in await read_all(client)
        await until(lambda: server.open == 0)


async def test_a_refusal_is_told_over_tls_too(certificate: Certificate) -> None:
    async with running(make_app().quart, max_connections=1, **files(certificate)) as server:
        first, refused = [await connect_tls(server.port, certificate) for _ in range(2)]
        async with first, refused:
            assert (await read_all(refused)).startswith(b"HTTP/1.1 503")


async def test_a_message_that_is_too_big_is_told_before_the_end(certificate: Certificate) -> None:
    async with running(make_app().quart, max_message_bytes=1000, **files(certificate)) as server:
        url = f"wss://localhost:{server.port}/ws/wire"
        async with ws_connect(url, ssl=certificate.trust) as client:
            await client.send("x" * 500_000)
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1009
