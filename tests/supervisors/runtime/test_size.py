"""What a child takes in memory while it does nothing, by what Python's allocator is asked for."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import Actor, ChildSpec, DynamicSupervisorSpec, Ref, SupervisorRef, SupervisorSpec
from supervisors.runtime.ref import ACTORS
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Echo, one

MANY = 500
BATCHES = 5


class Small(Actor[Any]):
    """Does nothing."""

    async def handle_cast(self, message: Any) -> None:
        pass


async def sleeper() -> None:
    await trio.sleep_forever()


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize(("start", "most"), [(Small, 3600), (sleeper, 3650)])
@virtual_time
async def test_an_idle_child_is_small(start: Callable[[], Awaitable[None]] | type[Actor[Any]], most: int) -> None:
    """Bytes of one: its spec, its record, what Trio needs for a task with a scope, and the stack that it waits in.

    3400 and 3470 were measured. The smallest of several batches counts: a table that grows just then is no child's.
    """
    children = SupervisorRef()
    async with running(one(ChildSpec("pool", DynamicSupervisorSpec(), ref=children))):
        children.start_child_nowait(ChildSpec("first", start, restart="temporary"))
        await wait_all_tasks_blocked()
        tracemalloc.start(1)
        try:
            sizes = []
            for batch in range(BATCHES):
                before = traced()
                for number in range(MANY):
                    children.start_child_nowait(ChildSpec(f"{batch}.{number}", start, restart="temporary"))
                await wait_all_tasks_blocked()
                sizes.append((traced() - before) / MANY)
            # Coverage keeps a little for each frame that it follows.
            assert min(sizes) <= most + (0 if sys.gettrace() is None else 500), sizes
        finally:
            tracemalloc.stop()


@virtual_time
async def test_an_actor_that_is_idle_again_is_as_small_as_before() -> None:
    """Neither a burst of messages nor the room for it is kept."""
    refs: list[Ref[Any]] = [Ref() for _ in range(MANY)]
    tracemalloc.start(1)
    try:
        async with running(SupervisorSpec([ChildSpec(str(number), Small, ref=ref) for number, ref in enumerate(refs)])):
            await wait_all_tasks_blocked()
            before = traced()
            for ref in refs:
                for message in range(3):
                    await ref.cast(message)
            await wait_all_tasks_blocked()
            assert (traced() - before) / MANY <= 16
    finally:
        tracemalloc.stop()


@virtual_time
async def test_the_runtime_forgets_an_actor_that_has_ended_in_whatever_way() -> None:
    async with running(SupervisorSpec([ChildSpec("a", Echo), ChildSpec("b", Echo)])) as tree:
        assert sorted(cell.path for cell in ACTORS.values()) == ["a", "b"]
        tree.crash("b", Crash())
        await wait_all_tasks_blocked()
        assert sorted(cell.path for cell in ACTORS.values()) == ["a", "b"]
        await tree.stop_child("b")
        assert [cell.path for cell in ACTORS.values()] == ["a"]
    assert not ACTORS


@virtual_time
async def test_an_actor_that_cannot_be_made_is_forgotten_too() -> None:
    class Broken(Actor[Any]):
        def __init__(self) -> None:
            raise Crash

    children = SupervisorRef()
    async with running(one(ChildSpec("pool", DynamicSupervisorSpec(), ref=children))):
        with pytest.raises(Exception, match="Crash"):
            await children.start_child(ChildSpec("a", Broken, restart="temporary"))
        assert not ACTORS
