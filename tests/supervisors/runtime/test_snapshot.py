"""What a snapshot of a running tree says, and how health changes."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Backoff,
    Budget,
    ChildSpec,
    DynamicSupervisorSpec,
    HealthChanged,
    MailboxDepth,
    MailboxSpec,
    SupervisorSpec,
    render,
)
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Lives, actor, one


@virtual_time
async def test_a_node_tells_what_there_is_to_know() -> None:
    lives = Lives()
    spec, ref = actor("echo", restart="transient", mailbox=MailboxSpec(5))
    inner = ChildSpec("s", SupervisorSpec([spec], strategy="rest_for_one", max_restarts=7, max_seconds=9))
    async with running(SupervisorSpec([inner, lives.spec("a")]), id="app") as tree:
        await ref.cast(("sleep", 60))
        await wait_all_tasks_blocked()
        await ref.cast("waits")
        await trio.sleep(12)
        root, supervisor, echo, worker = tree.snapshot().walk()
        assert (root.id, root.path, root.restart, root.kind) == ("app", "", None, "supervisor")
        assert (supervisor.path, supervisor.strategy, supervisor.restart) == ("s", "rest_for_one", "permanent")
        assert supervisor.budget == Budget(7, 9, 7)
        assert (echo.path, echo.kind, echo.restart, echo.uptime) == ("s/echo", "worker", "transient", 12)
        assert echo.mailbox == MailboxDepth(depth=1, capacity=5, dropped=0)
        assert echo.stats == {"handled": 1}
        assert (worker.generation, worker.restarts, worker.mailbox, worker.budget) == (1, 0, None, None)
        assert (worker.children, worker.children_total, worker.next_retry) == (None, None, None)
        await tree.stop(deadline=trio.current_time())


@virtual_time
async def test_the_last_exit_is_kept_with_its_age_and_its_traceback() -> None:
    async with running(one(Lives().spec("a"))) as tree:
        assert tree.find("a").last_exit is None
        await tree.crash_and_wait("a", Crash("the reason"))
        await tree.wait_for_generation("a", 2)
        await trio.sleep(3)
        last = tree.find("a").last_exit
        assert last is not None
        assert last.seconds_ago == 3
        assert last.error == "Crash: the reason"
        assert "Crash: the reason" in (last.traceback or "")


@virtual_time
async def test_figures_come_from_what_the_child_said_when_it_was_up() -> None:
    @attrs.frozen
    class Figures:
        connections: int

    class Server:
        def statistics(self) -> Figures:
            return Figures(3)

    async def serve(*, task_status: trio.TaskStatus[Server]) -> None:
        task_status.started(Server())
        await trio.sleep_forever()

    async with running(one(ChildSpec("a", serve))) as tree:
        assert tree.find("a").stats == {"connections": 3}
        await tree.stop_child("a")
        assert tree.find("a").stats == {}


@virtual_time
async def test_a_failure_degrades_up_to_the_root_until_the_child_has_run_for_its_healthy_uptime() -> None:
    lives = Lives()
    inner = ChildSpec("s", SupervisorSpec([lives.spec("a"), lives.spec("b")]))
    async with running(SupervisorSpec([inner])) as tree:
        tree.crash("s/a", Crash("x"))
        await tree.wait_for_generation("s/a", 2)
        assert [(node.path, node.health) for node in tree.snapshot().walk()] == [
            ("", "degraded"),
            ("s", "degraded"),
            ("s/a", "degraded"),
            ("s/b", "ok"),
        ]
        assert tree.find("s/a").reasons == ("failed a moment ago: Crash: x",)
        assert tree.find("s").reasons == ("s/a is not ok",)
        await tree.wait_for_health("", "ok")
        assert trio.current_time() - lives.began == 5
        changed = [event for event in tree.events if isinstance(event, HealthChanged)]
        assert [(event.path, event.at - lives.began) for event in changed] == [("s/a", 5)]


@virtual_time
async def test_each_failure_begins_the_wait_anew() -> None:
    lives = Lives()
    spec = lives.spec("a", backoff=Backoff(healthy_uptime=10))
    async with running(one(spec), random=lambda: 0.0) as tree:
        for _ in range(3):
            await tree.crash_and_wait("a", Crash())
            await tree.wait_for_state("a", "running")
            await trio.sleep(6)
            assert tree.find("a").health == "degraded"
        await tree.wait_for_health("a", "ok")
        assert trio.current_time() - lives.began == 2 * 6 + 10


@virtual_time
async def test_a_child_waiting_for_its_restart_says_so() -> None:
    spec = Lives().spec("a", fails=range(2, 99), backoff=Backoff(first=60.0, maximum=60.0))
    async with running(one(spec), random=lambda: 0.5) as tree:
        tree.crash("a", Crash())
        node = await tree.wait_for_state("a", "backing_off")
        assert (node.health, node.next_retry, node.uptime) == ("degraded", 30, None)
        assert node.reasons == ("waits to be started again: Crash: a fails to start",)
        await tree.stop_child("a")
        assert tree.find("a").health == "ok"


@virtual_time
async def test_the_budget_that_is_left_comes_back_with_time() -> None:
    async with running(one(Lives().spec("a"))) as tree:
        lefts = []
        for _ in range(3):
            tree.crash("a", Crash())
            await wait_all_tasks_blocked()
            lefts.append(tree.snapshot().budget.left)  # type: ignore[union-attr]
        await trio.sleep(5.001)
        lefts.append(tree.snapshot().budget.left)  # type: ignore[union-attr]
        assert lefts == [2, 1, 0, 3]


@virtual_time
async def test_a_tree_renders_as_text() -> None:
    lives = Lives()
    pool = ChildSpec("pool", DynamicSupervisorSpec())
    async with running(SupervisorSpec([lives.spec("a"), pool, lives.spec("down")])) as tree:
        for number in range(52):
            tree.supervisor("pool").start_child_nowait(lives.spec(f"n{number}", restart="temporary"))
        await trio.sleep(7)
        tree.crash("a", Crash("x"))
        await tree.stop_child("down")
        await wait_all_tasks_blocked()
        lines = render(tree.snapshot()).splitlines()
        assert lines[:4] == [
            "root (running, up 7 s)  [degraded: a is not ok]",
            "  a (running, up 0 s, 1 restarts)  [degraded: failed a moment ago: Crash: x]",
            "  pool (running, up 7 s)",
            "    n0 (running, up 7 s)",
        ]
        assert lines[-2:] == ["    ... and 2 more", "  down (stopped)"]


@pytest.mark.parametrize("spec", [SupervisorSpec(), DynamicSupervisorSpec()], ids=["fixed", "dynamic"])
@virtual_time
async def test_a_snapshot_can_be_taken_after_the_end(spec: SupervisorSpec) -> None:
    async with running(spec) as tree:
        pass
    assert tree.snapshot().state == "stopped"
    assert tree.snapshot().uptime is None


# ------------------------------------------------- a supervisor that cannot end itself


@pytest.mark.parametrize(("others", "degraded"), [(False, True), (True, False)])
@virtual_time
async def test_a_supervisor_that_lost_what_would_have_ended_it_says_so_and_goes_on(
    others: bool, degraded: bool
) -> None:
    """As in OTP: the restart of its group removes a significant temporary child, and that is not its end."""
    lives = Lives()
    children = [lives.spec("a"), lives.spec("job", restart="temporary", significant=True)]
    if others:
        children.append(lives.spec("other", restart="transient", significant=True))
    inner = SupervisorSpec(children, strategy="one_for_all", auto_shutdown="all_significant")
    async with running(one(ChildSpec("s", inner))) as tree:
        await tree.crash_and_wait("s/a", Crash())
        await tree.wait_for_generation("s/a", 2)
        await tree.wait_for_health("s/a", "ok")
        node = tree.find("s")
        assert (node.state, node.health) == ("running", "degraded" if degraded else "ok")
        assert [child.id for child in node.children or ()] == ["a", "other"] if others else ["a"]
        if degraded:
            [reason] = node.reasons
            assert reason.startswith("cannot shut itself down any more: significant child 'job'")
            assert tree.snapshot().reasons == ("s is not ok",)


@pytest.mark.parametrize("remedy", ["another one", "a new life"])
@virtual_time
async def test_it_is_well_again_with_a_new_significant_child(remedy: str) -> None:
    lives = Lives()
    job = lives.spec("job", restart="temporary", significant=True)
    inner = SupervisorSpec([lives.spec("a"), job], strategy="one_for_all", auto_shutdown="any_significant")
    async with running(one(ChildSpec("s", inner))) as tree:
        await tree.crash_and_wait("s/a", Crash())
        await tree.wait_for_generation("s/a", 2)
        await trio.sleep(60)
        assert tree.find("s").health == "degraded"
        await (tree.start_child("s", job) if remedy == "another one" else tree.restart_child("s"))
        assert (tree.find("s").health, tree.snapshot().health) == ("ok", "ok")
