"""Sessions as a foreign client sees them: what is emitted, who is there, what it may publish and call."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import trio

from tests.realtime.server_process import REALTIME, ServerProcess, environment

from .clients import Listener, ask, in_thread, listening, wait_until

MODULE = '''
"""Says something from a thread of its own, and answers calls."""

import threading

import trio

from realtime.actors.emitter import EmitRefused
from realtime.actors.methods import CallRefused, Caller, method
from supervisors import ChildSpec


@method("add")
async def add(caller: Caller, a: int, b: int = 1):
    return {"sum": a + b, "session": caller.session}


@method("slow", timeout=0.2)
async def slow(caller: Caller):
    await trio.sleep_forever()


@method("broken")
async def broken(caller: Caller):
    raise RuntimeError("swordfish")


@method("picky")
async def picky(caller: Caller):
    raise CallRefused("sold_out", "there is nothing left")


def children(services, *, every: float) -> list[ChildSpec]:
    ended = threading.Event()

    def talk():
        number = 0
        while not ended.wait(every):
            number += 1
            services.emit("from_thread", number, to="session/threads")

    async def run(*, task_status):
        thread = threading.Thread(target=talk)
        thread.start()
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await trio.to_thread.run_sync(thread.join)

    return [ChildSpec("talk", run)]
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "talk.py").write_text(MODULE, encoding="utf-8")
    settings = {
        'topics."room/*"': {"publish": "anyone", "presence": True},
        "topics.stage": {"publish": "actors"},
        "actors.talk": {"use": "talk", "every": 0.02},
        "delivery": {"max_inbound_per_second": 500},
    }
    with ServerProcess(folder, settings, debug=True) as process:
        yield process


async def emit(server: ServerProcess, event: str, data: object, **body: object) -> dict[str, Any]:
    answer = await ask(server, "POST", "/api/emit", {"event": event, "data": data, **body})
    assert answer.status == 202, answer.json()
    found: dict[str, Any] = answer.json()
    return found


async def join(client: Listener, topic: str) -> None:
    await client.ask({"type": "subscribe", "topic": topic}, "subscribed", topic=topic)


def present(client: Listener, topic: str) -> set[str]:
    """Who is in *topic*, for a client that does as it is told."""
    there: set[str] = set()
    for message in client.received:
        if message["type"] == "subscribed" and message["topic"] == topic:
            there = set()
        elif message["type"] == "presence" and message["topic"] == topic:
            there |= {each["session"] for each in message["data"]["joined"]}
            there -= {each["session"] for each in message["data"]["left"]}
    return there


async def test_all_connections_of_a_session_get_what_is_emitted_to_it(server):
    """Contract 3 and 4: ``POST /api/emit`` and ``/ws/<session_id>``."""
    async with (
        listening(server, "/ws/e1") as one,
        listening(server, "/ws/e1") as two,
        listening(server, "/ws/e2") as three,
    ):
        assert await emit(server, "paid", {"invoice": 17}, to={"session": "e1"}) == {"sessions": 1, "connections": 2}
        first, second = await one.first("paid"), await two.first("paid")
        assert first == second
        assert (first["data"], set(first)) == ({"invoice": 17}, {"type", "data", "timestamp"})
        reached = await emit(server, "news", "all")
        assert reached == {"sessions": 2, "connections": 3}
        await three.first("news")
        assert not three.all("paid")


async def test_a_hundred_sessions_are_reached_in_order(server):
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(listening(server, f"/ws/many{n}")) for n in range(100)]
        for number, client in enumerate(clients):
            await client.first("subscribed", topic=f"session/many{number}")
        for number in range(10):
            assert await emit(server, "count", number) == {"sessions": 100, "connections": 100}
        for client in clients:
            assert [each["data"] for each in await client.several(10, "count")] == list(range(10))


async def test_clients_acknowledge(server):
    """Contract 3: ``id`` where an acknowledgement is asked, and ``{"type":"ack","id"}``."""
    async with (
        listening(server, "/ws/a1") as good,
        listening(server, "/ws/a1") as silent,
        trio.open_nursery() as nursery,
    ):
        answers: list[dict[str, Any]] = []
        answered = trio.Event()

        async def ask_for(**options: object) -> None:
            answers.append(await emit(server, "sign", None, to={"session": "a1"}, **options))
            answered.set()

        nursery.start_soon(partial(ask_for, ack=True, within=30))
        message = await good.first("sign")
        await silent.first("sign")
        await good.send({"type": "ack", "id": message["id"]})
        # The other one leaves, and is not waited for any longer.
        await silent.socket.aclose()
        with trio.fail_after(10):
            await answered.wait()
        assert answers == [{"sessions": 1, "connections": 2, "acknowledged": 1}]


async def test_a_thread_of_a_plug_in_emits(server):
    async with listening(server, "/ws/threads") as client:
        said = [each["data"] for each in await client.several(20, "from_thread")]
    assert said == list(range(said[0], said[0] + 20))


async def test_presence_is_told_and_stays_the_truth_whatever_crashes(server):
    """Contract 3 and 4: ``presence`` and ``GET /api/presence/<topic>``."""
    topic = "room/crashing"
    async with listening(server, "/ws/p1") as one:
        await join(one, topic)
        async with listening(server, "/ws/p2") as two, listening(server, "/ws/p2") as twice:
            await join(two, topic)
            await join(twice, topic)
            for path in ("broadcasters/presence", "hub", "broadcasters/emitter"):
                await in_thread(server.crash, path)
            async with listening(server, "/ws/p3") as three:
                await join(three, topic)
                for client in (one, two, three):
                    await client.until(lambda client=client: present(client, topic) == {"p1", "p2", "p3"})
                asked = (await ask(server, "GET", f"/api/presence/{topic}")).json()
                assert [(each["session"], each["connections"]) for each in asked["members"]] == [
                    ("p1", 1),
                    ("p2", 2),
                    ("p3", 1),
                ]
                await in_thread(server.crash, "broadcasters/presence")
            await one.until(lambda: present(one, topic) == {"p1", "p2"})
        await one.until(lambda: present(one, topic) == {"p1"})
        await wait_until(lambda: server.get("/api/supervisors/broadcasters/presence")["restarts"] == 2)


async def test_clients_publish_where_they_may(server):
    """Contract 3: ``publish``, its ``result``, and ``error`` where it is refused."""
    async with listening(server, "/ws/w1") as one, listening(server, "/ws/w2") as two:
        await join(one, "room/talk")
        await join(two, "room/talk")
        result = await one.ask({"type": "publish", "topic": "room/talk", "data": {"text": "hi"}, "id": "p1"}, "result")
        update = await two.first("room_update")
        assert (update["data"], update["offset"]) == ({"text": "hi"}, result["data"]["offset"])
        for topic in ("stage", "clock", "events", "session/w2"):
            message = {"type": "publish", "topic": topic, "data": 1, "id": topic}
            assert (await one.ask(message, "error", id=topic))["code"] == "not_allowed"
        assert one.closed is None


async def test_clients_call_methods(server):
    """Contract 3: ``call``, answered by ``result`` or ``error`` with its id."""
    async with listening(server, "/ws/c1") as client:
        for number, (name, params) in enumerate(
            (("slow", {}), ("add", {"a": 2}), ("add", {}), ("broken", {}), ("picky", {}), ("no", {}))
        ):
            await client.send({"type": "call", "id": str(number), "method": name, "params": params})
        codes = {str(number): (await client.first("error", id=str(number)))["code"] for number in (0, 2, 3, 4, 5)}
        assert codes == {
            "0": "call_timeout",
            "2": "bad_params",
            "3": "call_failed",
            "4": "sold_out",
            "5": "unknown_method",
        }
        assert (await client.first("result", id="1"))["data"] == {"sum": 3, "session": "c1"}
        assert "swordfish" not in str(client.received)


async def test_calls_that_never_end_neither_block_nor_outlive_their_client(server):
    async with listening(server, "/ws/c2") as client:
        for number in range(9):
            await client.send({"type": "call", "id": str(number), "method": "slow"})
        assert (await client.first("error", id="8"))["code"] == "too_many_calls"
        await client.ask({"type": "ping"}, "pong")
    gone = partial(server.get, "/api/connections")
    await wait_until(lambda: all(each["session"] != "c2" for each in gone()["connections"] if "session" in each))


# --- from the command line -----------------------------------------------------------------------------------------


def command(server: ServerProcess, *args: str) -> subprocess.CompletedProcess[str]:
    """The command line's ``realtime``, for this server."""
    return subprocess.run(
        [REALTIME, *args], env=environment({"NO_PROXY": "*"}), capture_output=True, text=True, timeout=60, check=False
    )


async def test_the_command_line_emits(server):
    async with listening(server, "/ws/line") as client:
        run = partial(
            command, server, "emit", "note", "--data", '{"n": 1}', "--to", "session:line", "--url", server.url
        )
        found = await in_thread(run)
        assert (found.stdout, found.returncode) == ("1 sessions, 1 connections\n", 0), found.stderr
        assert (await client.first("note"))["data"] == {"n": 1}
    refused = await in_thread(partial(command, server, "emit", "event", "--url", server.url))
    assert "is reserved for the protocol's own messages" in refused.stderr
    assert refused.returncode == 1


async def test_the_command_line_draws_the_tree(server):
    def healthy() -> bool:
        return command(server, "tree", server.url).returncode == 0

    await wait_until(healthy)
    found = await in_thread(partial(command, server, "tree", server.url))
    lines = found.stdout.splitlines()
    assert lines[0].startswith("root (running")
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == [
        *("store", "backplane", "hub", "connections", "server", "jobs", "heartbeat"),
        "broadcasters",
    ]
    below = await in_thread(partial(command, server, "tree", server.url, "--path", "broadcasters/talk"))
    assert below.stdout.startswith("talk (running")
