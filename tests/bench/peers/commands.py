"""What the peers share: they publish what a datagram asks for, as the load client counts and times it.

Imports the standard library alone: the peers live in an environment of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


def parse(command: bytes) -> tuple[int, int]:
    """How many messages, of how many bytes each."""
    per, size = command.split()
    return int(per), int(size)


def message(size: int) -> str:
    """JSON of *size* characters with the time at which it was made, for the load client to see how old it is."""
    head = f'{{"at": {time.monotonic_ns()}, "pad": "'
    return head + "x" * (size - len(head) - 2) + '"}'


class _Commands(asyncio.DatagramProtocol):
    def __init__(self, queue: asyncio.Queue[tuple[int, int]]) -> None:
        self._queue = queue

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._queue.put_nowait(parse(data))


async def obey(port: int, broadcast: Callable[[str], Awaitable[None]]) -> None:
    """Call *broadcast* with each message that is asked for, for ever: one tick's in one go."""
    queue: asyncio.Queue[tuple[int, int]] = asyncio.Queue(100)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Commands(queue), local_addr=("127.0.0.1", port))
    while True:
        per, size = await queue.get()
        for _ in range(per):
            await broadcast(message(size))
