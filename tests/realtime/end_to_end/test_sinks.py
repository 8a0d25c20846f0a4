"""A server that is killed again and again, whenever it comes: each event has one line in each log, in order."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from tests.realtime.end_to_end.test_kill import Poster, all_events
from tests.realtime.server_process import ServerProcess, eventually

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


def test_every_event_has_exactly_one_line_after_kills(make_server: Any, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    moments = random.Random(seed)
    server: ServerProcess = make_server(SINKS)
    for number in range(ROUNDS):
        server.start()
        posters = [Poster(server, f"{number}-{client}") for client in range(CLIENTS)]
        for poster in posters:
            poster.start()
        wanted = moments.randrange(30, 200)
        deadline = time.monotonic() + 20
        while sum(len(poster.acknowledged) for poster in posters) < wanted:
            assert time.monotonic() < deadline
            time.sleep(moments.uniform(0, 0.01))
        server.kill()
        assert server.wait() == -signal.SIGKILL
        for poster in posters:
            poster.join(10)
            assert not poster.is_alive()
        assert lines(tmp_path, "log", ".jsonl")

    server.start()
    events = all_events(server)
    eventually(lambda: len(lines(tmp_path, "log", ".jsonl")) >= len(events))
    eventually(lambda: len(lines(tmp_path, "log", ".txt")) >= len(events))
    server.stop()
    written = [json.loads(line) for line in lines(tmp_path, "log", ".jsonl")]
    assert [line["offset"] for line in written] == list(range(1, len(events) + 1))
    assert [line["event_id"] for line in written] == [event["event_id"] for event in events]
    positions = [int(line.rsplit(":", 1)[1]) for line in lines(tmp_path, "log", ".txt")]
    assert positions == list(range(1, len(events) + 1))
    assert len(list(tmp_path.glob("log.2*.jsonl"))) > ROUNDS
