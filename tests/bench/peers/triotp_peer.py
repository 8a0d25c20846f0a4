"""The cases of :mod:`tests.bench.supervisors` that triotp has, on the old Trio that it pins."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

import trio
import trio.testing
from triotp import gen_server, mailbox, supervisor

from tests.bench.supervisors import CALLERS, CALLS, CRASHES, calls_per_second

CASTS = 30_000
"""Its mailboxes are unbuffered, so each cast waits for the actor."""

MODULE = sys.modules[__name__]


async def init(_argument: object) -> None:
    """A callback of its generic server: there is no state."""


async def handle_call(message: object, _caller: object, state: object) -> tuple[gen_server.Reply, object]:
    return gen_server.Reply(message), state


async def handle_cast(_message: object, state: object) -> tuple[gen_server.NoReply, object]:
    return gen_server.NoReply(), state


async def with_server(measure: Callable[[], Awaitable[float]]) -> float:
    mailbox._init()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gen_server.start, MODULE, None, "echo")
        await trio.testing.wait_all_tasks_blocked()
        figure = await measure()
        nursery.cancel_scope.cancel()
    return figure


async def calls(callers: int) -> float:
    async def caller() -> None:
        for number in range(CALLS // callers):
            await gen_server.call("echo", number)

    return await with_server(partial(calls_per_second, caller, callers))


async def cast() -> float:
    async def measure() -> float:
        began = perf_counter()
        for number in range(CASTS):
            await gen_server.cast("echo", number)
        await gen_server.call("echo", 0)
        return CASTS / (perf_counter() - began)

    return await with_server(measure)


async def crash() -> float:
    starts = 0
    done = trio.Event()

    async def worker() -> None:
        nonlocal starts
        starts += 1
        await trio.lowlevel.checkpoint()
        if starts < CRASHES:
            raise ValueError
        done.set()
        await trio.sleep_forever()

    specs = [supervisor.child_spec("worker", worker, [], supervisor.restart_strategy.PERMANENT)]
    began = perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.start, specs, supervisor.options(max_restarts=CRASHES + 1, max_seconds=3600))
        await done.wait()
        took = perf_counter() - began
        nursery.cancel_scope.cancel()
    return took / CRASHES * 1e6


CASES: dict[str, Callable[[], Awaitable[float]]] = {
    "call, one caller": partial(calls, 1),
    "call, 1000 callers": partial(calls, CALLERS),
    "cast": cast,
    "crash to running again": crash,
}
