"""Webhooks out and in, between real processes: what is killed loses nothing, and what is down is waited for."""

from __future__ import annotations

import http.server
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime.policy.signatures import Scheme, verify
from tests.realtime.server_process import ServerProcess, eventually

from .kills import Posters

SECRET = b"a secret for the tests only"
ROUNDS = 4
CLIENTS = 4


class Receiver(http.server.ThreadingHTTPServer):
    """Somebody else's server: checks signatures, and refuses what it is told to refuse."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, Any]] = []
        self.unsigned = 0
        self.status = 200
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def ids(self) -> list[str]:
        return [event["event_id"] for event in self.got]

    def handle_error(self, request: object, client_address: object) -> None:
        """The sender was killed."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the sender was killed in the middle of it
            return
        if verify(Scheme(), [SECRET], self.headers, body, time.time()) is not None:
            self.server.unsigned += 1
        if self.server.status == 200:
            event = json.loads(body)
            assert event["event_id"] == self.headers["X-Event-Id"]
            self.server.got.append(event)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        receiver.shutdown()
        receiver.thread.join(10)


@pytest.fixture
def sections(receiver: Receiver, tmp_path: Path) -> dict[str, dict[str, object]]:
    (tmp_path / "hook.secret").write_bytes(SECRET)
    (tmp_path / "admin.token").write_text("an admin token")
    return {
        "auth": {"admin_token_file": "admin.token"},
        "actors.clock": {"enabled": False},
        "actors.system": {"enabled": False},
        "actors.hook": {
            "use": "realtime.actors.webhook",
            "url": f"http://127.0.0.1:{receiver.server_address[1]}/hook",
            "secret_file": "hook.secret",
            "retry_first": 0.05,
            "retry_maximum": 0.2,
            "attempts": 1000,
        },
    }


def test_every_event_is_delivered_at_least_once_and_in_order_after_kills(
    make_server: Any, chance: random.Random, receiver: Receiver, sections: Any
) -> None:
    server: ServerProcess = make_server(sections)
    for _ in range(ROUNDS):
        server.start()
        posters = Posters(server, CLIENTS)
        # The other side is away for a while, in which events gather.
        receiver.status = chance.choice([200, 503])
        posters.wait_for(chance.randrange(20, 100))
        receiver.status = 200
        posters.kill(chance, within=0.3)

    server.start()
    ids = [event["event_id"] for event in server.all_events()]
    eventually(lambda: len(set(receiver.ids)) >= len(ids))
    server.stop()
    assert list(dict.fromkeys(receiver.ids)) == ids
    # Twice is only what was on its way when the process was killed: one for each kill.
    assert len(receiver.ids) - len(ids) <= ROUNDS
    assert receiver.unsigned == 0


def test_what_is_refused_is_a_dead_letter_that_survives_a_restart_and_can_be_sent_again(
    make_server: Any, receiver: Receiver, sections: Any
) -> None:
    admin = {"Authorization": "Bearer an admin token"}
    receiver.status = 422
    server: ServerProcess = make_server(sections).start()
    stored = server.post_event("door_opened")
    eventually(lambda: server.get("/api/dead-letters", **admin)["total"] == 1)
    server.stop()
    receiver.status = 200
    server.start()
    (letter,) = server.get("/api/dead-letters", **admin)["dead_letters"]
    assert (letter["event"], letter["status"], letter["attempts"]) == (stored, 422, 1)
    assert server.request("POST", f"/api/dead-letters/{letter['id']}/again", headers=admin).status == 202
    eventually(lambda: receiver.ids == [stored["event_id"]])
    eventually(lambda: server.get("/api/dead-letters", **admin)["total"] == 0)
    server.stop()


def test_one_server_s_webhook_is_another_s_event(make_server: Any, tmp_path: Path) -> None:
    (tmp_path / "hook.secret").write_bytes(SECRET)
    quiet = {"actors.clock": {"enabled": False}, "actors.system": {"enabled": False}}
    hook = {"secret_file": "hook.secret", "timestamp_header": "X-Time", "source": "the first"}
    server: ServerProcess = make_server({**quiet, "webhooks.first": hook}).start()
    folder = tmp_path / "sender"
    folder.mkdir()
    sink = {
        "use": "realtime.actors.webhook",
        "url": f"http://127.0.0.1:{server.port}/api/webhooks/first",
        "secret_file": str(tmp_path / "hook.secret"),
        "timestamp_header": "X-Time",
    }
    with ServerProcess(folder, {**quiet, "actors.hook": sink}) as sender:
        stored = sender.post_event("door_opened")
        (event,) = eventually(lambda: server.get("/api/events?type=webhook.first")["events"])
        sender.stop()
    assert (event["data"], event["source"]) == (stored, "the first")
