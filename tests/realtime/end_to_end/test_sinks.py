"""A server that is killed again and again, whenever it comes: each event has one line in each log, in order."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.realtime.server_process import ServerProcess, eventually

from .kills import Posters

ROUNDS = 4
CLIENTS = 4
SINKS = {
    "actors.clock": {"enabled": False},
    "actors.system": {"enabled": False},
    # Small enough for several files in a round, so that kills come near the change of files as well.
    "actors.json_log": {"use": "realtime.actors.sinks.jsonlines", "path": "log.jsonl", "max_bytes": 8000, "keep": 1000},
    "actors.text_log": {"use": "realtime.actors.sinks.text", "path": "log.txt", "max_bytes": 8000, "keep": 1000},
}


def lines(folder: Path, stem: str, suffix: str) -> list[str]:
    """The lines of all files of a log, from the oldest on, except one that is just being written."""
    put_away = sorted(folder.glob(f"{stem}.2*{suffix}"), key=lambda path: int(path.name.split(".")[2]))
    text = "".join(path.read_text() for path in [*put_away, folder / f"{stem}{suffix}"])
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_every_event_has_exactly_one_line_after_kills(make_server: Any, chance: random.Random, tmp_path: Path) -> None:
    server: ServerProcess = make_server(SINKS)
    for _ in range(ROUNDS):
        server.start()
        posters = Posters(server, CLIENTS)
        posters.wait_for(chance.randrange(30, 200))
        posters.kill(chance)
        assert lines(tmp_path, "log", ".jsonl")

    server.start()
    events = server.all_events()
    eventually(lambda: len(lines(tmp_path, "log", ".jsonl")) >= len(events))
    eventually(lambda: len(lines(tmp_path, "log", ".txt")) >= len(events))
    server.stop()
    written = [json.loads(line) for line in lines(tmp_path, "log", ".jsonl")]
    assert [line["offset"] for line in written] == list(range(1, len(events) + 1))
    assert [line["event_id"] for line in written] == [event["event_id"] for event in events]
    positions = [int(line.rsplit(":", 1)[1]) for line in lines(tmp_path, "log", ".txt")]
    assert positions == list(range(1, len(events) + 1))
    assert len(list(tmp_path.glob("log.2*.jsonl"))) > ROUNDS
