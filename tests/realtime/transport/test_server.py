"""The server child: it accepts, comes back after a crash, and refuses what is too much."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect as ws_connect

from realtime.transport import Admission, ServerConfig, UnsupportedHypercorn, open_listener, serve
from supervisors import ChildSpec, SupervisorNotRunning

from .harness import HOST, connect, get, http, make_app, open_websocket, read_to_end, reset, running, until

TOO_MANY = b'{"error":{"code":"too_many_connections","message":"'


class Nobody:
    """Connections whose supervisor does not run."""

    def start_child_nowait(self, spec: ChildSpec) -> None:
        raise SupervisorNotRunning("connections")


async def test_a_crash_closes_no_connection_and_refuses_none() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as before:
        for _ in range(3):
            server.tree.crash("server", RuntimeError("on purpose"))
            # Opened at once: they wait in the kernel until somebody accepts again.
            async with await connect(server.port) as during:
                await during.send_all(get("/", "Connection: close"))
                await before.send("still here")
                assert await before.recv() == "still here"
                with trio.fail_after(1):
                    assert b"hello" in await read_to_end(during)
        async with ws_connect(server.url("/ws/plain")) as after:
            await after.send("and new ones too")
            assert await after.recv() == "and new ones too"


async def test_while_nobody_accepts_connections_wait_for_the_next_incarnation() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as open_one:
        await server.tree.stop_child("server")
        waiting = [await connect(server.port) for _ in range(20)]
        for client in waiting:
            await client.send_all(get("/", "Connection: close"))
        await open_one.send("still here")
        assert await open_one.recv() == "still here"
        await server.tree.restart_child("server")
        for client in waiting:
            async with client:
                assert b"hello" in await read_to_end(client)


async def test_its_figures_are_the_tree_s() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/plain")):
        figures = {"open": 1, "addresses": 1, "accepted": 1, "refused": 0, "refused_of_address": 0}
        assert server.tree.find("server").stats == figures


async def test_the_listening_socket_stays_the_caller_s() -> None:
    with open_listener(f"{HOST}:0") as listener:
        admission = Admission(1, 1)
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                started = await nursery.start(serve, make_app().quart, listener, ServerConfig(), Nobody(), admission)
                assert started is admission
                nursery.cancel_scope.cancel()
        assert listener.fileno() != -1


async def test_too_many_in_all() -> None:
    async with running(make_app().quart, max_connections=1) as server:
        async with ws_connect(server.url("/ws/plain")) as first:
            with pytest.raises(InvalidStatus) as caught:
                async with ws_connect(server.url("/ws/plain")):
                    pass
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["retry-after"] == "5"
            assert (caught.value.response.body or b"").startswith(TOO_MANY)
            answer = await http(server.port, get("/"))
            assert answer.startswith(b"HTTP/1.1 503")
            assert answer.endswith(TOO_MANY + b'there are already 1 connections; try again later","details":{}}}')
            await first.send("not disturbed")
            assert await first.recv() == "not disturbed"
        await until(lambda: server.admission.statistics().open == 0)
        assert b"hello" in await http(server.port, get("/", "Connection: close"))


async def test_too_many_from_one_address() -> None:
    async with running(make_app().quart, per_address=2) as server:
        async with await connect(server.port), await connect(server.port):
            await until(lambda: server.open == 2)
            answer = await http(server.port, get("/"))
        assert TOO_MANY + b"there are already 2 connections from 127.0.0.1" in answer


async def test_a_refused_client_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.transport.refusal._REFUSAL_SECONDS", 0.1)
    async with running(make_app().quart, max_connections=1) as server, await connect(server.port):
        refused = await connect(server.port)
        async with refused:
            assert (await read_to_end(refused)).startswith(b"HTTP/1.1 503")
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await refused.send_all(b"still talking")
                    await trio.sleep(0.01)


async def test_a_crowd_of_refused_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.transport.server._MAX_REFUSALS", 2)
    async with running(make_app().quart, max_connections=1) as server, await connect(server.port):
        await until(lambda: server.open == 1)
        answers = []
        async with AsyncExitStack() as crowd:
            for _ in range(5):
                try:
                    client = await crowd.enter_async_context(await connect(server.port))
                    answers.append((await client.receive_some())[:12])
                except (OSError, trio.BrokenResourceError):  # reset, perhaps before it could ask
                    answers.append(b"")
        assert answers == [b"HTTP/1.1 503"] * 2 + [b""] * 3


async def test_a_refused_client_that_leaves_first_disturbs_nobody() -> None:
    async with running(make_app().quart, max_connections=1) as server, await connect(server.port):
        await until(lambda: server.open == 1)
        for _ in range(10):
            reset(await connect(server.port))
        await until(lambda: server.admission.statistics().refused >= 1)
        assert server.tree.find("server").generation == 1


async def test_without_a_supervisor_for_connections_they_are_refused() -> None:
    with open_listener(f"{HOST}:0") as listener, capture_logs() as lines:
        admission = Admission(1, 1)
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, make_app().quart, listener, ServerConfig(), Nobody(), admission)
            for _ in range(2):
                answer = await http(listener.getsockname()[1], get("/"))
                assert answer.startswith(b"HTTP/1.1 503")
                assert b'"code":"unavailable"' in answer
            nursery.cancel_scope.cancel()
    assert admission.statistics().open == 0
    assert lines[0]["event"] == "connection refused"
    assert lines[0]["connection_id"] == "c1"


async def test_an_untested_hypercorn_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.99.0")
    with open_listener(f"{HOST}:0") as listener, pytest.raises(UnsupportedHypercorn):
        await serve(make_app().quart, listener, ServerConfig(), Nobody(), Admission(1, 1))


async def test_a_bad_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("none")
    config = ServerConfig(certfile=file, keyfile=file)
    with open_listener(f"{HOST}:0") as listener, pytest.raises(ssl.SSLError):
        await serve(make_app().quart, listener, config, Nobody(), Admission(1, 1))


async def test_what_a_scope_says_of_its_connection() -> None:
    scopes: list[Any] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with running(note) as server:
        await http(server.port, get("/a%20path?query=1", "Connection: close"))
    (scope,) = scopes
    assert scope["path"] == "/a path"
    assert scope["client"][0] == HOST
    assert scope["extensions"]["realtime.connection"] == "c1"
    assert scope["extensions"]["realtime.stopping"].is_set() is False


async def test_a_hundred_connections_leave_nothing_behind() -> None:
    app = make_app()
    async with running(app.quart) as server:
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(one_websocket, server.port)
        await until(lambda: server.open == 0)
        assert trio.lowlevel.current_statistics().tasks_living == before
        statistics = server.admission.statistics()
        assert (statistics.open, statistics.addresses, statistics.accepted) == (0, 0, 100)


async def one_websocket(port: int) -> None:
    async with await open_websocket(port, "/ws/wire"):
        pass


async def test_all_are_sent_away_when_the_tree_stops() -> None:
    app = make_app()
    async with running(app.quart) as server:
        clients = [await open_websocket(server.port, "/ws/plain") for _ in range(20)]
        stalled = await open_websocket(server.port, "/ws/pour", receive_buffer=4096)
        await wait_all_tasks_blocked(0.01)  # the socket takes no more
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 1)
            for client in clients:
                nursery.start_soon(told_to_come_back, client)
        assert trio.current_time() - begun < 1.5
        await stalled.aclose()


async def told_to_come_back(client: trio.SocketStream) -> None:
    async with client:
        data = await client.receive_some()
        assert data[2:4] == b"\x03\xf4", data


async def test_a_client_closing_meets_a_server_closing() -> None:
    async with running(make_app().quart) as server:
        for _ in range(10):
            async with ws_connect(server.url("/ws/close/1000")) as client:
                await client.aclose()
            assert client.close_code == 1000
        with pytest.raises(ConnectionClosed):
            await client.recv()
