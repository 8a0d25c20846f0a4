"""``python -m tests.bench fanout``: what a message to many WebSocket clients costs, beside floors and other servers.

Each server is a process of its own, pinned to one core; the load client, in C, is pinned to another. The servers take
turns, so that each pair of runs sees much the same of a machine that others use as well; ratios are taken pair by
pair. A tick is published when every client has got the one before: no server gains by falling behind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from tests.bench.contenders import CONTENDERS, Contender
from tests.bench.figures import Runs
from tests.bench.goals import PEERS
from tests.bench.processes import BenchError, LoadClient, ServerProcess

Measured = Iterator[tuple[str, float | None]]
"""Pairs of a figure's name and its value, in the order in which they come; None: it could not be done."""

SIZES: Final = (256, 4096)
PER_TICK: Final = (1, 16)
LARGEST_TICK: Final = 256 * 1024 * 1024
"""Bytes to all clients together that the kernel is asked to hold at a time."""

IDLE: Final = 5000
CROWD: Final = 10_000
WARM: Final = 100
"""Connections before the first one whose memory counts: by then everything is imported."""

SETTLE: Final = 1.0
"""Seconds after opening, before memory is read."""

STALLED_CLIENTS: Final = (200, 10)
STALLED_BYTES: Final = 1024
STALLED_SECONDS: Final = 90.0
"""For all messages while everybody reads."""
STALLED_PATIENCE: Final = (2.0, 5.0)
"""Times as long, and seconds more, beside those that never read; who is slower than that has stalled the others."""

STALLED_WAIT: Final = 15.0
"""Seconds for a server to send its stalled clients away; ours takes `write_timeout` for it, 10 s."""

MIB: Final = 1024 * 1024


@attrs.frozen
class Scale:
    """How long the measurements take."""

    seconds: float = 0.6
    """Of ticks, one after the other, for each size and number."""
    paced: int = 30
    """Messages, at ten a second."""
    stalled: int = 20_000
    """Messages to the crowd of which some never read."""


QUICK: Final = Scale(seconds=0.3, paced=10, stalled=5000)


@attrs.frozen
class Visit:
    """One start of a server, and all that is measured of it then.

    Attributes:
      always: the servers that a goal compares by it; the others are there to be looked at, not in every round.
      every: the rounds in which those take part: the first of so many.
      floors: whether the floors can do it.
    """

    name: str
    measure: Callable[[Contender, Scale], Measured]
    always: tuple[str, ...] = ("ours",)
    every: int = 5
    floors: bool = True

    def takes_part(self, server: str, pair: int) -> bool:
        """Whether *server* is measured in round *pair*."""
        if server in FLOORS and not self.floors:
            return False
        return server in self.always or pair % self.every == 0


def fan_out(contender: Contender, scale: Scale, clients: int) -> Measured:
    """Cost and rate of a delivery, by size and by messages a tick."""
    with contender.run() as (server, client):
        open_all(client, clients)
        for size in SIZES:
            for per in PER_TICK:
                if clients * size * per > LARGEST_TICK:
                    continue
                name = f"{clients} clients: {size} B, {per} a tick"
                client("rounds", size, per, 0.2, 3)
                before = server.cpu_seconds()
                answer = client("rounds", size, per, scale.seconds, 1_000_000)
                cpu = server.cpu_seconds() - before
                if not answer["complete"]:
                    raise BenchError(f"{name}: not all got all: {answer['trouble']}")
                yield f"CPU per delivery (us), {name}", cpu / answer["messages"] * 1e6
                yield f"deliveries/s, {name}", answer["messages"] / answer["seconds"]
                yield f"share of a core, client, {name}", answer["client_cpu"]
                yield f"share of a core, server, {name}", cpu / answer["seconds"]


def latency(contender: Contender, scale: Scale) -> Measured:
    """From just before a message is published to its arrival, at ten a second."""
    with contender.run() as (_, client):
        open_all(client, 1000)
        client("rounds", 256, 1, 0.2, 3)
        answer = client("paced", 256, 1, 100, scale.paced)
        if not answer["complete"]:
            raise BenchError(f"not all got all: {answer['trouble']}")
        yield "latency p50 (ms)", answer["p50_ms"]
        yield "latency p99 (ms)", answer["p99_ms"]


def memory(contender: Contender, scale: Scale, deflate: bool) -> Measured:
    """Of an idle connection."""
    with contender.run(deflate=deflate) as (server, client):
        yield f"memory per idle connection (KiB){', deflate offered' * deflate}", idle(server, client, IDLE) / 1024


def crowd(contender: Contender, scale: Scale) -> Measured:
    """Ten thousand on one process: idle, then one message to all."""
    with contender.run() as (server, client):
        yield f"memory per idle connection (KiB), {CROWD} connections", idle(server, client, CROWD) / 1024
        before = server.cpu_seconds()
        answer = client("paced", 256, 1, 1000, 1)
        if not answer["complete"]:
            raise BenchError(f"not all got it: {answer['trouble']}")
        yield f"one message to {CROWD}: all have it after (ms)", answer["max_ms"]
        yield f"one message to {CROWD}: server CPU (ms)", (server.cpu_seconds() - before) * 1e3


def opening(contender: Contender, scale: Scale) -> Measured:
    """Connections opened, up to 64 handshakes at a time."""
    with contender.run() as (server, client):
        open_all(client, WARM)
        before = server.cpu_seconds()
        answer = open_all(client, 2000 + WARM)
        yield "connections/s", answer
        yield "CPU per connection opened (us)", (server.cpu_seconds() - before) / 2000 * 1e6


def stalled(contender: Contender, scale: Scale) -> Measured:
    """The same without and with clients that never read; then the end of those, and of the server."""
    clients, stalling = STALLED_CLIENTS
    with contender.run() as (_, client):
        open_all(client, clients)
        alone = client("rounds", STALLED_BYTES, 1, STALLED_SECONDS, scale.stalled)
        if not alone["complete"]:
            raise BenchError(f"not all got all, and everybody read: {alone['trouble']}")
    with contender.run() as (server, client):
        open_all(client, clients, stalling)
        client("rounds", STALLED_BYTES, 1, 0.2, 10)
        before = server.resident_bytes()
        server.forget_peak()
        times, more = STALLED_PATIENCE
        beside = client("rounds", STALLED_BYTES, 1, times * alone["seconds"] + more, alone["rounds"])
        have_all = beside["complete"] and beside["least"] == beside["most"] and beside["rounds"] == alone["rounds"]
        yield "stalled: healthy clients have all (1: yes)", float(have_all)
        yield "stalled: rate, to that without", alone["seconds"] / beside["seconds"] if have_all else None
        yield "stalled: memory growth (MiB)", (server.peak_bytes() - before) / MIB
        if have_all:
            ends = client("stalled", STALLED_WAIT)
            yield "stalled: sent away (share of them)", (ends["closed_4000"] + ends["reset"]) / ends["of"]
    yield "stalled: stop (s)", stop_with_stalled(contender, scale)


def stop_with_stalled(contender: Contender, scale: Scale) -> float | None:
    """Seconds from SIGTERM to the end, while some clients do not read; None: it had to be killed."""
    with contender.run() as (server, client):
        open_all(client, *STALLED_CLIENTS)
        client("rounds", STALLED_BYTES, 1, 5.0, 2000)
        return server.stop()


def open_all(client: LoadClient, clients: int, stalling: int = 0) -> float:
    """Open connections up to *clients*; return how many a second.

    Raises:
      BenchError: not all could be opened.
    """
    answer = client("open", clients, stalling)
    if answer["failed"] or answer["open"] + answer["stalled"] != clients:
        raise BenchError(f"{answer['open']} of {clients} connections are open: {answer['trouble']}")
    rate: float = answer["per_second"]
    return rate


def idle(server: ServerProcess, client: LoadClient, clients: int) -> float:
    """Bytes of the server for each of *clients* connections that do nothing."""
    open_all(client, WARM)
    time.sleep(SETTLE)
    before = server.resident_bytes()
    open_all(client, clients + WARM)
    time.sleep(SETTLE)
    return (server.resident_bytes() - before) / clients


def _of(clients: int) -> Callable[[Contender, Scale], Measured]:
    return lambda contender, scale: fan_out(contender, scale, clients)


FLOORS: Final = ("raw", "raw joined", "C writev")

VISITS: Final = (
    Visit("fan-out to 1000", _of(1000), ("ours", "raw", "C writev", "picows", *PEERS)),
    Visit("latency", latency, ("ours", "raw")),
    Visit("fan-out to 100", _of(100), ("ours", "raw")),
    Visit("fan-out to 10 000", _of(10_000), ("ours", "raw")),
    Visit("memory", lambda contender, scale: memory(contender, scale, False)),
    Visit("memory, deflate offered", lambda contender, scale: memory(contender, scale, True), floors=False),
    Visit("opening", opening, ("ours", "aiohttp", "FastAPI")),
    Visit("crowd", crowd, ()),
    Visit("stalled", stalled, (), every=10, floors=False),
)


def measure(names: Iterable[str], only: str, pairs: int, scale: Scale) -> Runs:
    """Let the servers *names* take turns at the visits whose name has one of the texts of *only* (``a,b``) in it."""
    runs = Runs()
    contenders = [CONTENDERS[name] for name in names]
    for visit in VISITS:
        if not any(text in visit.name for text in only.split(",")):
            continue
        for pair in range(pairs):
            for contender in contenders:
                if visit.takes_part(contender.name, pair):
                    _measure(runs, visit, contender, pair, scale)
    return runs


def _measure(runs: Runs, visit: Visit, contender: Contender, pair: int, scale: Scale) -> None:
    print(f"{visit.name}, pair {pair + 1}: {contender.name} ...", file=sys.stderr, flush=True)
    try:
        for figure, value in visit.measure(contender, scale):
            runs.add(contender.name, figure, pair, value)
    except BenchError as error:
        runs.fail(contender.name, visit.name, str(error))
        print(f"  failed: {error}", file=sys.stderr, flush=True)
