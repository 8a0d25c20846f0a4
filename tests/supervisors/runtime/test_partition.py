"""Children spread over several dynamic supervisors."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from supervisors import (
    ChildRunning,
    ChildSpec,
    DynamicSupervisorSpec,
    NoSuchChild,
    PartitionedRef,
    SupervisorNotRunning,
    SupervisorSpec,
    TooManyChildren,
    WrongKind,
    partitioned,
)
from supervisors.testing import RunningTree, running, virtual_time


async def work() -> None:
    await trio.sleep_forever()


def child(id: str, **options: Any) -> ChildSpec:
    return ChildSpec(id, work, **options)


@asynccontextmanager
async def pools(partitions: int = 4, **options: Any) -> AsyncIterator[tuple[PartitionedRef, RunningTree]]:
    ref = PartitionedRef("pools")
    spec = partitioned(DynamicSupervisorSpec(**options), partitions=partitions)
    async with running(SupervisorSpec([ChildSpec("pools", spec, ref=ref)])) as tree:
        yield ref, tree


@virtual_time
async def test_a_child_is_started_in_the_partition_of_its_id_and_found_by_its_path() -> None:
    async with pools() as (ref, tree):
        await ref.start_child(child("a"))
        ref.start_child_nowait(child("b"))
        for id in ("a", "b"):
            assert tree.find(ref.path_of(id)).state == "running"
        assert ref.path_of("a") == "pools/3/a", "the same in each process and at any time"


@virtual_time
async def test_ids_spread_over_all_partitions() -> None:
    async with pools(8) as (ref, tree):
        for number in range(800):
            ref.start_child_nowait(child(f"c{number}"))
        sizes = [node.children_total for node in tree.find("pools").children or ()]
        assert sum(size or 0 for size in sizes) == 800
        assert min(size or 0 for size in sizes) > 60


@virtual_time
async def test_an_id_is_known_and_stopped_wherever_it_is() -> None:
    async with pools() as (ref, tree):
        await ref.start_child(child("a"))
        with pytest.raises(ChildRunning):
            await ref.start_child(child("a"))
        await ref.terminate_child("a")
        with pytest.raises(NoSuchChild):
            tree.find(ref.path_of("a"))
        with pytest.raises(NoSuchChild):
            await ref.terminate_child("a")


@virtual_time
async def test_queries_answer_for_all_partitions_together() -> None:
    async with pools() as (ref, _):
        for id in "abcdef":
            ref.start_child_nowait(child(id))
        ref.start_child_nowait(ChildSpec("supervisor", SupervisorSpec([])))
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(info.id for info in ref.which_children()) == [*"abcdef", "supervisor"]
        count = ref.count_children()
        assert (count.specs, count.active, count.supervisors, count.workers) == (7, 7, 1, 6)


@virtual_time
async def test_what_a_dynamic_supervisor_refuses_is_refused() -> None:
    async with pools(max_children=1) as (ref, _):
        await ref.start_child(child("a"))
        with pytest.raises(WrongKind):
            await ref.restart_child("a")
        with pytest.raises(WrongKind):
            await ref.delete_child("a")
        same = next(id for id in map(str, range(100)) if ref.path_of(id).startswith("pools/3/"))
        with pytest.raises(TooManyChildren):
            ref.start_child_nowait(child(same))


@virtual_time
async def test_a_partition_that_gives_up_takes_its_own_children_only() -> None:
    async with pools(max_restarts=0) as (ref, tree):
        for number in range(40):
            ref.start_child_nowait(child(f"c{number}"))
        before = Counter(ref.path_of(f"c{number}").split("/")[1] for number in range(40))
        await tree.crash_and_wait(ref.path_of("c0"), RuntimeError("one too many"))
        lost = ref.path_of("c0").split("/")[1]
        await tree.wait_for_generation(f"pools/{lost}", 2)
        assert ref.count_children().specs == 40 - before[lost]


@virtual_time
async def test_while_a_partition_is_down_only_its_ids_are_refused() -> None:
    async with pools() as (ref, tree):
        await tree.stop_child("pools/3")
        with pytest.raises(SupervisorNotRunning, match="'pools/3'"):
            ref.start_child_nowait(child("a"))
        other = next(id for id in map(str, range(100)) if not ref.path_of(id).startswith("pools/3/"))
        await ref.start_child(child(other))
        assert [info.id for info in ref.which_children()] == [other]


@virtual_time
async def test_at_the_root_paths_begin_with_the_partition() -> None:
    async with running(partitioned(DynamicSupervisorSpec(), partitions=2)) as tree:
        ref = PartitionedRef()
        ref.bind(tree._root.supervisor)  # type: ignore[arg-type]
        await ref.start_child(child("a"))
        assert tree.find(ref.path_of("a")).path == ref.path_of("a") == "1/a"
        await tree.stop_child("1")
        with pytest.raises(SupervisorNotRunning, match="'1'"):
            ref.start_child_nowait(child("a"))


@virtual_time
async def test_before_the_tree_runs_nothing_can_be_started() -> None:
    with pytest.raises(SupervisorNotRunning):
        PartitionedRef().start_child_nowait(child("a"))


def test_a_wrong_number_of_partitions_fails_when_built() -> None:
    with pytest.raises(ValueError, match="partitions must be at least 1, got 0"):
        partitioned(DynamicSupervisorSpec(), partitions=0)
