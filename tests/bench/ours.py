"""The cases of :mod:`tests.bench.supervisors`, for this package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import Actor, ChildSpec, DynamicSupervisorSpec, Ref, SupervisorRef, SupervisorSpec, open_tree
from tests.bench.supervisors import (
    CALLERS,
    CALLS,
    CASTS,
    CRASHES,
    CROWD,
    IDLE,
    calls_per_second,
    resident_bytes,
    settled,
    sleeper,
)


class Echo(Actor[int]):
    """Answers what it is asked."""

    async def handle_call(self, request: object) -> object:
        return request

    async def handle_cast(self, message: object) -> None:
        pass


async def calls(callers: int) -> float:
    ref: Ref[int] = Ref()
    count = CALLS // callers
    async with open_tree(SupervisorSpec([ChildSpec("echo", Echo, ref=ref)])):

        async def caller() -> None:
            for number in range(count):
                await ref.call(number)

        return await calls_per_second(caller, callers)


async def cast() -> float:
    ref: Ref[int] = Ref()
    async with open_tree(SupervisorSpec([ChildSpec("echo", Echo, ref=ref)])):
        began = perf_counter()
        for number in range(CASTS):
            try:
                ref.cast_nowait(number)
            except trio.WouldBlock:
                await ref.cast(number)
        await ref.call(0)  # behind them all
        return CASTS / (perf_counter() - began)


async def start() -> float:
    children = SupervisorRef()
    async with open_tree(SupervisorSpec([ChildSpec("pool", DynamicSupervisorSpec(), ref=children)])):
        began = perf_counter()
        for number in range(IDLE):
            children.start_child_nowait(ChildSpec(str(number), sleeper, restart="temporary"))
        await wait_all_tasks_blocked()
        return IDLE / (perf_counter() - began)


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

    began = perf_counter()
    async with open_tree(SupervisorSpec([ChildSpec("worker", worker)], max_restarts=CRASHES)):
        await done.wait()
        return (perf_counter() - began) / CRASHES * 1e6


async def stop(child: Callable[[], Awaitable[None]] | type[Actor[int]]) -> float:
    children = SupervisorRef()
    async with open_tree(SupervisorSpec([ChildSpec("pool", DynamicSupervisorSpec(), ref=children)])) as tree:
        for number in range(CROWD):
            children.start_child_nowait(ChildSpec(str(number), child, restart="temporary"))
        await settled()
        began = perf_counter()
        await tree.stop()
        return perf_counter() - began


async def memory(child: Callable[[], Awaitable[None]] | type[Actor[int]]) -> float:
    children = SupervisorRef()
    async with open_tree(SupervisorSpec([ChildSpec("pool", DynamicSupervisorSpec(), ref=children)])):
        before = resident_bytes()
        for number in range(IDLE):
            children.start_child_nowait(ChildSpec(str(number), child, restart="temporary"))
        await wait_all_tasks_blocked()
        return (resident_bytes() - before) / IDLE


CASES: dict[str, Callable[[], Awaitable[float]]] = {
    "call, one caller": partial(calls, 1),
    "call, 1000 callers": partial(calls, CALLERS),
    "cast": cast,
    "start of a dynamic child": start,
    "crash to running again": crash,
    "stop of 100 000 actors": partial(stop, Echo),
    "stop of 100 000 functions": partial(stop, sleeper),
    "memory of an idle actor": partial(memory, Echo),
    "memory of an idle dynamic child": partial(memory, sleeper),
}
