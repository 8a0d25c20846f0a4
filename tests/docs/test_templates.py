"""One file for each template of use, each served by a real server and used by a foreign client."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect

from tests.realtime.server_process import PATIENCE, ServerProcess

TEMPLATES = Path(__file__).parents[2] / "docs" / "examples" / "templates"
TESTED = {"ticker", "disk", "door", "stock", "resize"}


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with one template beside its settings."""
    shutil.copy(TEMPLATES / f"{request.param}.py", tmp_path)
    with ServerProcess(tmp_path, {f"actors.{request.param}": {"use": request.param}}) as process:
        yield process
        assert not process.complaints()


def template(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", [name], indirect=True, ids=[name])


def next_message(ws: ClientConnection, type: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """The next message of *type*, which has to come within *seconds*."""
    deadline = time.monotonic() + seconds
    while True:
        message: dict[str, Any] = json.loads(ws.recv(deadline - time.monotonic()))
        if message["type"] == type:
            return message


def subscribe(ws: ClientConnection, topic: str) -> None:
    ws.send(json.dumps({"type": "subscribe", "topic": topic}))
    while next_message(ws, "subscribed")["topic"] != topic:
        pass


def test_each_template_is_tested_here_and_fits_on_a_screen() -> None:
    lines = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in TEMPLATES.glob("*.py")}
    assert set(lines) == TESTED
    assert {name: count for name, count in lines.items() if count > 40} == {}


@template("ticker")
def test_a_clock_ticks_and_tells_the_time_at_once(server: ServerProcess) -> None:
    with connect(server.ws("/ws/me")) as ws:
        subscribe(ws, "ticker")
        times = []
        while len(times) < 3:
            message = next_message(ws, "time_update")
            if message["topic"] == "ticker":
                times.append(message["data"]["local_time"])
    assert times == sorted(set(times))


@template("disk")
def test_a_snapshot_is_sent_at_once_to_who_subscribes(server: ServerProcess) -> None:
    with connect(server.ws("/ws/me")) as ws:
        subscribe(ws, "disk")
        data = next_message(ws, "snapshot")["data"]
    assert 0 <= data["free_bytes"] <= data["total_bytes"]
    assert data["total_bytes"] == shutil.disk_usage("/").total


@template("door")
def test_each_event_is_told_and_stored(server: ServerProcess) -> None:
    with connect(server.ws("/ws/events")) as ws:
        events = [next_message(ws, "event") for _ in range(2)]
    assert [event["data"]["type"] for event in events] == ["door_opened"] * 2
    assert events[1]["offset"] == events[0]["offset"] + 1
    stored = server.get("/api/events?type=door_opened")["events"]
    assert events[0]["data"] in stored


@template("stock")
def test_a_change_is_told_within_a_second_although_the_check_comes_each_five(server: ServerProcess) -> None:
    with connect(server.ws("/ws/me")) as ws:
        subscribe(ws, "stock")
        before = next_message(ws, "stock_update")["data"]
        answer = server.request("POST", "/shop/apples")
        assert (answer.status, answer.json()) == (200, {"left": before["apples"] - 1})
        after = next_message(ws, "stock_update", seconds=1.0)["data"]
    assert after == {**before, "apples": before["apples"] - 1}


@template("resize")
def test_a_task_tells_how_far_it_is_and_how_it_ended(server: ServerProcess) -> None:
    answer = server.request("POST", "/api/tasks", {"job": "resize", "params": {"pictures": 7}})
    assert answer.status == 201, answer
    with connect(server.ws(f"/ws/tasks/{answer.json()['task_id']}")) as ws:
        percents = []
        while (message := json.loads(ws.recv(PATIENCE)))["type"] != "completed":
            if message["type"] == "progress":
                percents.append(message["data"]["percent"] or 0)
        with pytest.raises(ConnectionClosedOK) as closed:
            ws.recv(PATIENCE)
    assert percents == sorted(percents)
    assert percents[-1] > 0
    assert message["data"]["result"] == {"resized": 7}
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
