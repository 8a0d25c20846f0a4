"""What was acknowledged survives a kill of the server, whenever it comes."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from typing import Any

from tests.realtime.server_process import ServerProcess

ROUNDS = 4
CLIENTS = 4


class Poster(threading.Thread):
    """Posts events over one connection until the server is gone; keeps those that were answered with 201."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        self.source = name
        self.acknowledged: list[dict[str, Any]] = []
        self.refused: list[int] = []

    def run(self) -> None:
        try:
            while True:
                body = json.dumps({"type": "killed", "source": self.source, "data": {"n": len(self.acknowledged)}})
                self.connection.request("POST", "/api/events", body, {"Content-Type": "application/json"})
                response = self.connection.getresponse()
                stored = json.loads(response.read())
                if response.status == 201:
                    self.acknowledged.append(stored)
                else:
                    self.refused.append(response.status)
        except (OSError, http.client.HTTPException):
            return  # killed
        finally:
            self.connection.close()


def all_events(server: ServerProcess) -> list[dict[str, Any]]:
    """Every event that the server has, page by page."""
    events: list[dict[str, Any]] = []
    after = ""
    while True:
        page = server.get(f"/api/events?limit=1000{after}")
        events += page["events"]
        if page["next"] is None:
            return events
        after = f"&after={page['next']}"


def test_every_event_answered_with_201_is_there_after_a_kill(make_server):
    """Design 5: no acknowledged event is lost when the process is killed; contract 4: 201 means committed."""
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    moments = random.Random(seed)
    acknowledged: list[dict[str, Any]] = []
    server: ServerProcess = make_server()
    for number in range(ROUNDS):
        server.start()
        posters = [Poster(server, f"{number}-{client}") for client in range(CLIENTS)]
        for poster in posters:
            poster.start()
        wanted = moments.randrange(20, 200)
        deadline = time.monotonic() + 20
        while sum(len(poster.acknowledged) for poster in posters) < wanted:
            assert time.monotonic() < deadline
            time.sleep(moments.uniform(0, 0.01))
        server.kill()
        assert server.wait() == -signal.SIGKILL
        for poster in posters:
            poster.join(10)
            assert not poster.is_alive()
            assert not poster.refused
            acknowledged += poster.acknowledged

    server.start()
    stored = all_events(server)
    by_id = {event["event_id"]: event for event in stored}
    assert len(by_id) == len(stored)
    assert all(by_id.get(event["event_id"]) == event for event in acknowledged)
    # Nothing else than what was sent: at most one more of each client, committed but not answered any more.
    assert len(acknowledged) <= len(stored) <= len(acknowledged) + ROUNDS * CLIENTS
    # In the order of their creation, which is that of the ids, for each client and for all.
    assert [event["event_id"] for event in stored] == sorted(by_id)
    assert server.stop() == 0
    assert not server.complaints()
