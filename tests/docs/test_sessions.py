"""The page about sessions: its example, with a foreign client."""

from __future__ import annotations

import json
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.realtime.server_process import PATIENCE, ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "sessions"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    shutil.copy(EXAMPLE / "kitchen.py", tmp_path)
    settings = tomllib.loads((EXAMPLE / "kitchen.toml").read_text(encoding="utf-8"))
    sections = {"actors.kitchen": settings["actors"]["kitchen"], 'topics."room/*"': settings["topics"]["room/*"]}
    with ServerProcess(tmp_path, sections) as process:
        yield process
        assert not process.complaints()


def say(ws: ClientConnection, **message: object) -> None:
    ws.send(json.dumps(message))


def next_message(ws: ClientConnection, *types: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while True:
        message: dict[str, Any] = json.loads(ws.recv(deadline - time.monotonic()))
        if message["type"] in types:
            return message


def test_an_order_is_answered_and_every_window_of_the_session_sees_it_cooked(server: ServerProcess) -> None:
    with connect(server.ws("/ws/alice")) as phone, connect(server.ws("/ws/alice")) as laptop:
        for ws in (phone, laptop):
            while next_message(ws, "subscribed")["topic"] != "session/alice":
                pass
        say(phone, type="call", id="c1", method="order", params={"meal": "soup"})
        steps = [next_message(laptop, "kitchen")["data"]["step"] for _ in range(3)]
        assert steps == ["chopping", "frying", "serving"]
        assert next_message(phone, "result") == {"type": "result", "id": "c1", "data": {"served": "one soup, hot"}}
        say(phone, type="call", id="c2", method="order", params={"meal": "cake"})
        error = next_message(phone, "error")
        assert (error["code"], error["message"]) == ("not_on_the_menu", "there is omelette and soup today")


def test_a_room_is_made_by_its_settings_alone(server: ServerProcess) -> None:
    with connect(server.ws("/ws/alice")) as alice, connect(server.ws("/ws/bob")) as bob:
        for ws in (alice, bob):
            say(ws, type="subscribe", topic="room/1")
            while next_message(ws, "subscribed")["topic"] != "room/1":
                pass
        there: set[str] = set()
        while there != {"alice", "bob"}:
            there |= {each["session"] for each in next_message(alice, "presence")["data"]["joined"]}
        say(bob, type="publish", topic="room/1", data={"text": "hello"}, id="p1")
        assert next_message(alice, "room_update")["data"] == {"text": "hello"}
        assert next_message(bob, "result")["id"] == "p1"


def test_every_message_that_the_page_shows_is_json() -> None:
    page = (DOCS / "how-to" / "sessions.md").read_text(encoding="utf-8")
    shown = [line for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(shown) >= 10
    assert all("type" in json.loads(line) for line in shown)
