"""Clients that go on while their server restarts: they post, they listen, and they note what they were put through."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.trio.client import connect

from tests.realtime.server_process import PATIENCE, ServerProcess

from .clients import Closed, News


@attrs.frozen
class Trouble:
    """A request that was not answered with 201, and whether its connection had answered one before."""

    what: str
    reused: bool


class Poster(threading.Thread):
    """Posts one event after the other until it is told to stop; each again and again until it is acknowledged.

    Args:
      keep_alive: over one connection as long as the server keeps it; else over a new one each time.
    """

    def __init__(self, server: ServerProcess, name: str, *, keep_alive: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.acknowledged: list[dict[str, Any]] = []
        self.troubles: list[Trouble] = []
        self.slowest = 0.0
        """Seconds for the answer that took longest, connecting included."""
        self._port = server.port
        self._keep_alive = keep_alive
        self._enough = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        number = 0
        while not self._enough.is_set():
            body = json.dumps({"type": "load", "source": self.name, "data": {"n": number}})
            while not self._post(body):
                time.sleep(0.02)  # a client that is refused tries again, but not at once
            number += 1
        self._hang_up()

    def _post(self, body: str) -> bool:
        reused = self._connection is not None
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        began = time.monotonic()
        try:
            self._connection.request("POST", "/api/events", body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.troubles.append(Trouble(type(error).__name__, reused))
            self._hang_up()
            return False
        self.slowest = max(self.slowest, time.monotonic() - began)
        if response.will_close or not self._keep_alive:
            self._hang_up()
        if response.status == 201:
            self.acknowledged.append(json.loads(text))
            return True
        self.troubles.append(Trouble(f"{response.status} {response.headers['Retry-After']}", reused))
        return False

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def stop(self) -> None:
        """Let it finish the event in hand, and end."""
        self._enough.set()
        self.join(PATIENCE)
        assert not self.is_alive()


@contextmanager
def posting(server: ServerProcess, *, keep_alive: int, fresh: int) -> Iterator[list[Poster]]:
    """So many posters of both kinds."""
    posters = [Poster(server, f"keep-alive-{n}", keep_alive=True) for n in range(keep_alive)]
    posters += [Poster(server, f"fresh-{n}", keep_alive=False) for n in range(fresh)]
    for poster in posters:
        poster.start()
    try:
        yield posters
    finally:
        for poster in posters:
            poster.stop()


@attrs.define(eq=False)
class Returner:
    """A client of ``/ws/events`` by another hand, which comes back exactly when it was told to, each time."""

    server: ServerProcess
    ends: list[Closed] = attrs.field(factory=list)
    attempts: list[float] = attrs.field(factory=list)
    """When it connected, each time, by Trio's clock."""
    opened: list[float] = attrs.field(factory=list)
    """When it was subscribed, each time."""
    failures: list[str] = attrs.field(factory=list)
    events: set[str] = attrs.field(factory=set)
    _news: News = attrs.field(factory=News)

    async def wait_opened(self, times: int) -> None:
        """Wait until it has been subscribed so often."""
        while len(self.opened) < times:
            await self._news.wait()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self.attempts.append(trio.current_time())
            try:
                await self._listen()
            except (OSError, InvalidHandshake, EOFError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                await trio.sleep(0.1)
            except ConnectionClosed as end:
                closed = Closed(1006, "") if end.rcvd is None else Closed(end.rcvd.code, end.rcvd.reason)
                self.ends.append(closed)
                told = re.fullmatch(r"retry-after=(\d+\.\d)", closed.reason)
                await trio.sleep(float(told[1]) if told else 0.1)

    async def _listen(self) -> None:
        url = self.server.ws("/ws/events")
        async with connect(url, proxy=None, ping_interval=None, open_timeout=PATIENCE) as connection:
            while True:
                message = json.loads(await connection.recv(decode=True))
                if message["type"] == "subscribed":
                    self.opened.append(trio.current_time())
                    self._news.tell()
                elif message["type"] == "event":
                    self.events.add(message["data"]["event_id"])


def buckets(times: list[float], width: float) -> list[int]:
    """How many of *times* fall into each *width* seconds, from the first one on."""
    counts = [0] * (int((max(times) - min(times)) / width) + 1)
    for at in times:
        counts[int((at - min(times)) / width)] += 1
    return counts
