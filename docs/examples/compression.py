"""What compression saves and costs for messages of your own: ``python compression.py [FILE ...]``, each holding one."""

import random
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.compression import deflate, inflate

chance = random.Random(1)


def reading() -> dict[str, object]:
    """One of many that look alike and are not the same, as in a dashboard's message."""
    return {
        "sensor": f"hall-{chance.randrange(100)}/{chance.choice(['temperature', 'humidity', 'co2'])}",
        "value": round(chance.uniform(0, 1000), 2),
        "at": f"12:{chance.randrange(60):02}:{chance.uniform(0, 60):06.3f}",
    }


def message(size: int) -> bytes:
    """An event of about *size* bytes, as it is published."""
    event = {"event_id": f"{chance.getrandbits(128):032x}", "type": "readings", "timestamp": "2026-01-01T00:00:00Z"}
    readings = [reading()]
    while len(encoded := messages.published("event", "events", 12_345, {**event, "data": readings})) < size:
        readings.append(reading())
    return encoded


def microseconds(work: Callable[[], object], seconds: float = 0.05, rounds: int = 5) -> float:
    """What *work* takes in its quickest round, in processor time."""
    best = float("inf")
    for _ in range(rounds):
        count, began = 0, time.process_time()
        while (spent := time.process_time() - began) < seconds:
            work()
            count += 1
        best = min(best, spent / count)
    return best * 1e6


def main(payloads: list[bytes]) -> None:
    print("  bytes  compressed   saved  compress, us  inflate, us")
    for payload in payloads:
        frame = frames.text(payload)
        plain, small = len(frame.data), len(frame.deflated)
        line = f"{plain:7} {small:11} {1 - small / plain:7.0%} {microseconds(partial(deflate, payload)):13.1f}"
        compressed = deflate(payload)
        if compressed is not None:
            line += f" {microseconds(partial(inflate, compressed, len(payload))):12.1f}"
        print(line)
    print(f"Python {sys.version.split()[0]}, zlib {zlib.ZLIB_RUNTIME_VERSION}")


if __name__ == "__main__":
    main([Path(name).read_bytes() for name in sys.argv[1:]] or [message(size) for size in (250, 1000, 4096, 16_384)])
