"""What an application sees of ``realtime serve`` with its default settings, from a foreign client (`websockets`).

Event to client, from the begin of the POST to the message in each client's hands; memory and processor time for
clients that only listen to the clock; and how many of many connects succeed.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from websockets.asyncio.client import connect

from tests.bench.processes import ServerProcess, free_port, raise_file_limit

CLIENTS: Final = 100
EVENTS: Final = 200
PAUSE: Final = 0.05
"""Seconds between two events: twenty a second."""

IDLE: Final = 20.0
"""Seconds of nothing but the clock."""

CONNECTS: Final = 10_000
AT_ONCE: Final = 50
"""Connects under way at a time."""

PATIENCE: Final = 20.0
"""Seconds for anything that one client waits for."""


@attrs.frozen
class Figure:
    """One figure and its goal; *met* is None where there is none."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def measure(connects: int = CONNECTS) -> list[Figure]:
    """All figures, each group on a server of its own; progress on standard error."""
    raise_file_limit()
    found: list[Figure] = []
    for take in (idle, latency, partial(opening, connects=connects)):
        with serving() as server:
            found += asyncio.run(take(server))
            print(f"{found[-1].name}: {found[-1].value:.2f} {found[-1].unit}", file=sys.stderr, flush=True)
    return found


@contextmanager
def serving() -> Iterator[ServerProcess]:
    """``realtime serve`` in a folder of its own, with the settings that it has by default."""
    with tempfile.TemporaryDirectory() as folder:
        port, log = free_port(), Path(folder, "log")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REALTIME_")}
        environment["REALTIME_SERVER_BIND"] = f"127.0.0.1:{port}"
        command = [str(Path(sysconfig.get_path("scripts"), "realtime")), "serve"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        server = ServerProcess(process, port, log)
        try:
            wait_serving(port)
            yield server
        finally:
            server.stop()


def wait_serving(port: int) -> None:
    """Until it says that it is ready."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if request(port, "GET", "/api/health/ready")[0] == 200:
                return
        except OSError:
            pass  # it does not listen yet
        if time.monotonic() > deadline:
            raise TimeoutError("realtime serve is not ready")
        time.sleep(0.05)


def request(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@asynccontextmanager
async def clients(port: int, path: str) -> AsyncIterator[list[Any]]:
    """`CLIENTS` connections to *path*, each of which has its first message; ``{n}`` in it is their number."""
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(CLIENTS):
            url = f"ws://127.0.0.1:{port}{path.format(n=number)}"
            opened.append(await stack.enter_async_context(connect(url, compression=None)))
        for client in opened:
            await asyncio.wait_for(client.recv(), PATIENCE)
        yield opened


async def idle(server: ServerProcess) -> list[Figure]:
    """Memory and processor time of `CLIENTS` sessions that get the clock and nothing else."""
    before = server.resident_bytes()
    async with clients(server.port, "/ws/idle-{n}") as opened:

        async def listen(client: Any) -> None:
            async for _ in client:
                pass

        listening = [asyncio.create_task(listen(client)) for client in opened]
        await asyncio.sleep(2.0)
        grown = server.resident_bytes() - before
        used = server.cpu_seconds()
        await asyncio.sleep(IDLE)
        used = server.cpu_seconds() - used
        for task in listening:
            task.cancel()
    return [
        Figure(f"memory for {CLIENTS} clients", grown / 1e6, "MB", 10),
        Figure(f"processor, {CLIENTS} clients and a clock of 1 s", 100 * used / IDLE, "% of a core", 2),
    ]


async def latency(server: ServerProcess) -> list[Figure]:
    """From the begin of a POST to the event in the hands of each of `CLIENTS` clients."""
    sent: dict[int, float] = {}
    taken: list[float] = []

    async def listen(client: Any) -> None:
        for _ in range(EVENTS):
            message = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
            taken.append(time.perf_counter() - sent[message["data"]["data"]["n"]])

    async with clients(server.port, "/ws/events") as opened:
        listening = [asyncio.create_task(listen(client)) for client in opened]
        for number in range(EVENTS):
            sent[number] = time.perf_counter()
            await asyncio.to_thread(
                request, server.port, "POST", "/api/events", {"type": "tick", "data": {"n": number}}
            )
            await asyncio.sleep(PAUSE)
        await asyncio.gather(*listening)
    cuts = statistics.quantiles(taken, n=100)
    return [
        Figure(f"event to client, {CLIENTS} clients, p50", 1e3 * cuts[49], "ms"),
        Figure(f"event to client, {CLIENTS} clients, p99", 1e3 * cuts[98], "ms", 100),
    ]


async def opening(server: ServerProcess, connects: int) -> list[Figure]:
    """How many of *connects* connections get their first message, `AT_ONCE` at a time."""
    waiting = iter(range(connects))
    succeeded = 0

    async def one_after_the_other() -> None:
        nonlocal succeeded
        for number in waiting:
            try:
                url = f"ws://127.0.0.1:{server.port}/ws/connect-{number}"
                async with asyncio.timeout(PATIENCE), connect(url, compression=None) as client:
                    await client.recv()
                    succeeded += 1
            except OSError as error:
                print(f"connect {number}: {error!r}", file=sys.stderr)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return [Figure(f"connects that succeed, of {connects}", 100 * succeeded / connects, "%", 99, at_least=True)]


def table(figures: list[Figure]) -> str:
    """The figures in Markdown."""
    lines = ["| what | measured | goal | met |", "|---|---|---|---|"]
    for figure in figures:
        sign = ">=" if figure.at_least else "<="
        goal = "" if figure.goal is None else f"{sign} {figure.goal:g} {figure.unit}"
        met = "" if figure.met is None else "yes" if figure.met else "no"
        lines.append(f"| {figure.name} | {figure.value:.2f} {figure.unit} | {goal} | {met} |")
    return "\n".join(lines)
