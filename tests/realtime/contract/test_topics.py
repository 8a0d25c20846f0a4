"""Each row of the section on topics."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from realtime.messages import is_topic
from realtime.policy.lag import Overflow
from realtime.settings import Settings
from tests.realtime.end_to_end.clients import in_thread, listening, raw_client
from tests.realtime.server_process import ServerProcess

from .rows import TOPICS, Checks
from .test_websocket import Servers, burst, gap, start_task, subscribe

checks = Checks(TOPICS)


@checks("grammar")
async def grammar(servers: Servers) -> None:
    part = "aZ0_.:-" + "x" * 57  # 64 characters
    for right in (part, "a/b/c", f"{part}/{'y' * 63}"):
        assert is_topic(right)
    for wrong in ("", "/", "a/", "/a", "a//b", "a b", "ä", part + "x", f"{part}/{'y' * 64}"):
        assert not is_topic(wrong)
    async with listening(servers.main, "/ws/ann") as client:
        told = await client.ask({"type": "subscribe", "topic": "a b"}, "error")
        assert told["code"] == "bad_message"


async def built_in(servers: Servers, topic: str, overflow: Overflow) -> None:
    """It is there, with its default."""
    async with listening(servers.main, "/ws/ann") as client:
        await subscribe(client, topic)
        listed = (await in_thread(servers.main.get, "/api/topics"))["topics"]
    assert {each["topic"]: each["overflow"] for each in listed}[topic] == overflow.value
    assert Settings().topic(topic).overflow is overflow


for each_topic, each_overflow in (
    *((name, Overflow.CONFLATE) for name in ("clock", "system", "market", "queue")),
    *((name, Overflow.DROP_OLDEST) for name in ("events", "supervisors")),
):
    checks(each_topic)(partial(built_in, topic=each_topic, overflow=each_overflow))


@checks("tasks/<id>")
async def tasks(servers: Servers) -> None:
    task_id = await start_task(servers.main, "wait")
    await built_in(servers, f"tasks/{task_id}", Overflow.CONFLATE)


@checks("session/<id>")
async def sessions(servers: Servers) -> None:
    async with listening(servers.main, "/ws/eve") as client:
        await client.first("subscribed", topic="session/eve")
    assert Settings().topic("session/eve").overflow is Overflow.DROP_OLDEST


@checks("conflate is announced")
async def announced(servers: Servers) -> None:
    async with listening(servers.main, "/ws/ann") as client:
        for topic, wanted in (("system", True), ("market", True), ("events", None), ("room/1", None)):
            assert (await subscribe(client, topic)).get("conflate") is wanted


@checks("conflation is no gap")
async def no_gap(servers: Servers) -> None:
    async with raw_client(servers.main, "/ws/ann", receive_buffer=4096) as client:
        before = await burst(servers, client, "board")
        came: list[Any] = []
        while not came or came[-1]["offset"] < before + 200:
            came += [message for message in await client.read() if message.get("topic") == "board"]
        assert len(came) < 200  # some were never sent
        assert {message["type"] for message in came} == {"snapshot"}


checks("drop_oldest is a gap")(gap)


@checks("wait is opt-in")
async def wait(servers: Servers) -> None:
    topics = ("clock", "events", "supervisors", "tasks/t1", "session/ann", "anything")
    assert all(Settings().topic(topic).overflow is not Overflow.WAIT for topic in topics)
    listed = (await in_thread(servers.main.get, "/api/topics"))["topics"]
    assert [each["topic"] for each in listed if each["overflow"] == "wait"] == ["patient"]


@pytest.mark.parametrize("check", checks.params())
async def test_topic_row(check, server: ServerProcess, brisk: ServerProcess, tmp_path):
    await check(Servers(server, brisk, tmp_path))
