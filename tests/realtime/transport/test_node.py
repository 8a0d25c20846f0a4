"""A client that others wrote: the package ``ws`` of Node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from quart import websocket
from quart_trio import QuartTrio

from realtime.delivery import frames
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, ping_payload
from realtime.transport import open_wire
from tests import needs
from tests.realtime.server_process import ServerProcess

from .harness import make_app, running, until
from .node_client import install, node_client

PATHS = pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    # Here and not within a test, whose deadline is for the server alone.
    needs.program("node", package="nodejs")
    needs.program("npm", package="npm")
    install()


@PATHS
async def test_messages_of_every_size_come_back(path: str) -> None:
    async with running(make_app().quart) as server, node_client(server.url(path)) as client:
        assert await client.hear("open") == {"protocol": "", "extensions": ""}
        for size in (0, 1, 125, 126, 65_535, 65_536):
            await client.tell("text", text="x" * size)
            assert await client.hear("message") == {"text": "x" * size}
        await client.tell("text", text="grüße \U0001f600")
        assert await client.hear("message") == {"text": "grüße \U0001f600"}


async def test_binary_messages_do() -> None:
    async with running(make_app().quart) as server, node_client(server.url("/ws/plain")) as client:
        await client.hear("open")
        for data in (b"", b"\x00\xff", bytes(65_536)):
            await client.tell("bytes", data=data)
            assert await client.hear("message") == {"bytes": data}


@PATHS
async def test_a_fragmented_message_with_a_ping_inside(path: str) -> None:
    async with running(make_app().quart) as server, node_client(server.url(path)) as client:
        await client.hear("open")
        first, second, third = b"gr\xc3", b"\xbc\xc3\x9f", b"e"
        await client.tell("bytes", data=first, binary=False, fin=False)
        await client.tell("ping", data=b"between")
        await client.tell("bytes", data=second, binary=False, fin=False)
        await client.tell("bytes", data=third, binary=False)
        assert await client.hear("pong") == {"bytes": b"between"}
        assert await client.hear("message") == {"text": "grüße"}


async def test_pings_go_both_ways() -> None:
    rtt: list[float | None] = []
    quart = QuartTrio("tests")

    @quart.websocket("/ws")
    async def handler() -> None:
        wire = await open_wire(websocket)
        payload = ping_payload(trio.current_time())
        await wire.send([frames.ping(payload)])
        await until(lambda: wire.rtt is not None)
        rtt.append(wire.rtt)
        with pytest.raises(PeerClosed):
            await wire.receive()
        await wire.aclose(1000)

    async with running(quart) as server, node_client(server.url("/ws")) as client:
        await client.hear("open")
        assert len((await client.hear("ping"))["bytes"]) == 8
        await client.tell("ping", data=b"mine")
        assert await client.hear("pong") == {"bytes": b"mine"}
        await client.tell("close", code=1000)
        await client.hear("close")
    assert rtt[0] is not None
    assert 0 < rtt[0] < 5


@PATHS
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (3000, "x" * 123), (4999, "grüße")])
async def test_the_client_closes(path: str, code: int, reason: str) -> None:
    app = make_app()
    async with running(app.quart) as server, node_client(server.url(path)) as client:
        await client.hear("open")
        await client.tell("close", code=code, reason=reason)
        assert await client.hear("close") == {"code": code, "reason": reason}
        await app.ended.wait()
        await until(lambda: server.open == 0)
    for end in app.seen:
        assert isinstance(end, PeerClosed)
        assert (end.code, end.reason) == (code, reason)


async def test_the_client_closes_without_a_code() -> None:
    async with running(make_app().quart) as server, node_client(server.url("/ws/plain")) as client:
        await client.hear("open")
        await client.tell("close")
        assert await client.hear("close") == {"code": 1005, "reason": ""}


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1014, 3000, 4000, 4429])
async def test_the_server_closes(code: int) -> None:
    async with running(make_app().quart) as server, node_client(server.url(f"/ws/close/{code}")) as client:
        await client.hear("open")
        assert await client.hear("close") == {"code": code, "reason": "as asked"}
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("path", ["/ws/fail", "/ws/fail-wire"])
async def test_a_handler_that_fails_is_told_with_1011(path: str) -> None:
    async with running(make_app().quart) as server, node_client(server.url(path)) as client:
        await client.hear("open")
        assert (await client.hear("close"))["code"] == 1011


@PATHS
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"data": b"x" * 1001}, 1009),
        ({"data": b"\xff", "binary": False}, 1007),
        ({"data": b"x" * 2_000_000}, 1009),
    ],
    ids=["too big", "no utf-8", "far too big"],
)
async def test_a_broken_rule_is_told_with_its_code(path: str, sent: dict[str, Any], code: int) -> None:
    app = make_app()
    async with running(app.quart, max_message_bytes=1000) as server, node_client(server.url(path)) as client:
        await client.hear("open")
        await client.tell("bytes", **sent)
        assert (await client.hear("close"))["code"] == code
        await until(lambda: server.open == 0)
    for end in app.seen:
        assert isinstance(end, PeerMisbehaved)


async def test_one_that_is_cut_off_is_gone_with_1006() -> None:
    app = make_app()
    async with running(app.quart) as server, node_client(server.url("/ws/wire")) as client:
        await client.hear("open")
        await client.tell("terminate")
        assert await client.hear("close") == {"code": 1006, "reason": ""}
        await until(lambda: server.open == 0)
    assert isinstance(app.seen[0], PeerClosed)
    assert app.seen[0].code == 1006


@pytest.mark.parametrize(("path", "status", "code"), [("/ws/forbidden", 403, "forbidden"), ("/ws/nowhere", 404, "")])
async def test_a_refusal_has_its_status_and_body(path: str, status: int, code: str) -> None:
    async with running(make_app().quart) as server, node_client(server.url(path)) as client:
        refusal = await client.hear("refused")
    assert refusal["status"] == status
    assert code in refusal["body"]


async def test_another_version_is_told_ours() -> None:
    async with running(make_app().quart) as server, node_client(server.url("/ws/plain"), protocolVersion=8) as client:
        refusal = await client.hear("refused")
    assert (refusal["status"], refusal["headers"]["sec-websocket-version"]) == (426, "13")


async def test_a_subprotocol_is_agreed_on() -> None:
    async def agreeing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "subprotocol": "second"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with running(agreeing) as server, node_client(server.url("/"), protocols=["first", "second"]) as client:
        assert (await client.hear("open"))["protocol"] == "second"


async def test_one_connection_too_many_is_503() -> None:
    async with running(make_app().quart, max_connections=1) as server, node_client(server.url("/ws/plain")) as first:
        await first.hear("open")
        async with node_client(server.url("/ws/plain")) as second:
            refusal = await second.hear("refused")
    assert refusal["status"] == 503
    assert int(refusal["headers"]["retry-after"]) > 0


@PATHS
async def test_compression_is_agreed_on_where_it_is_on(path: str) -> None:
    async with running(make_app().quart, compression=True) as server, node_client(server.url(path)) as client:
        assert "permessage-deflate" in (await client.hear("open"))["extensions"]
        text = "again and " * 5000
        await client.tell("text", text=text)
        assert await client.hear("message") == {"text": text}
        await client.tell("close", code=1000)
        assert (await client.hear("close"))["code"] == 1000


async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate = tmp_path / "pem"
    certificate.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    trusted = authority.cert_pem.bytes().decode()
    async with running(make_app().quart, certfile=certificate, keyfile=certificate) as server:
        url = f"wss://localhost:{server.port}/ws/wire"
        async with node_client(url, ca=trusted) as client:
            await client.hear("open")
            await client.tell("text", text="x" * 60_000)
            assert await client.hear("message") == {"text": "x" * 60_000}
            await client.tell("close", code=4000, reason="bye")
            assert await client.hear("close") == {"code": 4000, "reason": "bye"}


async def test_at_a_stop_it_is_told_when_to_come_back() -> None:
    async with running(make_app().quart) as server, node_client(server.url("/ws/plain")) as client:
        await client.hear("open")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            end = await client.hear("close")
        assert end["code"] == 1012
        assert end["reason"].startswith("retry-after=")


# --- the whole ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {"heartbeat": {"interval": 0.5, "pong_timeout": 5}}
    with ServerProcess(tmp_path_factory.mktemp("server"), settings) as process:
        yield process


async def test_a_session_gets_ticks_and_what_it_subscribes_to(whole: ServerProcess) -> None:
    url = whole.url.replace("http", "ws", 1)
    async with node_client(f"{url}/ws/node") as client:
        await client.hear("open")
        await client.tell("text", text='{"type":"subscribe","topic":"system"}')
        wanted = ["time_update", "time_update", "snapshot", "ping"]
        with trio.fail_after(20):
            while wanted:
                said = await client.hear_until("message")
                for type in wanted:
                    if f'"type":"{type}"' in said["text"]:
                        wanted.remove(type)
                        break
            # A Ping frame comes with each heartbeat, which Node answers by itself.
            await client.hear_until("ping")
        await client.tell("close", code=1000, reason="enough")
        assert await client.hear_until("close") == {"code": 1000, "reason": "enough"}
