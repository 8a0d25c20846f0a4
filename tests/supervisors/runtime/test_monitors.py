"""Monitors: who is told what, when, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Actor,
    Backoff,
    ChildSpec,
    Down,
    DynamicSupervisorSpec,
    Ignore,
    Monitor,
    Ref,
    SupervisorSpec,
)
from supervisors.exits import KILLED, NORMAL, SHUTDOWN, crashed
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Lives, actor, one


class Watcher(Actor[Any]):
    """Monitors what it is told to, and writes down what comes of it."""

    def __init__(self, log: list[Any], first: tuple[Any, ...] = ()) -> None:
        self.log = log
        self.first = first
        self.monitors: dict[Any, Monitor] = {}

    async def on_start(self) -> None:
        for target in self.first:
            self.monitors[target] = self.monitor(target)

    async def handle_call(self, request: Any) -> object:
        return await self.do(request)

    async def handle_cast(self, message: Any) -> None:
        self.log.append(message)
        if not isinstance(message, Down):
            await self.do(message)

    async def do(self, what: Any) -> object:
        match what:
            case ("monitor", target):
                self.monitors[target] = self.monitor(target)
            case ("demonitor", target):
                self.demonitor(self.monitors[target])
            case ("sleep", seconds):
                await trio.sleep(seconds)
            case ("sleep and demonitor", seconds, target):
                await trio.sleep(seconds)
                self.demonitor(self.monitors[target])
            case ("raise", error):
                raise error
        return None


def watcher(log: list[Any], *first: Any, **options: Any) -> tuple[ChildSpec, Ref[Any]]:
    ref: Ref[Any] = Ref("watcher")
    return ChildSpec("watcher", Watcher, (log, first), ref=ref, **options), ref


@pytest.mark.parametrize("by", ["path", "ref"])
@virtual_time
async def test_a_watcher_is_told_once_how_a_life_ended(by: str) -> None:
    log: list[Any] = []
    spec, ref = watcher(log)
    target, target_ref = actor("a")
    error = Crash("x")
    async with running(SupervisorSpec([target, spec])) as tree:
        await ref.call(("monitor", "a" if by == "path" else target_ref))
        await tree.crash_and_wait("a", error)
        await tree.wait_for_generation("a", 2)
        await tree.crash_and_wait("a", error)
        await wait_all_tasks_blocked()
        assert log == [Down("a", 1, crashed(error))]


@virtual_time
async def test_a_restart_of_the_monitored_can_be_monitored_again() -> None:
    log: list[Any] = []
    spec, ref = watcher(log)
    async with running(SupervisorSpec([Lives().spec("a"), spec])) as tree:
        for _ in range(2):
            await ref.call(("monitor", "a"))
            await tree.restart_child("a")
        tree.kill("a")
        await wait_all_tasks_blocked()
    assert log == [Down("a", 1, SHUTDOWN), Down("a", 2, SHUTDOWN)]


@virtual_time
async def test_what_does_not_run_is_down_at_once() -> None:
    log: list[Any] = []
    spec, ref = watcher(log)
    lives = Lives()
    waiting = lives.spec("waiting", fails=range(2, 99), backoff=Backoff(first=60, maximum=60))
    async with running(SupervisorSpec([lives.spec("a"), waiting, spec]), random=lambda: 0.5) as tree:
        await tree.stop_child("a")
        tree.crash("waiting", Crash())
        await tree.wait_for_state("waiting", "backing_off")
        unbound: Ref[Any] = Ref("nobody")
        for target in ("a", "waiting", "no/such/child", "a/below/a/worker", unbound):
            await ref.call(("monitor", target))
        await wait_all_tasks_blocked()
    assert log == [
        Down(path, n, None) for path, n in zip(["a", "waiting", "no/such/child"], [1, 1, 0], strict=True)
    ] + [
        Down("a/below/a/worker", 0, None),
        Down("nobody", 0, None),
    ]


@virtual_time
async def test_a_ref_to_one_that_is_gone_does_not_watch_who_has_its_path_now() -> None:
    log: list[Any] = []
    spec, ref = watcher(log)
    old, old_ref = actor("a", restart="temporary")
    new, _ = actor("a", restart="temporary")
    async with running(SupervisorSpec([ChildSpec("p", DynamicSupervisorSpec()), spec])) as tree:
        await tree.start_child("p", old)
        await tree.stop_child("p/a")
        await tree.start_child("p", new)
        await ref.call(("monitor", old_ref))
        await wait_all_tasks_blocked()
        assert log == [Down("p/a", 0, None)]


@virtual_time
async def test_down_goes_before_the_messages_that_wait() -> None:
    log: list[Any] = []
    spec, ref = watcher(log)
    async with running(SupervisorSpec([Lives().spec("a"), spec])) as tree:
        await ref.call(("monitor", "a"))
        for message in (("sleep", 1), "one", "two"):
            await ref.cast(message)
        await wait_all_tasks_blocked()
        tree.kill("a")
        await trio.sleep(2)
        assert log == [("sleep", 1), Down("a", 1, KILLED), "one", "two"]


@virtual_time
async def test_demonitor_takes_back_what_was_not_handled_yet() -> None:
    log: list[Any] = []
    spec, ref = watcher(log, "a", "b")
    async with running(SupervisorSpec([Lives().spec("a"), Lives().spec("b"), spec])) as tree:
        await ref.cast(("sleep and demonitor", 1, "a"))
        await wait_all_tasks_blocked()
        tree.kill("a")
        tree.kill("b")
        await trio.sleep(2)
        await ref.call(("demonitor", "a"))
        assert [message for message in log if isinstance(message, Down)] == [Down("b", 1, KILLED)]


@virtual_time
async def test_a_cancelled_monitor_tells_nothing() -> None:
    log: list[Any] = []
    spec, ref = watcher(log, "a")
    async with running(SupervisorSpec([Lives().spec("a"), spec])) as tree:
        await ref.call(("demonitor", "a"))
        tree.kill("a")
        await wait_all_tasks_blocked()
        assert log == []


@virtual_time
async def test_monitors_go_with_the_life_that_set_them() -> None:
    """What had been told and not been handled goes as well: the next life did not ask."""
    log: list[Any] = []
    spec, ref = watcher(log)
    async with running(SupervisorSpec([Lives().spec("a"), Lives().spec("b"), spec])) as tree:
        await ref.call(("monitor", "a"))
        await ref.call(("monitor", "b"))
        await ref.cast(("sleep", 1))
        await wait_all_tasks_blocked()
        tree.kill("a")
        await wait_all_tasks_blocked()
        await tree.crash_and_wait("watcher", Crash())
        await tree.wait_for_generation("watcher", 2)
        tree.kill("b")
        await wait_all_tasks_blocked()
        assert log == [("sleep", 1)]


@virtual_time
async def test_monitors_set_while_starting_are_told_once_it_is_up() -> None:
    log: list[Any] = []
    spec, _ = watcher(log, "nobody", "a")
    async with running(SupervisorSpec([Lives().spec("a"), spec])) as tree:
        await wait_all_tasks_blocked()
        assert log == [Down("nobody", 0, None)]
        tree.kill("a")
        await wait_all_tasks_blocked()
        assert log[1:] == [Down("a", 1, KILLED)]


@pytest.mark.parametrize("declines", [True, False])
@virtual_time
async def test_a_child_that_is_starting_is_waited_for(declines: bool) -> None:
    error: Exception = Ignore() if declines else Crash("no")

    async def slow(task_status: Any) -> None:
        await trio.sleep(3)
        raise error

    log: list[Any] = []
    spec, ref = watcher(log)
    async with running(SupervisorSpec([ChildSpec("p", DynamicSupervisorSpec()), spec])) as tree:
        tree.supervisor("p").start_child_nowait(ChildSpec("slow", slow))
        await ref.call(("monitor", "p/slow"))
        assert log == []
        await trio.sleep(4)
        assert log == [Down("p/slow", 0, NORMAL if declines else crashed(error))]


@virtual_time
async def test_it_is_only_for_the_actors_own_task() -> None:
    outside: list[Actor[Any]] = []

    class Leaks(Actor[Any]):
        async def on_start(self) -> None:
            outside.append(self)

    async with running(one(ChildSpec("a", Leaks))):
        with pytest.raises(RuntimeError, match=r"monitor\(\) is for an actor's own methods"):
            outside[0].monitor("a")


@virtual_time
async def test_without_monitors_the_tree_has_no_hook_for_them() -> None:
    log: list[Any] = []
    spec, ref = watcher(log)
    async with running(SupervisorSpec([Lives().spec("a"), Lives().spec("b"), spec])) as tree:
        before = len(tree._context._hooks)
        for target in ("a", "b", "a"):
            await ref.call(("monitor", target))
        assert len(tree._context._hooks) == before + 1
        tree.kill("a")
        await ref.call(("demonitor", "b"))
        await wait_all_tasks_blocked()
        assert len(tree._context._hooks) == before


# ------------------------------------------------------------------- plain tasks


@virtual_time
async def test_any_task_can_wait_for_an_exit() -> None:
    error = Crash()
    began = trio.current_time()

    async def fails_later() -> None:
        await trio.sleep(5)
        raise error

    spec, ref = actor("gone")
    async with running(SupervisorSpec([ChildSpec("a", fails_later), spec])) as tree:
        assert await tree.wait_exit("a") == Down("a", 1, crashed(error))
        assert trio.current_time() - began == 5
        await tree.stop_child("gone")
        assert await tree.wait_exit(ref) == Down("gone", 1, None)


@virtual_time
async def test_a_monitor_as_a_block_misses_nothing() -> None:
    async with running(one(Lives().spec("a"))) as tree:
        with tree.monitor("a") as monitor:
            await tree.restart_child("a")
            await tree.restart_child("a")
            assert await monitor.wait() == Down("a", 1, SHUTDOWN)
        with tree.monitor("a") as monitor:
            pass
        tree.kill("a")
        await wait_all_tasks_blocked()
        assert monitor.down is None


@virtual_time
async def test_the_end_of_the_root_is_told_too() -> None:
    async with running(one(Lives().spec("a"))) as tree, trio.open_nursery() as nursery:
        nursery.start_soon(tree.stop)
        down = await tree.wait_exit("")
    assert down == Down("", 1, SHUTDOWN)
