"""The dump of a tree: which node, which tasks, waiting where; and the child that writes one on a signal."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from supervisors import (
    Actor,
    ChildSpec,
    DynamicSupervisorSpec,
    SupervisorRef,
    SupervisorSpec,
    dump,
    dump_on_signal,
    open_tree,
)
from supervisors.runtime import dump as dump_module
from supervisors.testing import running, virtual_time

HERE = __file__


async def wait_here() -> None:
    await trio.sleep_forever()


async def outer(depth: int = 0) -> None:
    if depth:
        await outer(depth - 1)
    else:
        await wait_here()


async def crowd() -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(outer)


def line_of(function: Any, offset: int) -> str:
    code = function.__code__
    return f"{HERE}:{code.co_firstlineno + offset} in {code.co_qualname}"


async def settled(tree: Any) -> str:
    await trio.testing.wait_all_tasks_blocked()
    return dump(tree)


@virtual_time
async def test_each_node_is_told_with_its_state_and_the_await_chain_of_its_tasks() -> None:
    inner = SupervisorSpec([ChildSpec("worker", outer)])
    async with running(SupervisorSpec([ChildSpec("group", inner)])) as tree:
        lines = (await settled(tree)).splitlines()
    root, group, worker = (next(n for n, x in enumerate(lines) if x.lstrip().startswith(f"{name} (running")) for name in
                           ("root", "group", "worker"))  # fmt: skip
    assert root < group < worker
    assert [lines[at].partition("(")[0] for at in (root, group, worker)] == ["root ", "  group ", "    worker "]
    stack = lines[worker + 1 :]
    assert stack[0].startswith("      | stack ")
    assert stack[0].endswith(": 1 task of group/worker")
    chain = [line.lstrip(" |") for line in stack]
    first = chain.index(f"{line_of(outer, 4)}: await wait_here()")
    assert chain[first + 1] == f"{line_of(wait_here, 1)}: await trio.sleep_forever()"
    assert "Child._run" in chain[first - 1]


@virtual_time
async def test_the_supervisors_own_waiting_is_told_at_its_node() -> None:
    async with running(SupervisorSpec([ChildSpec("group", SupervisorSpec([]))])) as tree:
        lines = (await settled(tree)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.lstrip().startswith("group (running"))
    assert "tasks of root, group" in lines[at - 1] or "stack" in lines[at + 1]
    assert any("Loop._serve" in line for line in lines)


@virtual_time
async def test_tasks_in_nurseries_below_a_child_are_the_childs_and_counted() -> None:
    async with running(SupervisorSpec([ChildSpec("crowd", crowd), ChildSpec("other", outer)])) as tree:
        text = await settled(tree)
    assert ": 3 tasks of crowd\n" in text
    assert ": 1 task of other\n" in text


@virtual_time
async def test_a_stack_that_many_share_is_told_once_with_count_and_paths() -> None:
    children = [ChildSpec(f"w{number}", outer) for number in range(8)]
    async with running(SupervisorSpec(children)) as tree:
        text = await settled(tree)
    assert text.count(line_of(wait_here, 1)) == 1
    assert ": 8 tasks of w0, w1, w2, w3, w4, ...\n" in text
    number = text.partition(": 8 tasks of")[0].rpartition("stack ")[2]
    assert text.count(f"| 1 task with stack {number}\n") == 7


@virtual_time
async def test_children_that_are_not_shown_have_their_different_stacks_told_all_the_same() -> None:
    pool = SupervisorRef()
    async with running(SupervisorSpec([ChildSpec("pool", DynamicSupervisorSpec(), ref=pool)])) as tree:
        for number in range(60):
            pool.start_child_nowait(ChildSpec(f"w{number}", outer, (1 if number == 55 else 0,), restart="temporary"))
        text = await settled(tree)
    assert "    ... and 10 more\n" in text
    assert ": 1 task of pool/w55\n" in text
    assert ": 59 tasks of pool/w0, pool/w1, pool/w10, pool/w11, pool/w12, ...\n" in text
    assert "w54" not in text


@virtual_time
async def test_what_is_outside_of_the_tree_comes_last() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_here)
        async with running(SupervisorSpec([ChildSpec("worker", outer)])) as tree:
            text = await settled(tree)
        nursery.cancel_scope.cancel()
    assert text.index("\noutside the tree\n") > text.index("worker (running")
    outside = text.partition("\noutside the tree\n")[2]
    assert line_of(wait_here, 1) in outside
    assert " of outside the tree\n" in outside


@virtual_time
async def test_generators_on_the_way_are_walked_through() -> None:
    async def numbers() -> AsyncIterator[int]:
        await wait_here()
        yield 1

    async def work() -> None:
        async for _ in numbers():
            raise AssertionError("never")

    async with running(SupervisorSpec([ChildSpec("worker", work)])) as tree:
        text = await settled(tree)
    assert text.index("in test_generators_on_the_way_are_walked_through.<locals>.work") < text.index(
        "in test_generators_on_the_way_are_walked_through.<locals>.numbers"
    )
    assert line_of(wait_here, 1) in text


@virtual_time
async def test_a_deep_recursion_is_cut_to_its_innermost_lines() -> None:
    async with running(SupervisorSpec([ChildSpec("deep", outer, (100,))])) as tree:
        text = await settled(tree)
    stack = text.partition("task of deep\n")[2].partition("\noutside the tree\n")[0].splitlines()
    assert len(stack) == 1 + dump_module.FRAMES < 100
    assert stack[0].endswith(" lines left out)")
    assert " in sleep_forever: " in stack[-1]
    assert line_of(wait_here, 1) in text


@virtual_time
async def test_a_dump_has_a_bound() -> None:
    children = [ChildSpec(f"w{number}", outer, (number,)) for number in range(50)]
    async with running(SupervisorSpec(children)) as tree:
        await trio.testing.wait_all_tasks_blocked()
        text = dump(tree, limit=1000)
    assert len(text) < 1100
    assert text.endswith("\n... cut at 1000 characters")


@virtual_time
async def test_what_is_down_is_told_without_stacks() -> None:
    async def work() -> None:
        raise ValueError("no")

    async with running(SupervisorSpec([ChildSpec("worker", work, restart="transient")], max_restarts=9)) as tree:
        tree.restart_child_soon("worker")
        await tree.stop_child("worker")
        text = await settled(tree)
    at = text.index("  worker (stopped")
    assert text[at:].splitlines()[1] == "outside the tree"


async def test_on_a_signal_the_child_writes_a_dump() -> None:
    send, receive = trio.open_memory_channel[str](10)
    trees: list[Any] = []

    def write(text: str) -> None:
        trio.from_thread.run_sync(send.send_nowait, text)

    class Idle(Actor[object]):
        pass

    spec = SupervisorSpec(
        [ChildSpec("dump", dump_on_signal, (lambda: trees[0],), {"write": write}), ChildSpec("idle", Idle)]
    )
    async with open_tree(spec) as tree:
        trees.append(tree)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            with trio.fail_after(5):
                text = await receive.receive()
            assert "  idle (running" in text
            assert "Idle" not in text.partition("idle (running")[0]


async def test_it_takes_a_tree_and_another_signal_and_writes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_tree(SupervisorSpec([])) as tree:
        kwargs = {"signal": signal.SIGUSR2}
        await tree.start_child("", ChildSpec("dump", dump_on_signal, (tree,), kwargs, restart="temporary"))
        os.kill(os.getpid(), signal.SIGUSR2)
        text = ""
        with trio.fail_after(5):
            while not text.endswith("\n"):
                await trio.sleep(0.005)
                text += capsys.readouterr().err
    assert "tasks with" in text
    assert "dump (running" in text


async def test_a_write_that_fails_is_a_crash_of_the_child() -> None:
    def write(text: str) -> None:
        raise OSError("disk full")

    async with running(SupervisorSpec([])) as tree:
        spec = ChildSpec("dump", dump_on_signal, (tree,), {"write": write}, restart="temporary")
        await tree.start_child("", spec)
        os.kill(os.getpid(), signal.SIGUSR1)
        with trio.fail_after(5):
            await tree.wait_until(lambda: "removed dump" in tree.story)
        assert "exited dump crashed" in tree.story
