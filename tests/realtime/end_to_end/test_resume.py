"""Who comes back is told all that it missed, or that it cannot be, across a kill of the server."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.realtime.event_source import EventSource
from tests.realtime.server_process import PATIENCE, ServerProcess

from .clients import listening
from .kills import Posters

ROUNDS = 3
CLIENTS = 3


def place_of(told: dict[str, Any]) -> str:
    return f"?epoch={told['epoch']}&offset={told['offset']}"


class Follower:
    """A client of /ws/events that comes back where it was; *ids* are the events that it has seen, in order."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.place: dict[str, Any] | None = None
        self.recovered: list[bool] = []

    @contextmanager
    def following(self, server: ServerProcess) -> Iterator[Any]:
        query = "" if self.place is None else place_of(self.place)
        address = server.ws("/ws/events" + query)
        # Whoever was killed answers no Close frame.
        options = {"proxy": None, "ping_interval": None, "open_timeout": PATIENCE, "close_timeout": 0.1}
        with connect(address, **options) as socket:
            told = server_says(socket)
            assert told["type"] == "subscribed"
            self.recovered.append(told["recovered"])
            if not told["recovered"]:
                self.place = told
            yield socket

    def read(self, socket: Any) -> None:
        told = server_says(socket)
        if told["type"] == "event":
            assert self.place is not None
            assert told["offset"] == self.place["offset"] + 1
            self.place = {"epoch": self.place["epoch"], "offset": told["offset"]}
            self.ids.append(told["data"]["event_id"])


def server_says(socket: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.recv(PATIENCE))
    return found


def test_after_a_kill_every_acknowledged_event_is_seen_once(make_server, chance):
    """Design 5, resume: the epoch of a stored topic outlives the process."""
    server: ServerProcess = make_server()
    follower = Follower()
    acknowledged: list[str] = []
    for _ in range(ROUNDS):
        server.start()
        with follower.following(server) as socket:
            posters = Posters(server, CLIENTS)
            # It reads some of what happens, and is cut off with the server in the middle of it.
            for _ in range(chance.randrange(1, 60)):
                follower.read(socket)
            posters.wait_for(80)
            posters.kill(chance)
        acknowledged += [event["event_id"] for event in posters.acknowledged]
    server.start()
    last = server.post_event("last")
    with follower.following(server) as socket:
        while last["event_id"] not in follower.ids:
            follower.read(socket)
    assert follower.recovered == [False] + [True] * ROUNDS
    assert len(set(follower.ids)) == len(follower.ids)
    assert set(acknowledged) <= set(follower.ids)
    assert not server.complaints()


@pytest.fixture
def filled(make_server, chance):
    """A server that was restarted with 520 events in its store."""
    server: ServerProcess = make_server()
    server.start()
    posters = Posters(server, 1)
    posters.wait_for(520)
    posters.kill(chance)
    return server.start()


async def test_what_is_too_long_ago_is_not_told_in_part(filled):
    async with listening(filled, "/ws/events") as client:
        now = await client.first("subscribed")
    last = now["offset"]
    assert last >= 520
    for epoch, offset, missed in (
        (now["epoch"], last, 0),
        (now["epoch"], last - 1, 1),
        (now["epoch"], last - 500, 500),
        (now["epoch"], last - 501, None),
        (now["epoch"], 0, None),
        (now["epoch"], last + 1, None),
        ("another", last - 1, None),
    ):
        async with listening(filled, "/ws/events" + place_of({"epoch": epoch, "offset": offset})) as client:
            told = await client.first("subscribed")
            assert told == {
                "type": "subscribed",
                "topic": "events",
                "epoch": now["epoch"],
                "offset": last,
                "recovered": missed is not None,
            }
            if missed:
                await client.first("event", offset=last)
            seen = [message["offset"] for message in client.all("event")]
            assert seen == list(range(last - (missed or 0) + 1, last + 1))


class Reader:
    """An SSE client over a plain HTTP connection of the standard library."""

    def __init__(self, server: ServerProcess, topic: str, last_event_id: str | None = None) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self.connection.request("GET", f"/sse/{topic}", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        self.source = EventSource()

    def read(self, count: int) -> list[Any]:
        """The first *count* events."""
        while len(self.source.events) < count:
            line = self.response.readline()
            assert line, self.source
            self.source.feed(line)
        return self.source.events[:count]


def test_server_sent_events_resume_across_a_restart(make_server):
    """Contract section 3, SSE."""
    server: ServerProcess = make_server({"server": {"drain_window": 1.0}})
    server.start()
    reader = Reader(server, "events")
    reader.read(1)
    first = server.post_event("first")
    seen = reader.read(2)[-1]
    assert seen.json()["data"] == first
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    reader.source.feed(reader.response.read())
    assert reader.source.retry is not None  # when to come back
    reader.connection.close()
    assert server.wait() == 0
    assert time.monotonic() - began < 5
    server.start()
    second = server.post_event("second")
    back = Reader(server, "events", seen.last_event_id)
    told, missed = back.read(2)
    assert told.json()["recovered"]
    assert missed.json()["data"] == second
    back.connection.close()
    assert server.stop() == 0
    assert not server.complaints()
