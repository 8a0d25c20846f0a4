"""What the fan-out has to reach, as bounds of ratios taken in one run on one machine."""

from __future__ import annotations

from typing import Final

from tests.bench.figures import Goal

CPU: Final = "CPU per delivery (us), {} clients: 256 B, 1 a tick"
RATE: Final = "deliveries/s, 1000 clients: 256 B, 16 a tick"
IDLE: Final = "memory per idle connection (KiB)"

LEVEL: Final = 1.05
"""Level with another: what two runs of the same server differ by."""

PEERS: Final = ("aiohttp", "Node ws", "websockets", "FastAPI", "Socket.IO")
"""Besides picows, which is C where ours is Python."""


def _cpu(than: str, bound: float) -> Goal:
    figure = CPU.format(1000)
    return Goal(f"CPU per delivery, to {than}", ("ours", figure), bound, "at most", (than, figure))


def _latency(percentile: str) -> Goal:
    figure = f"latency {percentile} (ms)"
    return Goal(f"latency {percentile}, to raw", ("ours", figure), 1.2, "at most", ("raw", figure))


GOALS: Final = (
    _cpu("raw", 1.1),
    _cpu("picows", LEVEL),
    *(_cpu(peer, 1.0) for peer in PEERS),
    Goal("16 a tick: deliveries/s, to C with writev", ("ours", RATE), 0.75, "at least", ("C writev", RATE)),
    _latency("p50"),
    _latency("p99"),
    Goal(
        "CPU per delivery, 10 000 clients to 100",
        ("ours", CPU.format(10_000)),
        1.3,
        "at most",
        ("ours", CPU.format(100)),
    ),
    Goal("memory per idle connection (KiB)", ("ours", IDLE), 16.0, "at most"),
    Goal(
        "memory, deflate offered, to not offered",
        ("ours", f"{IDLE}, deflate offered"),
        LEVEL,
        "at most",
        ("ours", IDLE),
    ),
    Goal("connections/s, to aiohttp", ("ours", "connections/s"), 0.5, "at least", ("aiohttp", "connections/s")),
    Goal("connections/s, to FastAPI", ("ours", "connections/s"), 1.0, "at least", ("FastAPI", "connections/s")),
    Goal(
        "10 of 200 stalled: the healthy have all",
        ("ours", "stalled: healthy clients have all (1: yes)"),
        1.0,
        "at least",
    ),
    Goal(
        "10 of 200 stalled: rate, to that without",
        ("ours", "stalled: rate, to that without"),
        0.95,
        "at least",
    ),
    # Ten outboxes of `delivery.mailbox_bytes`, 1 MiB each, if they shared no message; and some for what holds them.
    Goal("10 of 200 stalled: memory growth (MiB)", ("ours", "stalled: memory growth (MiB)"), 12.0, "at most"),
    Goal(
        "10 of 200 stalled: sent away",
        ("ours", "stalled: sent away (share of them)"),
        1.0,
        "at least",
    ),
    # `server.drain_timeout`, 10 s, and what a process takes to end.
    Goal("10 of 200 stalled: stop (s)", ("ours", "stalled: stop (s)"), 10.5, "at most"),
    Goal(
        "the load client is not the limit: deliveries/s, C with writev to ours",
        ("C writev", RATE),
        1.0,
        "at least",
        ("ours", RATE),
    ),
)
