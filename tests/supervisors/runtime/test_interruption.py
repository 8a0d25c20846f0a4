"""A busy tree is interrupted after any number of turns of the scheduler: nothing is left, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from supervisors import (
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    Ref,
    SupervisorError,
    SupervisorRef,
    SupervisorSpec,
    Tree,
    open_tree,
)
from supervisors.testing import Recorder, assert_no_tasks_left, virtual_time
from tests.supervisors.actors import Crash, Echo


class Busy:
    """A tree in which a start, a stop, a group restart, a failing start, calls and commands overlap."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.calls: Ref[Any] = Ref()
        self.pool = SupervisorRef()
        self.recorder = Recorder()
        self.scope = trio.CancelScope()
        self.answers = 0
        self.tree: Tree
        self.attempts = 0

    async def work(self, id: str, turns: int, *, task_status: Any, stopping: trio.Event) -> None:
        assert id not in self.alive
        self.alive.add(id)
        try:
            await self.turns(turns)
            task_status.started()
            await stopping.wait()
            await self.turns(turns)
        finally:
            self.alive.discard(id)

    async def flaky(self, *, task_status: Any) -> None:
        self.attempts += 1
        await self.turns(2)
        if self.attempts in (2, 3):
            raise Crash
        task_status.started()
        await trio.sleep_forever()

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    def child(self, id: str, turns: int, **options: Any) -> ChildSpec:
        return ChildSpec(id, self.work, (id, turns), **options)

    def spec(self) -> SupervisorSpec:
        group = SupervisorSpec(
            [self.child("a", 1), self.child("b", 3), ChildSpec("flaky", self.flaky), self.child("c", 2)],
            strategy="one_for_all",
            max_restarts=9,
        )
        return SupervisorSpec(
            [
                ChildSpec("echo", Echo, ref=self.calls),
                ChildSpec("group", group),
                ChildSpec("pool", DynamicSupervisorSpec(), ref=self.pool),
                self.child("delayed", 1, backoff=Backoff(first=1.0)),
            ],
            max_restarts=99,
        )

    async def ask(self, request: Callable[[], Awaitable[object]]) -> None:
        try:
            await request()
        except SupervisorError:
            pass  # whatever the answer is: there must be one
        finally:
            self.answers += 1

    async def run(self, interrupt: Callable[[Busy], Awaitable[None]], turns: int) -> None:
        with assert_no_tasks_left():
            async with trio.open_nursery() as nursery:
                with self.scope:
                    try:
                        async with open_tree(self.spec(), on_event=self.recorder, random=lambda: 0.5) as self.tree:
                            asked = self.make_busy(nursery)
                            nursery.start_soon(self.interrupt_after, turns, interrupt)
                            await trio.sleep_forever()
                    except* Crash:
                        pass  # the root was made to
                assert not self.tree.running
        assert self.answers == asked
        assert self.alive == set()
        assert [node.state for node in self.tree.snapshot().walk()] == ["stopped"] * len(
            list(self.tree.snapshot().walk())
        )
        assert self.recorder.story[-1].startswith("exited root")

    def make_busy(self, nursery: trio.Nursery) -> int:
        tree = self.tree
        tree.crash("group/b", Crash())
        tree.crash("delayed", Crash())
        requests: list[Callable[[], Awaitable[object]]] = [
            lambda: self.calls.call(("call", self.calls, "a cycle")),
            lambda: self.calls.call("x"),
            lambda: tree.restart_child("group/a"),
            lambda: tree.stop_child("group/c"),
            lambda: tree.start_child("group", self.child("added", 2)),
            lambda: tree.start_child("pool", self.child("p", 3)),
            lambda: tree.start_child("pool", self.child("q", 1)),
            lambda: tree.stop_child("pool/p"),
            lambda: tree.restart_child("echo"),
            lambda: tree.supervisor("group").in_turn(lambda: None),
        ]
        for request in requests:
            nursery.start_soon(self.ask, request)
        self.pool.start_child_nowait(self.child("r", 5))
        tree.restart_child_soon("delayed")
        return len(requests)

    async def interrupt_after(self, turns: int, interrupt: Callable[[Busy], Awaitable[None]]) -> None:
        await self.turns(turns)
        await interrupt(self)


async def stop(busy: Busy) -> None:
    await busy.tree.stop()


async def stop_at_once(busy: Busy) -> None:
    await busy.tree.stop(deadline=trio.current_time())


async def cancel(busy: Busy) -> None:
    busy.scope.cancel()


async def kill(busy: Busy) -> None:
    busy.tree.kill("")


async def crash(busy: Busy) -> None:
    busy.tree.crash("", Crash("the root"))


async def kill_below(busy: Busy) -> None:
    """A supervisor that is performing commands is killed, and comes back; so does one that starts children."""
    for path in ("group", "pool"):
        if busy.tree.find(path).uptime is not None:
            busy.tree.kill(path)
    await busy.turns(25)
    await busy.tree.stop()


async def crash_below(busy: Busy) -> None:
    for path in ("group", "pool", "echo"):
        if busy.tree.find(path).state == "running":
            busy.tree.crash(path, Crash("below"))
    await busy.turns(10)
    await busy.tree.stop()


async def stop_twice_and_cancel(busy: Busy) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.tree.stop)
        nursery.start_soon(busy.tree.stop)
        await busy.turns(2)
        busy.scope.cancel()


@pytest.mark.parametrize(
    "interrupt", [stop, stop_at_once, cancel, kill, crash, kill_below, crash_below, stop_twice_and_cancel]
)
def test_after_any_number_of_turns(interrupt: Callable[[Busy], Awaitable[None]]) -> None:
    for turns in range(50):

        @virtual_time
        async def run(turns: int = turns) -> None:
            with trio.fail_after(60):
                await Busy().run(interrupt, turns)

        run()
