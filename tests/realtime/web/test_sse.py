"""Contract sections 3 and 4: GET /sse/<topic>, over real sockets, HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import h2.events
import h11
import pytest
import structlog
import trio

from realtime.actors.tasks import Job
from realtime.messages import now_iso
from realtime.policy.progress import TaskRecord
from realtime.sections import Delivery, Heartbeat, TopicRule
from realtime.transport import open_listener
from realtime.tree import System, build
from realtime.web.app import create_app

from ..event_source import EventSource
from ..in_process import make_settings
from ..transport.test_http2 import prior_knowledge
from ..waiting import until

TOPICS = {"mine": TopicRule(history=50), "slow": TopicRule(overflow="disconnect")}


@attrs.frozen
class Serving:
    """A system behind a real socket."""

    system: System
    port: int

    @property
    def hub(self) -> Any:
        return self.system.hub

    def publish(self, count=1, topic="mine", data=None) -> None:
        for _ in range(count):
            self.hub.publish_nowait(topic, "mine_update", data)


@asynccontextmanager
async def serving(*, server: dict[str, Any] | None = None, **sections: Any) -> AsyncIterator[Serving]:
    settings = make_settings(server={"allowed_hosts": ("localhost",)} | (server or {}), **{"topics": TOPICS} | sections)
    system = build(settings)
    for topic in TOPICS:
        system.hub.declare(topic)
    with open_listener("127.0.0.1:0") as listener:
        async with system.run(create_app(system.backend), listener):
            yield Serving(system, listener.getsockname()[1])


class Client:
    """One HTTP/1.1 connection, which asks for one stream; *head* is how it was answered."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)
        self.source = EventSource()
        self.head: Any = None
        self.body = b""
        self.ended = False

    async def ask(self, path: str, method: str = "GET", **headers: str) -> None:
        asked = [("Host", "localhost"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        await self.stream.send_all(self.http.send(h11.Request(method=method, target=path, headers=asked)) or b"")
        await self.stream.send_all(self.http.send(h11.EndOfMessage()) or b"")
        while self.head is None:
            await self.read_on()

    async def read_on(self) -> None:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive_some())
        if isinstance(event, h11.Response):
            self.head = event
        elif isinstance(event, h11.Data):
            self.body += event.data
            if self.header("content-type") == "text/event-stream":
                self.source.feed(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self.ended = True

    def header(self, name: str) -> str | None:
        return {key.decode(): value.decode() for key, value in self.head.headers}.get(name)

    async def events(self, count: int) -> list[Any]:
        """The first *count* events."""
        with trio.fail_after(10):
            while len(self.source.events) < count:
                assert not self.ended, self.source
                await self.read_on()
        return self.source.events[:count]

    async def until_end(self) -> None:
        with trio.fail_after(20):
            while not self.ended:
                await self.read_on()


@asynccontextmanager
async def client(serving: Serving, path: str = "/sse/mine", **headers: str) -> AsyncIterator[Client]:
    async with await trio.open_tcp_stream("127.0.0.1", serving.port) as stream:
        found = Client(stream)
        with trio.fail_after(10):
            await found.ask(path, **headers)
        yield found


# --- what is sent --------------------------------------------------------------------------------------------------


async def test_the_confirmation_comes_first_and_then_what_is_published():
    async with serving() as served, client(served) as reader:
        assert reader.head.status_code == 200
        assert reader.header("content-type") == "text/event-stream"
        assert reader.header("cache-control") == "no-store"
        await reader.events(1)
        served.publish(2, data={"a": 1})
        first, *others = await reader.events(3)
        epoch = first.json()["epoch"]
        assert first.json() == {
            "type": "subscribed",
            "topic": "mine",
            "epoch": epoch,
            "offset": 0,
            "recovered": False,
        }
        assert [(event.type, event.last_event_id) for event in others] == [
            ("mine_update", f"{epoch}:1"),
            ("mine_update", f"{epoch}:2"),
        ]
        assert others[0].json() == {"type": "mine_update", "topic": "mine", "offset": 1, "data": {"a": 1}}


async def test_last_event_id_resumes_without_a_hole():
    async with serving() as served:
        async with client(served) as reader:
            await reader.events(1)
            served.publish(3)
            seen = (await reader.events(3))[-1].last_event_id
        served.publish(3)
        async with client(served, last_event_id=seen) as reader:
            await reader.events(1)
            served.publish()
            first, *missed = await reader.events(5)
            assert (first.json()["recovered"], first.json()["offset"]) == (True, 6)
            # Who is cut off in between asks again for what has not come.
            assert first.last_event_id == seen
            assert [event.json()["offset"] for event in missed] == [3, 4, 5, 6]


@pytest.mark.parametrize("id", ["other:1", "nonsense", "x" * 300, "{epoch}:99", ""])
async def test_a_place_that_cannot_be_resumed_begins_now(id):
    async with serving() as served:
        served.publish(3)
        epoch = served.hub.position("mine").epoch
        async with client(served, last_event_id=id.format(epoch=epoch)) as reader:
            (first,) = await reader.events(1)
            assert (first.json()["recovered"], first.json()["offset"]) == (False, 3)
            served.publish()
            assert (await reader.events(2))[1].json()["offset"] == 4


async def test_a_page_that_was_loaded_anew_says_in_the_address_where_it_was():
    async with serving() as served:
        served.publish(3)
        epoch = served.hub.position("mine").epoch
        async with client(served, f"/sse/mine?epoch={epoch}&offset=1") as reader:
            assert [event.last_event_id for event in await reader.events(3)] == [f"{epoch}:{n}" for n in (1, 2, 3)]
        # What the browser remembers is newer.
        async with client(served, f"/sse/mine?epoch={epoch}&offset=1", last_event_id=f"{epoch}:2") as reader:
            assert len(await reader.events(2)) == 2


async def test_the_tree_is_shown_once_and_then_its_changes():
    async with serving() as served, client(served, "/sse/supervisors") as reader:
        first, snapshot = await reader.events(2)
        assert (first.type, snapshot.type) == ("subscribed", "snapshot")
        assert snapshot.json()["data"]["kind"] == "supervisor"


async def test_a_heartbeat_is_a_comment_each_interval():
    async with serving(heartbeat=Heartbeat(interval=0.2, pong_timeout=0.5)) as served, client(served) as reader:
        with trio.fail_after(10):
            while len(reader.source.comments) < 6:
                await reader.read_on()
        assert all(comment.startswith("ping ") for comment in reader.source.comments)
        # Nobody is reaped for not answering what cannot be answered.
        assert not reader.ended
        assert [event.type for event in reader.source.events] == ["subscribed"]


# --- who it is for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/sse/elsewhere", {}, 404, "unknown_topic"),
        ("/sse/a%20b", {}, 404, "unknown_topic"),
        ("/sse/tasks/none", {}, 404, "unknown_topic"),
        ("/sse/", {}, 404, "not_found"),
        ("/sse/session/me", {}, 403, "not_allowed"),
        ("/sse/mine", {"origin": "http://evil.example"}, 403, "bad_origin"),
        ("/sse/mine", {"origin": "null"}, 403, "bad_origin"),
        ("/sse/mine?epoch=e&offset=x", {}, 400, "bad_request"),
    ],
)
async def test_what_is_refused_is_refused_as_json(path, headers, status, code):
    async with serving() as served, client(served, path, **headers) as reader:
        await reader.until_end()
        assert reader.head.status_code == status
        assert f'"code":"{code}"'.encode() in reader.body
        assert not served.hub.connections


async def test_a_page_of_an_allowed_origin_may_read_it():
    server = {"allowed_origins": ("https://ours.example",)}
    async with serving(server=server) as served, client(served, origin="https://ours.example") as reader:
        assert reader.head.status_code == 200
        assert reader.header("access-control-allow-origin") == "https://ours.example"


async def test_only_get_begins_a_stream():
    async with serving() as served:
        with structlog.testing.capture_logs() as logs:
            async with client(served, method="HEAD") as reader:
                assert (reader.head.status_code, reader.header("content-type")) == (200, "text/event-stream")
                assert reader.header("content-length") is None
                await reader.until_end()
        assert [entry for entry in logs if entry["log_level"] == "error"] == []
        async with client(served, method="POST") as reader:
            assert reader.head.status_code == 405
        assert served.hub.statistics().connections == 0


async def test_streams_count_as_connections_and_are_listed():
    async with serving(server={"max_connections": 3}) as served, client(served) as first:
        await first.events(1)
        async with prior_knowledge(served.port) as second:
            for _ in range(2):
                await second.request("GET", "/sse/mine")
            await until(lambda: len(served.hub.connections) == 3)
            assert {tuple(c.topics) for c in served.hub.connections} == {("mine",)}
            assert len({c.id for c in served.hub.connections}) == 3
            await second.request("GET", "/sse/mine")
            await second.wait_for_body(lambda body: b"too many connections" in body)
        await until(lambda: len(served.hub.connections) == 1)


# --- how it ends ---------------------------------------------------------------------------------------------------


async def test_who_leaves_is_gone_at_once():
    with structlog.testing.capture_logs() as lines:
        async with serving() as served:
            async with client(served) as reader:
                await reader.events(1)
            await until(lambda: not served.hub.connections)
    (line,) = [line for line in lines if line["event"] == "disconnected"]
    assert line["code"] == 1006
    assert not [line for line in lines if line["log_level"] in ("warning", "error", "critical")]


async def test_a_reader_that_stalls_is_told_what_it_lost_or_ended():
    delivery = Delivery(mailbox_messages=20)
    async with (
        serving(server={"write_timeout": 0.5}, delivery=delivery) as served,
        client(served) as healthy,
        client(served) as stalled,
    ):
        await healthy.events(1)
        await stalled.events(1)
        for _ in range(600):
            served.publish(1, data="x" * 20_000)
            await trio.lowlevel.checkpoint()
            while len(healthy.source.events) < served.hub.position("mine").offset + 1:
                await healthy.read_on()
            # 12 MB for one that does not read: nothing but its bound is kept, and then it goes.
            assert all(c.statistics().queued_messages <= 22 for c in served.hub.connections)
        await until(lambda: len(served.hub.connections) == 1)
        assert not healthy.ended


async def test_a_policy_that_disconnects_ends_the_stream():
    async with serving(delivery=Delivery(mailbox_messages=5)) as served, client(served, "/sse/slow") as reader:
        await reader.events(1)
        served.publish(50, "slow")
        await reader.until_end()
        assert [event.type for event in reader.source.events] == ["subscribed"]
        await until(lambda: not served.hub.connections)


async def test_a_gap_is_an_event():
    async with serving(delivery=Delivery(mailbox_messages=5)) as served, client(served) as reader:
        await reader.events(1)
        served.publish(50)
        served.hub.flush("mine")
        events = await reader.events(7)
        (gap,) = [event for event in events if event.type == "gap"]
        assert gap.json()["missed"] == 45
        assert events[-1].last_event_id.endswith(":50")


async def test_a_stop_says_when_to_come_back_and_ends_the_stream():
    drain = {"drain_window": 0.5, "drain_timeout": 5.0}
    async with serving(server=drain) as served, trio.open_nursery() as nursery, client(served) as reader:
        await reader.events(1)
        began = trio.current_time()
        nursery.start_soon(served.system.backend.tree.stop)
        await reader.until_end()
        assert reader.source.retry is not None
        assert reader.source.retry >= 1000
        assert trio.current_time() - began < 3


@pytest.fixture
def made_job():
    release = trio.Event()

    async def job(progress):
        progress.update("working", 50.0)
        await release.wait()

    return Job("wait", job), release


async def test_a_task_is_followed_to_its_end_and_then_nobody_comes_back(made_job):
    job, release = made_job
    async with serving() as served:
        tasks = served.system.services.tasks
        tasks.register(job)
        task = await tasks.start("wait")
        async with client(served, f"/sse/tasks/{task.task_id}") as reader:
            first, state = await reader.events(2)
            assert (first.type, state.type) == ("subscribed", "progress")
            release.set()
            await reader.until_end()
            last = reader.source.events[-1]
            assert last.type == "completed"
        with structlog.testing.capture_logs() as logs:
            async with client(served, f"/sse/tasks/{task.task_id}", last_event_id=last.last_event_id) as reader:
                await reader.until_end()
                assert (reader.head.status_code, reader.body) == (204, b"")
        assert [entry for entry in logs if entry["log_level"] == "error"] == []
        async with client(served, f"/sse/tasks/{task.task_id}") as reader:
            await reader.until_end()
            assert [event.type for event in reader.source.events] == ["subscribed", "completed"]


async def test_of_a_task_of_long_ago_the_outcome_is_told():
    async with serving() as served:
        record = TaskRecord("old", "wait", "interrupted", now_iso(), ended_at=now_iso())
        await served.system.tasks.add(record)
        await served.system.tasks.end(record)
        async with client(served, "/sse/tasks/old") as reader:
            await reader.until_end()
            last = reader.source.events[-1]
            assert last.type == "interrupted"
        async with client(served, "/sse/tasks/old", last_event_id=last.last_event_id) as reader:
            await reader.until_end()
            assert reader.head.status_code == 204


# --- HTTP/2 --------------------------------------------------------------------------------------------------------


async def test_over_http2_it_is_the_same():
    async with serving(server={"drain_window": 0.2}) as served, prior_knowledge(served.port) as reader:
        await reader.request("GET", "/sse/mine")
        await reader.wait_for_body(lambda body: b"event: subscribed" in body)
        served.publish(2)
        body = await reader.wait_for_body(lambda body: body.count(b"event: mine_update") == 2)
        source = EventSource()
        source.feed(body)
        assert [event.last_event_id.partition(":")[2] for event in source.events] == ["0", "1", "2"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.system.backend.tree.stop)
            await reader.wait_for_body(lambda body: b"retry: " in body)
            reader.stream.socket.shutdown(socket.SHUT_WR)


async def test_over_http2_one_stream_can_be_left_and_the_others_go_on():
    async with serving() as served, prior_knowledge(served.port) as reader:
        served.hub.declare("other")
        left = await reader.request("GET", "/sse/mine")
        await reader.request("GET", "/sse/other")
        await until(lambda: len(served.hub.connections) == 2)
        reader.h2.reset_stream(left)
        await reader.flush()
        await until(lambda: len(served.hub.connections) == 1)
        served.publish(1, "other")
        await reader.wait_for_body(lambda body: b'"topic":"other","offset":1' in body)


async def test_over_http2_a_stream_that_is_not_read_is_ended_and_the_others_go_on():
    async with serving(server={"write_timeout": 0.5}, delivery=Delivery(mailbox_messages=20)) as served:
        served.hub.declare("other")
        async with prior_knowledge(served.port) as reader:

            def acknowledge(size, stream_id):
                # The window of the stream is 64 KiB and never opened again, that of the connection is.
                reader.h2.increment_flow_control_window(size, None if stream_id == stalled else stream_id)

            reader.h2.acknowledge_received_data = acknowledge
            stalled = await reader.request("GET", "/sse/mine")
            await reader.request("GET", "/sse/other")
            await until(lambda: len(served.hub.connections) == 2)
            served.publish(60, data="x" * 20_000)
            reset = await reader.wait(h2.events.StreamReset)
            assert reset.stream_id == stalled
            (left,) = served.hub.connections
            assert list(left.topics) == ["other"]
            served.publish(1, "other")
            await reader.wait_for_body(lambda body: b'"topic":"other","offset":1' in body)
