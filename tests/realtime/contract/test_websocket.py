"""Each row of the section on WebSockets and server-sent events."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode
from websockets.trio.client import connect

from realtime.messages import RESERVED_TYPES
from tests.realtime.end_to_end.clients import (
    Closed,
    Listener,
    Message,
    RawClient,
    ask,
    in_thread,
    listening,
    raw_client,
)
from tests.realtime.event_source import EventSource
from tests.realtime.server_process import PATIENCE, ServerProcess
from tests.realtime.transport.rfc6455.kit import TEXT, frame

from .conftest import ADMIN, BOB, SHOP
from .rows import WEBSOCKET, Checks, has

checks = Checks(WEBSOCKET)

PUBLISHED = ("type", "topic", "offset", "data")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@attrs.frozen
class Servers:
    """What a check may use.

    Attributes:
      main: has one of everything.
      brisk: pings often, and takes few messages and connections.
      folder: for a server of its own, which may be stopped.
    """

    main: ServerProcess
    brisk: ServerProcess
    folder: Path

    def own(self) -> ServerProcess:
        """One that the check may end."""
        (self.folder / "shop.py").write_text(SHOP, encoding="utf-8")
        return ServerProcess(self.folder, {"actors.shop": {"use": "shop"}})


async def event(server: ServerProcess) -> Message:
    stored: Message = await in_thread(server.post_event)
    return stored


async def start_task(server: ServerProcess, job: str) -> str:
    answer = await ask(server, "POST", "/api/tasks", {"job": job})
    assert answer.status == 201, answer
    found: str = answer.json()["task_id"]
    return found


async def subscribe(client: Listener, topic: str) -> Message:
    return await client.ask({"type": "subscribe", "topic": topic}, "subscribed", topic=topic)


async def end_of(server: ServerProcess, path: str, **options: Any) -> Closed:
    """How a connection is closed that is accepted, but not served for long."""
    with trio.fail_after(PATIENCE):
        async with connect(server.ws(path), compression=None, proxy=None, **options) as client:
            with pytest.raises(ConnectionClosed) as end:
                while True:
                    await client.recv()
    assert end.value.rcvd is not None
    return Closed(end.value.rcvd.code, end.value.rcvd.reason)


async def refused(server: ServerProcess, path: str, status: int, **options: Any) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(server.ws(path), compression=None, proxy=None, **options):
            pass
    response = refusal.value.response
    assert response.status_code == status
    has(json.loads(response.body)["error"], ["code", "message", "details"])


# --- paths ---------------------------------------------------------------------------------------------------------


@checks("/ws/events")
async def events(servers: Servers) -> None:
    async with listening(servers.main, "/ws/events") as client:
        stored = await event(servers.main)
        told = await client.first("event")
        assert (told["topic"], told["data"]) == ("events", stored)


@checks("/ws/tasks/<task_id>")
async def task(servers: Servers) -> None:
    task_id = await start_task(servers.main, "done")
    async with listening(servers.main, f"/ws/tasks/{task_id}") as client:
        assert (await client.end()).code == 1000
        assert {message["topic"] for message in client.received} == {f"tasks/{task_id}"}
        types = [message["type"] for message in client.received]
        assert (types[0], types[-1]) == ("subscribed", "completed")
        assert set(types[1:-1]) <= {"progress"}


@checks("/ws/supervisors")
async def supervisors(servers: Servers) -> None:
    async with listening(servers.main, "/ws/supervisors") as client:
        await client.first("snapshot")
        assert [message["type"] for message in client.received[:2]] == ["subscribed", "snapshot"]
        assert client.received[1]["data"]["path"] == ""


@checks("/ws/<session_id>")
async def session(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        for topic in ("clock", "session/ann"):
            await client.first("subscribed", topic=topic)
        await client.first("time_update")
        await subscribe(client, "events")
        await event(servers.main)
        await client.first("event")


@checks("session ids")
async def session_ids(servers: Servers) -> None:
    async with listening(servers.main, f"/ws/{'aZ0_.-' * 10}1234"):  # 64 characters
        pass
    for wrong in ("tasks", "a" * 65, "a:b", "%20"):
        await refused(servers.main, f"/ws/{wrong}", 404)


@checks("shared session")
async def shared(servers: Servers) -> None:
    async with listening(servers.main, "/ws/two") as one, listening(servers.main, "/ws/two") as other:
        answer = await ask(servers.main, "POST", "/api/emit", {"event": "hi", "data": 1, "to": {"session": "two"}})
        assert answer.json() == {"sessions": 1, "connections": 2}
        assert await one.first("hi") == await other.first("hi")


@checks("fixed streams")
async def fixed_streams(servers: Servers) -> None:
    task_id = await start_task(servers.main, "wait")
    for path in ("/ws/events", "/ws/supervisors", f"/ws/tasks/{task_id}"):
        async with listening(servers.main, path) as client:
            assert (await client.ask({"type": "subscribe", "topic": "clock"}, "error"))["code"] == "not_supported"
            await client.send({"type": "pong"})
            await client.ask({"type": "ping"}, "pong")


@checks("?epoch=&offset=")
async def position(servers: Servers) -> None:
    async with listening(servers.main, "/ws/events") as client:
        seen = client.received[0]
    stored = await event(servers.main)
    query = f"?epoch={seen['epoch']}&offset={seen['offset']}"
    async with listening(servers.main, f"/ws/events{query}") as client:
        assert client.received[0]["recovered"] is True
        assert (await client.first("event"))["data"] == stored


# --- from the server -----------------------------------------------------------------------------------------------


@checks("subscribed")
async def subscribed(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        told = await subscribe(client, "events")
        has(told, ["type", "topic", "epoch", "offset", "recovered"])
        assert (told["topic"], told["recovered"]) == ("events", False)


@checks("unsubscribed")
async def unsubscribed(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        told = await client.ask({"type": "unsubscribe", "topic": "clock"}, "unsubscribed")
        has(told, ["type", "topic", "code", "message"])
        assert (told["topic"], told["code"]) == ("clock", "requested")


@checks("event")
async def event_message(servers: Servers) -> None:
    async with listening(servers.main, "/ws/events") as client:
        await event(servers.main)
        told = await client.first("event")
        has(told, PUBLISHED)
        has(told["data"], ["event_id", "type", "timestamp", "severity", "source", "tags", "data"])
        assert told["offset"] == client.received[0]["offset"] + 1


@checks("time_update")
async def time_update(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        told = await client.first("time_update")
        has(told, PUBLISHED)
        assert (told["topic"], list(told["data"])) == ("clock", ["date"])
        assert TIME.fullmatch(told["data"]["date"])


@checks("snapshot")
async def snapshot(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        for topic in ("system", "market"):
            await subscribe(client, topic)
            has(await client.first("snapshot", topic=topic), PUBLISHED)


@checks("queue_update")
async def queue_update(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        await subscribe(client, "queue")
        with closing(sqlite3.connect(servers.main.folder / "queue.db", isolation_level=None)) as database:
            database.execute("INSERT OR REPLACE INTO jobs VALUES ('q2', 'running')")
        await in_thread(servers.main.post_event, "queue_changed")
        told = await client.first("queue_update", data={"queue_id": "q2", "status": "running"})
        has(told, PUBLISHED)
        assert told["topic"] == "queue"


@checks("progress")
async def progress(servers: Servers) -> None:
    task_id = await start_task(servers.main, "wait")
    async with listening(servers.main, f"/ws/tasks/{task_id}") as client:
        await client.until(lambda: any(m["data"]["stage"] == "waiting" for m in client.all("progress")))
        told = client.all("progress")[-1]
        has(told, PUBLISHED)
        assert told["data"] == {
            "task_id": task_id,
            "stage": "waiting",
            "percent": 42.5,
            "message": "not long",
            "extra": {"place": "shop"},
        }


async def ended(servers: Servers, job: str, type: str) -> None:
    task_id = await start_task(servers.main, job)
    async with listening(servers.main, f"/ws/tasks/{task_id}") as client:
        if type == "cancelled":
            await ask(servers.main, "DELETE", f"/api/tasks/{task_id}")
        told = await client.first(type)
        has(told, PUBLISHED)
        assert (told["topic"], told["data"]["task_id"]) == (f"tasks/{task_id}", task_id)
        if type == "failed":
            has(told["data"]["error"], ["code", "message"])
        assert (await client.end()).code == 1000


for each_job, each_type in (("fail", "failed"), ("done", "completed"), ("wait", "cancelled")):
    checks(each_type)(partial(ended, job=each_job, type=each_type))


@checks("interrupted")
async def interrupted(servers: Servers) -> None:
    with servers.own() as server:
        task_id = await start_task(server, "wait")
        await in_thread(server.kill)
        await in_thread(server.start)
        async with listening(server, f"/ws/tasks/{task_id}") as client:
            has(await client.first("interrupted"), PUBLISHED)
            assert (await client.end()).code == 1000


@checks("supervisor_event")
async def supervisor_event(servers: Servers) -> None:
    async with listening(servers.main, "/ws/supervisors") as client:
        path = "/api/supervisors/broadcasters/clock/restart"
        answer = await in_thread(servers.main.request, "POST", path, headers=ADMIN)
        assert answer.status == 202
        told = await client.until(
            lambda: [
                message
                for message in client.all("supervisor_event")
                if (message["data"]["event"], message["data"]["path"]) == ("restarted", "broadcasters/clock")
            ]
        )
        has(told[0], PUBLISHED)
        has(told[0]["data"], ["event", "path", "node"])
        assert told[0]["data"]["node"]["path"] == "broadcasters/clock"


@checks("presence")
async def presence(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        await subscribe(client, "room/1")
        async with listening(servers.main, "/ws/eve") as other:
            await subscribe(other, "room/1")
            await client.until(lambda: any(changed(client, "joined", "eve")))
        await client.until(lambda: any(changed(client, "left", "eve")))
        for message in client.all("presence"):
            has(message, ["type", "topic", "data"], ["offset"])
            has(message["data"], ["joined", "left"])


def changed(client: Listener, how: str, session: str) -> list[bool]:
    return [each["session"] == session for message in client.all("presence") for each in message["data"][how]]


@checks("ping")
async def ping(servers: Servers) -> None:
    async with listening(servers.brisk, "/ws/ann") as client:
        told = await client.first("ping")
        has(told, ["type", "timestamp"])
        assert TIME.fullmatch(told["timestamp"])


@checks("heartbeat")
async def heartbeat(servers: Servers) -> None:
    """In place of ``ping`` on the stream of a task."""
    task_id = await start_task(servers.brisk, "wait")
    async with listening(servers.brisk, f"/ws/tasks/{task_id}") as client:
        has(await client.first("heartbeat"), ["type", "timestamp"])
        assert not client.all("ping")


@checks("pong")
async def pong(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        assert await client.ask({"type": "ping", "timestamp": "mine"}, "pong") == {"type": "pong", "timestamp": "mine"}
        assert TIME.fullmatch((await client.ask({"type": "ping"}, "pong"))["timestamp"])


BURST = 200
"""Snapshots of 50 kB: more than the buffers of a socket and an outbox take together."""


async def burst(servers: Servers, client: RawClient, topic: str) -> int:
    """Publish many snapshots at once to *client*, which does not read; returns the offset before the first."""
    client.protocol.send_text(json.dumps({"type": "subscribe", "topic": topic}).encode())
    await client.write()
    before: int | None = None
    while before is None:
        told = [message for message in await client.read() if message.get("topic") == topic]
        before = told[0]["offset"] if told else None
    async with listening(servers.main, "/ws/burster") as other:
        params = {"topic": topic, "count": BURST}
        await other.ask({"type": "call", "id": "b", "method": "burst", "params": params}, "result")
    return before


@checks("gap")
async def gap(servers: Servers) -> None:
    async with raw_client(servers.main, "/ws/ann", receive_buffer=4096) as client:
        before = await burst(servers, client, "lossy")
        came: list[Message] = []
        with trio.fail_after(PATIENCE):
            while not came or came[-1]["offset"] < before + BURST:
                came += [message for message in await client.read() if message.get("topic") == "lossy"]
        gaps = [message for message in came if message["type"] == "gap"]
        assert gaps
        for message in gaps:
            has(message, ["type", "topic", "offset", "missed"])
        assert len(came) - len(gaps) + sum(message["missed"] for message in gaps) == BURST


@checks("result")
async def result(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        told = await client.ask({"type": "call", "id": "c1", "method": "add", "params": {"a": 1, "b": 2}}, "result")
        assert told == {"type": "result", "id": "c1", "data": {"sum": 3}}


@checks("error")
async def error(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        told = await client.ask({"type": "subscribe", "topic": "nothing"}, "error")
        has(told, ["type", "code", "message", "topic"])
        assert (told["code"], told["topic"]) == ("unknown_topic", "nothing")
        told = await client.ask({"type": "call", "id": "c1", "method": "nothing"}, "error")
        has(told, ["type", "code", "message", "id"])
        assert told["id"] == "c1"


# --- from the client -----------------------------------------------------------------------------------------------


async def understood(servers: Servers, message: Message, answer: str, needed: tuple[str, ...]) -> None:
    """*message* is answered by *answer*; without one of *needed*, or with a field more, it is malformed."""
    async with listening(servers.main, "/ws/ann") as client:
        await subscribe(client, "room/1")
        told = await client.ask(message, answer)
        assert told.get("code") != "bad_message", told
        for field in needed:
            less = {key: value for key, value in message.items() if key != field}
            assert (await client.ask(less, "error"))["code"] == "bad_message"
        assert (await client.ask({**message, "colour": 1}, "error"))["code"] == "bad_message"


for each_message, each_answer, each_needed in (
    ({"type": "ping", "timestamp": "t"}, "pong", ()),
    ({"type": "subscribe", "topic": "events", "epoch": "e", "offset": 1}, "subscribed", ("topic",)),
    ({"type": "unsubscribe", "topic": "clock"}, "unsubscribed", ("topic",)),
    ({"type": "publish", "topic": "room/1", "data": 1, "id": "p1"}, "result", ("topic", "data")),
    ({"type": "call", "id": "c", "method": "add", "params": {"a": 1, "b": 1}}, "result", ("id", "method")),
):
    checks(f"from client: {each_message['type']}")(
        partial(understood, message=each_message, answer=each_answer, needed=each_needed)
    )


@checks("from client: pong")
async def client_pong(servers: Servers) -> None:
    """Asks for no answer."""
    async with listening(servers.main, "/ws/ann") as client:
        await client.send({"type": "pong", "timestamp": "t"})
        await client.ask({"type": "ping"}, "pong")
        assert not client.all("error")


@checks("from client: ack")
async def ack(servers: Servers) -> None:
    async with listening(servers.main, "/ws/acks") as client, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def emit() -> None:
            body = {"event": "sign", "data": 1, "to": {"session": "acks"}, "ack": True, "within": 20}
            answers.append((await ask(servers.main, "POST", "/api/emit", body)).json())

        nursery.start_soon(emit)
        told = await client.first("sign")
        has(told, ["type", "data", "timestamp", "id"])
        await client.send({"type": "ack", "id": told["id"]})
    assert answers == [{"sessions": 1, "connections": 1, "acknowledged": 1}]


@checks("emit")
async def emit(servers: Servers) -> None:
    async with listening(servers.main, "/ws/emitted") as client:
        await ask(servers.main, "POST", "/api/emit", {"event": "paid", "data": {"n": 1}})
        told = await client.first("paid")
        has(told, ["type", "data", "timestamp"])
        assert (told["data"], bool(TIME.fullmatch(told["timestamp"]))) == ({"n": 1}, True)


@checks("reserved types")
async def reserved(servers: Servers) -> None:
    own = {
        *("subscribed", "unsubscribed", "event", "time_update", "snapshot", "queue_update", "progress", "completed"),
        *("failed", "cancelled", "interrupted", "supervisor_event", "presence", "ping", "heartbeat", "pong", "gap"),
        *("result", "error", "subscribe", "unsubscribe", "publish", "call", "ack"),
    }
    assert own == RESERVED_TYPES
    for type in sorted(own):
        answer = await ask(servers.main, "POST", "/api/emit", {"event": type, "data": 1})
        assert (answer.status, answer.json()["error"]["details"]["field"]) == (400, "event")


@checks("refusals keep the socket")
async def refusals(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        for message in (
            {"type": "subscribe", "topic": "nothing"},
            {"type": "publish", "topic": "clock", "data": 1},
            {"type": "call", "id": "c", "method": "nothing"},
        ):
            await client.ask(message, "error")
        ticks = len(client.all("time_update"))
        await client.several(ticks + 1, "time_update")
        assert client.closed is None


@checks("bad_message")
async def bad_message(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        for wrong in ("{", "[]", "{}", '{"type":"nothing"}', '{"type":"subscribe","topic":1}', b"{}"):
            assert (await client.ask(wrong, "error"))["code"] == "bad_message"
        assert client.closed is None


# --- refused before the handshake ----------------------------------------------------------------------------------


@checks("refused 400")
async def refused_400(servers: Servers) -> None:
    await refused(servers.main, "/ws/events", 400, additional_headers={"Host": "evil.example"})


@checks("refused 403")
async def refused_403(servers: Servers) -> None:
    for origin in ("https://evil.example", "null"):
        await refused(servers.main, "/ws/events", 403, origin=origin)


@checks("refused 404")
async def refused_404(servers: Servers) -> None:
    await refused(servers.main, "/nothing", 404)


@checks("refused 503")
async def refused_503(servers: Servers) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(raw_client(servers.brisk, "/ws/events"))
        await refused(servers.brisk, "/ws/events", 503)


# --- closes --------------------------------------------------------------------------------------------------------


@checks("close 1000")
async def close_1000(servers: Servers) -> None:
    task_id = await start_task(servers.main, "done")
    assert (await end_of(servers.main, f"/ws/tasks/{task_id}")).code == 1000


async def close_by_frame(servers: Servers, code: int, data: bytes) -> None:
    async with raw_client(servers.main, "/ws/ann") as client:
        await client.stream.send_all(data)
        assert (await client.read_until_closed()).code == code


checks("close 1002")(partial(close_by_frame, code=1002, data=frame(3, b"no such opcode")))
checks("close 1007")(partial(close_by_frame, code=1007, data=frame(TEXT, b"\xff")))
checks("close 1009")(partial(close_by_frame, code=1009, data=frame(TEXT, b"x" * 65_537)))


@checks("close 1011")
async def close_1011(servers: Servers) -> None:
    assert (await end_of(servers.main, "/shop/fails")).code == 1011


@checks("close 1012")
async def close_1012(servers: Servers) -> None:
    with servers.own() as server:
        async with listening(server, "/ws/ann") as client:
            await in_thread(server.stop)
            closed = await client.end()
    assert closed.code == 1012
    assert re.fullmatch(r"retry-after=\d+\.\d", closed.reason)


@checks("close 4000")
async def close_4000(servers: Servers) -> None:
    seen = await in_thread(servers.main.mark_log)
    async with raw_client(servers.main, "/ws/slow", receive_buffer=4096) as client:
        await burst(servers, client, "strict")
        # The client itself may be told by a reset alone: what it did not read stands before the Close frame.
        await in_thread(servers.main.wait_for_log, "disconnected", since=seen, code=4000)


@checks("close 4001")
async def close_4001(servers: Servers) -> None:
    async with raw_client(servers.brisk, "/ws/silent") as silent:
        assert (await silent.read_until_closed()).code == 4001


async def close_after(servers: Servers, code: int, message: object, count: int) -> None:
    async with listening(servers.brisk, "/ws/ann") as client:
        for _ in range(count):
            await client.send(message)
        assert (await client.end()).code == code


checks("close 4400")(partial(close_after, code=4400, message="nonsense", count=21))
checks("close 4429")(partial(close_after, code=4429, message={"type": "pong"}, count=31))


@checks("close 4401")
async def close_4401(servers: Servers) -> None:
    offered: Any = ["realtime", "realtime.bearer.wrong-0123456789abcdef"]
    assert (await end_of(servers.main, "/ws/ann", subprotocols=offered)).code == 4401


@checks("close 4403")
async def close_4403(servers: Servers) -> None:
    bob = {"Authorization": f"Bearer {BOB}"}
    assert (await end_of(servers.main, "/ws/closed", additional_headers=bob)).code == 4403


@checks("close 4404")
async def close_4404(servers: Servers) -> None:
    assert (await end_of(servers.main, "/ws/tasks/nothing")).code == 4404


# --- heartbeat, server-sent events ---------------------------------------------------------------------------------


@checks("heartbeat per connection")
async def both_pings(servers: Servers) -> None:
    """A Ping frame and the JSON message, together."""
    async with raw_client(servers.brisk, "/ws/ann") as client:
        found: list[str] = []
        with trio.fail_after(PATIENCE):
            while len(found) < 2:
                client.take(await client.stream.receive_some(65_536))
                found = [name for name in map(_ping_in, client.frames) if name is not None]
    assert sorted(found) == ["frame", "message"]


def _ping_in(received: Any) -> str | None:
    if received.opcode is Opcode.PING:
        return "frame"
    is_message = received.opcode is Opcode.TEXT and json.loads(received.data)["type"] == "ping"
    return "message" if is_message else None


@checks("SSE")
async def sse(servers: Servers) -> None:
    first = await in_thread(read_sse, servers.brisk, None, lambda source: source.comments and source.events)
    assert first.comments  # one each interval
    (confirmed,) = first.events
    assert confirmed.type == "subscribed"
    assert confirmed.last_event_id == f"{confirmed.json()['epoch']}:{confirmed.json()['offset']}"
    stored = await event(servers.brisk)
    resumed = await in_thread(read_sse, servers.brisk, confirmed.last_event_id, lambda source: len(source.events) == 2)
    again, missed = resumed.events
    assert again.json()["recovered"] is True
    assert (missed.type, missed.json()["data"]) == ("event", stored)
    assert missed.last_event_id == f"{again.json()['epoch']}:{missed.json()['offset']}"


def read_sse(server: ServerProcess, last_event_id: str | None, enough: Callable[[EventSource], object]) -> EventSource:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/sse/events", headers={"Last-Event-ID": last_event_id} if last_event_id else {})
        response = connection.getresponse()
        source = EventSource()
        while not enough(source):
            source.feed(response.read1())
        return source
    finally:
        connection.close()


@pytest.mark.parametrize("check", checks.params())
async def test_websocket_row(check, server, brisk, tmp_path):
    await check(Servers(server, brisk, tmp_path))
