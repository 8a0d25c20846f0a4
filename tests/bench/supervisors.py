"""What actors and supervisors cost, beside the same thing written by hand in plain Trio.

The floors are what an expert would write for this one purpose, Trio's low-level interface included: no policies, no
counters, no restarts.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import outcome
import trio
from trio.testing import wait_all_tasks_blocked

from tests.bench.runner import Case, Peer, Suite

SUITE = Suite(
    module="tests.bench.supervisors",
    cases=(
        Case("call, one caller", "per second", True, 0.85, ("pykka", "triotp")),
        Case("call, 1000 callers", "per second", True, 0.85, ("triotp",)),
        Case("cast", "per second", True, 0.6, ("pykka", "triotp")),
        Case("start of a dynamic child", "per second", True, None),
        Case("crash to running again", "us", False, 2.0, ("triotp",)),
        Case("stop of 100 000 actors", "s", False, 1.2),
        Case("stop of 100 000 functions", "s", False, 1.2),
        Case("memory of an idle actor", "bytes", False, 0.85),
        Case("memory of an idle dynamic child", "bytes", False, None),
    ),
    peers={
        "pykka": Peer("pykka", ("pykka>=4", "trio", "attrs", "outcome")),
        "triotp": Peer("triotp", ("triotp", "attrs", "outcome")),
    },
)

SIDES = {
    "ours": "tests.bench.ours",
    "pykka": "tests.bench.peers.pykka_peer",
    "triotp": "tests.bench.peers.triotp_peer",
}
"""Imported only where it is measured: each has needs of its own."""

CALLS = 30_000
CASTS = 300_000
CALLERS = 1000
CRASHES = 5000
CROWD = 100_000
IDLE = 20_000


async def sleeper() -> None:
    await trio.sleep_forever()


# Each case waits until all its tasks wait, which one checkpoint does not do: Trio runs a batch forwards or backwards,
# by chance, so that every other time the measuring task came first and measured tasks that had not begun.


async def settled() -> None:
    """Return once all tasks wait and nothing is left for the garbage collector of what made them.

    Else it depends on their number whether the collection that making 100 000 of them has all but called for, of all
    that there is, falls into what is measured next; it takes longer than to stop them.
    """
    await wait_all_tasks_blocked()
    gc.collect()


def resident_bytes() -> int:
    """What this process holds in memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


# --- floors ----------------------------------------------------------------------------------------------------------

low = trio.lowlevel
Request = tuple[object, low.Task]


async def floor_server(inbox: trio.MemoryReceiveChannel[Request]) -> None:
    """Answers each request by waking the task that waits for it, draining the channel at each turn."""
    while True:
        value, task = await inbox.receive()
        low.reschedule(task, outcome.Value(value))
        try:
            while True:
                value, task = inbox.receive_nowait()
                low.reschedule(task, outcome.Value(value))
        except trio.WouldBlock:
            pass


async def floor_calls(callers: int) -> float:
    send, receive = trio.open_memory_channel[Request](2 * callers)

    async def caller() -> None:
        me = low.current_task()
        for number in range(CALLS // callers):
            send.send_nowait((number, me))
            await low.wait_task_rescheduled(lambda _: low.Abort.SUCCEEDED)

    async with trio.open_nursery() as servers:
        servers.start_soon(floor_server, receive)
        rate = await calls_per_second(caller, callers)
        servers.cancel_scope.cancel()
    return rate


async def calls_per_second(caller: Callable[[], Awaitable[None]], callers: int) -> float:
    began = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    return CALLS // callers * callers / (perf_counter() - began)


async def floor_cast() -> float:
    send, receive = trio.open_memory_channel[int](1000)
    done = trio.Event()

    async def server() -> None:
        count = 0
        while count < CASTS:
            await receive.receive()
            count += 1
            try:
                while True:
                    receive.receive_nowait()
                    count += 1
            except trio.WouldBlock:
                pass
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        began = perf_counter()
        for number in range(CASTS):
            try:
                send.send_nowait(number)
            except trio.WouldBlock:
                await send.send(number)
        await done.wait()
        rate = CASTS / (perf_counter() - began)
    return rate  # noqa: RET504 - not inside the nursery


async def floor_start() -> float:
    async with trio.open_nursery() as nursery:
        began = perf_counter()
        for _ in range(IDLE):
            nursery.start_soon(sleeper)
        await wait_all_tasks_blocked()
        rate = IDLE / (perf_counter() - began)
        nursery.cancel_scope.cancel()
    return rate


async def floor_crash() -> float:
    async def worker() -> None:
        await low.checkpoint()
        raise ValueError

    began = perf_counter()
    for _ in range(CRASHES):
        try:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - the boundary is what is measured
                nursery.start_soon(worker)
        except* ValueError:
            pass
    return (perf_counter() - began) / CRASHES * 1e6


async def floor_stop_actors() -> float:
    """Tasks that wait on a channel each, and end when they are told to through it; then nothing of them is left."""
    channels = [trio.open_memory_channel[None](1) for _ in range(CROWD)]

    async def actor(inbox: trio.MemoryReceiveChannel[None]) -> None:
        await inbox.receive()

    async with trio.open_nursery() as nursery:
        for _, receive in channels:
            nursery.start_soon(actor, receive)
        await settled()
        began = perf_counter()
        for send, _ in channels:
            send.send_nowait(None)
    channels.clear()
    return perf_counter() - began


async def floor_stop_functions() -> float:
    scopes = [trio.CancelScope() for _ in range(CROWD)]

    async def worker(scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(worker, scope)
        await settled()
        began = perf_counter()
        for scope in scopes:
            scope.cancel()
    return perf_counter() - began


async def floor_memory_actor() -> float:
    """A task with a channel pair: what an actor is made of by hand."""
    ends = []

    async def actor(inbox: trio.MemoryReceiveChannel[None]) -> None:
        await inbox.receive()

    async with trio.open_nursery() as nursery:
        before = resident_bytes()
        for _ in range(IDLE):
            send, receive = trio.open_memory_channel[None](1000)
            ends.append(send)
            nursery.start_soon(actor, receive)
        await wait_all_tasks_blocked()
        size = (resident_bytes() - before) / IDLE
        nursery.cancel_scope.cancel()
    return size


async def floor_memory_child() -> float:
    async with trio.open_nursery() as nursery:
        before = resident_bytes()
        for _ in range(IDLE):
            nursery.start_soon(sleeper)
        await wait_all_tasks_blocked()
        size = (resident_bytes() - before) / IDLE
        nursery.cancel_scope.cancel()
    return size


FLOORS: dict[str, Callable[[], Awaitable[float]]] = {
    "call, one caller": partial(floor_calls, 1),
    "call, 1000 callers": partial(floor_calls, CALLERS),
    "cast": floor_cast,
    "start of a dynamic child": floor_start,
    "crash to running again": floor_crash,
    "stop of 100 000 actors": floor_stop_actors,
    "stop of 100 000 functions": floor_stop_functions,
    "memory of an idle actor": floor_memory_actor,
    "memory of an idle dynamic child": floor_memory_child,
}


def main(name: str, side: str) -> None:
    """Print the figure *name* of *side*."""
    cases = FLOORS if side == "floor" else importlib.import_module(SIDES[side]).CASES
    print(trio.run(cases[name]))


if __name__ == "__main__":
    main(*sys.argv[1:])
