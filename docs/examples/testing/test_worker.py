"""A tree as a fixture of pytest-trio, and what can be asserted of it."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from supervisors import Backoff, ChildSpec, SupervisorSpec
from supervisors.testing import RunningTree, running


async def worker() -> None:
    await trio.sleep_forever()


@pytest.fixture
async def tree() -> AsyncIterator[RunningTree]:
    spec = SupervisorSpec([ChildSpec("worker", worker, backoff=Backoff(first=1.0, maximum=8.0))])
    async with running(spec, random=lambda: 1.0) as tree:
        yield tree


@pytest.mark.trio
async def test_the_delays_double(tree: RunningTree, autojump_clock: MockClock) -> None:
    for generation in range(1, 5):
        await tree.wait_for_generation("worker", generation)
        tree.crash("worker", RuntimeError("on purpose"))
    await tree.wait_for_generation("worker", 5)
    assert tree.starts("worker") == [0, 0, 1, 3, 7]


@pytest.mark.trio
async def test_it_is_healthy_again_after_five_seconds(tree: RunningTree, autojump_clock: MockClock) -> None:
    await tree.crash_and_wait("worker", RuntimeError("on purpose"))
    assert tree.find("worker").health == "degraded"
    await tree.wait_for_health("worker", "ok")
    assert trio.current_time() == 5
    assert tree.story[-1] == "health_changed worker"
