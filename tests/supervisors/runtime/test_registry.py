"""Names and groups of actors, and what becomes of them when an actor crashes, stops or comes back."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from supervisors import (
    Actor,
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    MailboxClosed,
    NameTaken,
    Ref,
    Registry,
    StartError,
    SupervisorSpec,
)
from supervisors.runtime.kept import Kept
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, actor


class Named(Actor[Any]):
    """Registers itself as it starts, which takes *seconds*."""

    def __init__(self, registry: Registry, name: str, seconds: float = 0.0, group: str = "all") -> None:
        self.registry, self.name, self.seconds, self.group = registry, name, seconds, group

    async def on_start(self) -> None:
        self.registry.register(self.name, self.context.ref)
        self.registry.join(self.group, self.context.ref)
        await trio.sleep(self.seconds)


@virtual_time
async def test_a_name_leads_to_the_actor_over_a_restart() -> None:
    registry = Registry()
    spec, ref = actor("a")
    async with running(SupervisorSpec([spec])) as tree:
        assert registry.whereis("x") is None
        registry.register("x", ref)
        registry.register("x", ref)
        await tree.crash_and_wait("a", Crash())
        assert registry.whereis("x") is ref
        await tree.wait_for_generation("a", 2)
        assert registry.whereis("x") is ref
        assert registry.names() == {"x": ref}
        await tree.stop_child("a")
        assert registry.whereis("x") is None
        assert registry.names() == {}


@virtual_time
async def test_a_name_is_kept_while_the_restart_is_delayed_and_free_once_it_is_given_up() -> None:
    registry = Registry()
    spec = ChildSpec("a", Named, (registry, "x"), backoff=Backoff(first=8, maximum=8, max_failures=3))
    async with running(SupervisorSpec([spec]), random=lambda: 0.5) as tree:
        for _ in range(2):
            await tree.crash_and_wait("a", Crash())
            assert registry.whereis("x") is not None
            await tree.wait_for_state("a", "running")
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "failed")
        assert registry.whereis("x") is None


@virtual_time
async def test_a_name_is_unique_and_the_error_says_who_has_it() -> None:
    registry = Registry()
    (first, first_ref), (second, second_ref) = actor("first"), actor("second")
    async with running(SupervisorSpec([first, second])) as tree:
        registry.register("x", first_ref)
        with pytest.raises(NameTaken, match="the name 'x' is taken by 'first'") as caught:
            registry.register("x", second_ref)
        assert (caught.value.name, caught.value.path) == ("x", "first")
        await tree.stop_child("first")
        registry.register("x", second_ref)
        assert registry.whereis("x") is second_ref


@virtual_time
async def test_an_actor_that_is_started_again_has_its_name_back_unless_it_was_taken() -> None:
    registry = Registry()
    (first, first_ref), (second, second_ref) = actor("first"), actor("second")
    async with running(SupervisorSpec([first, second])) as tree:
        for name in ("x", "y"):
            registry.register(name, first_ref)
        await tree.stop_child("first")
        registry.register("x", second_ref)
        await tree.start_again("first")
        assert registry.names() == {"x": second_ref, "y": first_ref}
        await tree.stop_child("second")
        await tree.restart_child("first")
        assert registry.names() == {"x": first_ref, "y": first_ref}


@virtual_time
async def test_a_name_outlives_the_restart_of_a_group_and_of_a_supervisor() -> None:
    registry = Registry()
    (a, ref), (b, _) = actor("a"), actor("b")
    inner = ChildSpec("s", SupervisorSpec([a, b], strategy="one_for_all"))
    async with running(SupervisorSpec([inner])) as tree:
        registry.register("x", ref)
        registry.join("g", ref)
        for path in ("s/b", "s"):
            await tree.crash_and_wait(path, Crash())
            await wait_all_tasks_blocked()
            assert registry.whereis("x") is ref
            assert registry.members("g") == (ref,)


@virtual_time
async def test_an_actor_that_registers_itself_is_found_once_it_is_up() -> None:
    registry = Registry()
    began = trio.current_time()
    async with running(SupervisorSpec([ChildSpec("p", DynamicSupervisorSpec())])) as tree:
        pool = tree.supervisor("p")
        pool.start_child_nowait(ChildSpec("a", Named, (registry, "x", 3)))
        await wait_all_tasks_blocked()
        assert registry.whereis("x") is None
        with pytest.raises(StartError, match="taken by 'p/a'"):  # though it is not up yet
            await pool.start_child(ChildSpec("b", Named, (registry, "x")))
        assert (await registry.wait_for("x")).path == "p/a"
        assert trio.current_time() - began == 3


@virtual_time
async def test_a_start_that_fails_leaves_no_name() -> None:
    registry = Registry()

    class Failing(Named):
        async def on_start(self) -> None:
            await super().on_start()
            raise Crash

    for concurrent in (True, False):
        pool = ChildSpec("p", DynamicSupervisorSpec(concurrent=concurrent))
        async with running(SupervisorSpec([pool])) as tree:
            for path in ("p", ""):
                with pytest.raises(StartError):
                    await tree.start_child(path, ChildSpec("a", Failing, (registry, "x")))
                assert (registry.holders, registry.groups()) == ({}, ())


@virtual_time
async def test_waiting_for_a_name_is_a_checkpoint_and_can_be_given_up() -> None:
    registry = Registry()
    spec, ref = actor("a")
    async with running(SupervisorSpec([spec])):
        with trio.move_on_after(1) as scope:
            await registry.wait_for("x")
        assert scope.cancelled_caught
        assert registry._waiting == {}
        registry.register("x", ref)
        with assert_checkpoints():
            assert await registry.wait_for("x") is ref


@virtual_time
async def test_all_who_wait_for_a_name_are_woken_and_a_name_lost_meanwhile_is_waited_for() -> None:
    registry = Registry()
    spec, ref = actor("a")
    found: list[float] = []
    began = trio.current_time()

    async def wait() -> None:
        assert await registry.wait_for("x") is ref
        found.append(trio.current_time() - began)

    async with running(SupervisorSpec([spec])), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.sleep(1)
        registry.register("x", ref)
        registry.unregister("x")
        await trio.sleep(1)
        registry.register("x", ref)
    assert found == [2, 2]


@virtual_time
async def test_only_what_runs_can_be_registered() -> None:
    registry = Registry()
    spec, ref = actor("a")
    unbound: Ref[Any] = Ref("unbound")
    async with running(SupervisorSpec([spec])) as tree:
        await tree.stop_child("a")
        for dead in (ref, unbound):
            with pytest.raises(MailboxClosed):
                registry.register("x", dead)
            with pytest.raises(MailboxClosed):
                registry.join("x", dead)
            registry.leave("x", dead)
        registry.unregister("x")


@virtual_time
async def test_what_is_given_back_stays_so_over_a_restart() -> None:
    registry = Registry()
    spec, ref = actor("a")
    async with running(SupervisorSpec([spec])) as tree:
        registry.register("x", ref)
        registry.join("g", ref)
        registry.unregister("x")
        registry.leave("g", ref)
        await tree.restart_child("a")
        assert (registry.names(), registry.groups(), registry.members("g")) == ({}, (), ())


@virtual_time
async def test_groups_have_members_in_the_order_of_joining() -> None:
    registry = Registry()
    pairs = [actor(id) for id in "abc"]
    refs = [ref for _, ref in pairs]
    async with running(SupervisorSpec([spec for spec, _ in pairs])) as tree:
        for ref in reversed(refs):
            registry.join("g", ref)
            registry.join("g", ref)
        registry.join("h", refs[0])
        assert registry.members("g") == (refs[2], refs[1], refs[0])
        assert registry.groups() == ("g", "h")
        registry.leave("g", refs[2])
        await tree.stop_child("b")
        assert registry.members("g") == (refs[0],)


@virtual_time
async def test_two_registries_know_nothing_of_each_other() -> None:
    one, other = Registry(), Registry()
    spec, ref = actor("a")
    async with running(SupervisorSpec([spec])):
        one.register("x", ref)
        assert other.whereis("x") is None
        other.register("x", ref)
        one.unregister("x")
        assert other.whereis("x") is ref


@virtual_time
async def test_nothing_is_left_of_many_that_came_and_went() -> None:
    registry = Registry()
    async with running(SupervisorSpec([ChildSpec("p", DynamicSupervisorSpec())])) as tree:
        for number in range(100):
            spec = ChildSpec(f"n{number}", Named, (registry, f"x{number}"), restart="temporary")
            await tree.start_child("p", spec)
        assert len(registry.members("all")) == 100
        for number in range(100):
            await tree.stop_child(f"p/n{number}")
        assert (registry.holders, registry.joined) == ({}, {})
        tree.recorder.clear()
        del spec
        gc.collect()
        assert len([kept for kept in gc.get_objects() if isinstance(kept, Kept)]) <= 1
