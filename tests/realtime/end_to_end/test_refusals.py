"""Each limit: the code that the client is told, what it can do about it, and that it is counted."""

from __future__ import annotations

import json

import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from tests.realtime.server_process import ServerProcess

from .clients import in_thread, listening

LIMITS = {
    "server": {"max_message_bytes": 1000, "max_connections_per_address": 8},
    "delivery": {"max_topics_per_connection": 3, "max_inbound_per_second": 15},
    "log": {"level": "debug"},
}


@pytest.fixture
def server(make_server) -> ServerProcess:
    started: ServerProcess = make_server(LIMITS).start()
    return started


def refusals(server: ServerProcess) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = server.get("/api/metrics")["refusals"]
    return found


async def counted(server: ServerProcess, kind: str, code: str) -> int:
    figures = await in_thread(refusals, server)
    return figures[kind].get(code, 0)


async def test_a_body_that_is_too_big_is_413(server):
    """Contract 4."""
    answer = await in_thread(server.request, "POST", "/api/events", {"type": "x", "data": {"x": "y" * 2000}})
    assert (answer.status, answer.json()["error"]["code"]) == (413, "too_large")
    assert await counted(server, "http", "too_large") == 1


async def test_a_message_that_is_too_big_closes_with_1009(server):
    """Contract 3: larger than ``max_message_bytes``."""
    async with listening(server, "/ws/s1") as client:
        await client.send("x" * 1001)
        assert (await client.end()).code == 1009
    assert await counted(server, "closes", "1009") == 1


async def test_one_topic_too_many_is_an_error(server):
    """Contract 3: a refused ``subscribe`` is an ``error``; the socket stays."""
    async with listening(server, "/ws/s1") as client:
        for topic in ("system", "events"):
            await client.send({"type": "subscribe", "topic": topic})
        error = await client.first("error")
        assert (error["code"], error["topic"]) == ("too_many_topics", "events")
        assert "3" in error["message"]
        ticks = len(client.all("time_update"))
        await client.several(ticks + 1, "time_update")
    assert await counted(server, "errors", "too_many_topics") == 1


async def test_too_many_messages_close_with_4429(server):
    """Contract 3."""
    async with listening(server, "/ws/s1") as client:
        for _ in range(16):
            await client.send({"type": "pong"})
        end = await client.end()
        assert (end.code, end.reason) == (4429, "too many messages")
    assert await counted(server, "closes", "4429") == 1


async def test_too_many_bad_messages_close_with_4400(make_server):
    """Contract 3: the 21st within 10 s."""
    server = make_server().start()
    async with listening(server, "/ws/s1") as client:
        for _ in range(21):
            await client.send("nonsense")
        assert (await client.end()).code == 4400
    assert await counted(server, "errors", "bad_message") == 21
    assert await counted(server, "closes", "4400") == 1


async def test_one_connection_too_many_is_503(server):
    """Contract 3: refused before the handshake."""
    async with trio.open_nursery() as nursery:

        async def hold(task_status: trio.TaskStatus[None]) -> None:
            async with connect(server.ws("/ws/events"), compression=None) as client:
                await client.recv()
                task_status.started()
                with pytest.raises(ConnectionClosed):
                    await client.recv()

        for _ in range(8):
            await nursery.start(hold)
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server.ws("/ws/events"), compression=None):
                pass
        response = refused.value.response
        assert response.status_code == 503
        error = json.loads(response.body)["error"]
        assert error["code"] == "too_many_connections"
        assert "try again" in error["message"]
        nursery.cancel_scope.cancel(reason="seen enough")
    text = (await in_thread(server.request, "GET", "/metrics")).body.decode()
    assert 'tcp_connections_refused_total{limit="address"} 1.0' in text
