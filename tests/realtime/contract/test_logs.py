"""Each row of the section on logs: one life of a server, with a client, a mistake of its and a crash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.realtime.server_process import PATIENCE, ServerProcess, eventually

from .rows import LOGS, Checks

checks = Checks(LOGS)

Line = dict[str, Any]


class Life:
    """The log of a life that has ended."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def first(self, event: str, **fields: object) -> Line:
        """The first line with this event and these fields."""
        found = [line for line in self.lines if line["event"] == event and fields.items() <= line.items()]
        assert found, f"no line {event!r} {fields}"
        return found[0]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with ServerProcess(tmp_path_factory.mktemp("logs"), {"log": {"level": "debug"}}, debug=True) as server:
        with connect(server.ws("/ws/ann"), proxy=None) as client:
            client.send("nonsense")
            server.wait_for_log("bad_message")
            server.wait_for_log("broadcast", topic="clock")
        server.wait_for_log("disconnected")
        server.crash("broadcasters/clock")
        eventually(lambda: server.get("/api/supervisors/broadcasters/clock")["generation"] == 2)
        assert server.stop(PATIENCE) == 0
        yield Life(server.log)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """With a client until the end, and nothing that went wrong."""
    with ServerProcess(tmp_path_factory.mktemp("quiet")) as server:
        with connect(server.ws("/ws/ann"), proxy=None) as client:
            client.recv(PATIENCE)
            assert server.stop(PATIENCE) == 0
        yield Life(server.log)


@checks("broadcaster start")
async def broadcaster_started(life: Life, quiet: Life) -> None:
    for topic, seconds in (("clock", 1.0), ("system", 5.0)):
        line = life.first("broadcaster_started", topic=topic)
        assert (line["level"], line["interval_s"]) == ("info", seconds)


@checks("broadcaster stop")
async def broadcaster_stopped(life: Life, quiet: Life) -> None:
    for topic in ("clock", "system"):
        assert life.first("broadcaster_stopped", topic=topic)["level"] == "info"


@checks("heartbeat start")
async def heartbeat_started(life: Life, quiet: Life) -> None:
    line = life.first("heartbeat_started")
    assert (line["level"], line["interval_s"]) == ("info", 30.0)


@checks("heartbeat stop")
async def heartbeat_stopped(life: Life, quiet: Life) -> None:
    assert life.first("heartbeat_stopped")["level"] == "info"


@checks("connect")
async def connected(life: Life, quiet: Life) -> None:
    line = life.first("connected")
    assert (line["level"], line["connections"]) == ("info", 1)
    assert line["connection_id"]


@checks("disconnect")
async def disconnected(life: Life, quiet: Life) -> None:
    line = life.first("disconnected")
    assert (line["level"], line["code"], line["connections"]) == ("info", 1000, 0)
    assert line["connection_id"] == life.first("connected")["connection_id"]


@checks("broadcast")
async def broadcast(life: Life, quiet: Life) -> None:
    assert life.first("broadcast", topic="clock")["level"] == "debug"
    assert not [line for line in quiet.lines if line["event"] == "broadcast"]


@checks("malformed input")
async def malformed(life: Life, quiet: Life) -> None:
    line = life.first("bad_message")
    assert (line["level"], line["connection_id"]) == ("warning", life.first("connected")["connection_id"])


@checks("crash")
async def crashed(life: Life, quiet: Life) -> None:
    line = life.first("child_restarting", path="broadcasters/clock")
    assert (line["level"], line["attempt"], line["next_delay_s"]) == ("error", 1, 0.0)
    assert "CrashRequested" in line["cause"]


@checks("clean stop")
async def clean_stop(life: Life, quiet: Life) -> None:
    assert {line["level"] for line in quiet.lines} == {"info"}
    assert quiet.lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("check", checks.params())
async def test_log_row(check, life, quiet):
    await check(life, quiet)
