"""Stopping: reverse order, deadlines, brutal kill, tasks that do not end."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked

from supervisors import BRUTAL_KILL, INFINITY, ChildSpec, DynamicSupervisorSpec, Shutdown, Stuck, SupervisorSpec
from supervisors.testing import RunningTree, running, virtual_time
from tests.supervisors.actors import Crash, Lives, fails_in_cleanup, one


def exits(tree: RunningTree) -> dict[str, str]:
    return {event.path: event.exit.reason for event in tree.events if hasattr(event, "exit")}


@virtual_time
async def test_children_stop_in_reverse_each_fully_down_before_the_next_is_asked() -> None:
    lives = Lives()
    children = [lives.spec(id, stop=seconds, asked=True) for id, seconds in (("a", 1), ("b", 2), ("c", 3))]
    async with running(SupervisorSpec(children)):
        lives.log.clear()
    assert lives.log == [
        *(("c", "asked", 0), ("c", "end", 3)),
        *(("b", "asked", 3), ("b", "end", 5)),
        *(("a", "asked", 5), ("a", "end", 6)),
    ]


@virtual_time
async def test_levels_stop_from_the_bottom() -> None:
    lives = Lives()
    inner = ChildSpec("s", SupervisorSpec([lives.spec("b"), lives.spec("c")]))
    async with running(SupervisorSpec([lives.spec("a"), inner, lives.spec("d")])) as tree:
        tree.recorder.clear()
        await tree.stop()
        tree.assert_story(
            *("exited d shutdown", "exited s/c shutdown", "exited s/b shutdown", "exited s shutdown"),
            *("exited a shutdown", "exited root shutdown"),
        )
        assert not tree.running


@pytest.mark.parametrize(
    ("options", "ended", "reason"),
    [
        ({"shutdown": 3.0, "stop": 2, "asked": True}, 2, "normal"),
        ({"shutdown": 3.0, "stop": 60, "asked": True}, 3, "killed"),
        ({"shutdown": 3.0, "stop": 2}, 2, "shutdown"),
        ({"shutdown": INFINITY, "stop": 60, "asked": True}, 60, "normal"),
        ({"shutdown": 0, "stop": 60, "asked": True}, 0, "killed"),
        ({"shutdown": BRUTAL_KILL, "stop": 60, "asked": True}, 0, "killed"),
        ({"shutdown": BRUTAL_KILL}, 0, "killed"),
    ],
)
@virtual_time
async def test_a_child_has_its_shutdown_time_and_then_is_killed(
    options: dict[str, Any], ended: float, reason: str
) -> None:
    lives = Lives()
    async with running(one(lives.spec("a", **options))) as tree:
        await tree.stop()
        assert trio.current_time() - lives.began == ended
        assert exits(tree)["a"] == reason


@pytest.mark.parametrize(
    ("ends_by", "reason"),
    [(None, "normal"), (Shutdown(), "shutdown"), (ExceptionGroup("", [Shutdown()]), "shutdown"), (Crash(), "crashed")],
)
@virtual_time
async def test_how_a_child_ends_when_asked_is_its_own_affair(ends_by: Exception | None, reason: str) -> None:
    async def live(stopping: trio.Event) -> None:
        await stopping.wait()
        if ends_by is not None:
            raise ends_by

    async with running(one(ChildSpec("a", live))) as tree:
        await tree.stop()
        assert exits(tree)["a"] == reason
        tree.assert_story("started a", "started root", f"exited a {reason}", "exited root shutdown")


@virtual_time
async def test_a_crash_while_being_cancelled_is_a_crash_without_consequences() -> None:
    """Its nursery raises the crash of one task together with the cancellation of the other."""

    async def live() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_in_cleanup)
            nursery.start_soon(trio.sleep_forever)

    async with running(one(ChildSpec("a", live))) as tree:
        await wait_all_tasks_blocked()
        await tree.stop()
        tree.assert_story("started a", "started root", "exited a crashed", "exited root shutdown")


@virtual_time
async def test_the_deadline_of_stop_caps_every_child_below() -> None:
    """Each may take a minute and there are six of them; 10 s later all are gone, those not yet asked unasked."""
    lives = Lives()

    def level(name: str) -> list[ChildSpec]:
        return [lives.spec(f"{name}{n}", stop=4, asked=True, shutdown=60) for n in range(2)]

    inner = ChildSpec("s", SupervisorSpec(level("s")), shutdown=60)
    pool = ChildSpec("p", DynamicSupervisorSpec(), shutdown=60)
    async with running(SupervisorSpec([*level("a"), inner, pool])) as tree:
        for spec in level("p"):
            await tree.start_child("p", spec)
        await tree.stop(deadline=trio.current_time() + 10)
        assert trio.current_time() - lives.began == 10
        assert exits(tree) == {
            "p/p0": "normal",
            "p/p1": "normal",
            "p": "shutdown",  # together, from 0 to 4
            "s/s1": "normal",
            "s/s0": "killed",
            "s": "killed",  # from 4 to 8, and from 8 to 10
            "a1": "killed",
            "a0": "killed",
            "": "killed",
        }


@virtual_time
async def test_a_deadline_that_has_passed_cuts_everything_at_once() -> None:
    lives = Lives()
    inner = ChildSpec("s", SupervisorSpec([lives.spec("b", stop=9, asked=True)]))
    async with running(SupervisorSpec([lives.spec("a", stop=9, asked=True), inner])) as tree:
        await tree.stop(deadline=trio.current_time() - 1)
        assert trio.current_time() == lives.began
        assert set(exits(tree).values()) == {"killed"}


@virtual_time
async def test_a_second_stop_with_an_earlier_deadline_wins() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", stop=60, shutdown=60, asked=True))) as tree:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop)
            await trio.sleep(1)
            await tree.stop(deadline=trio.current_time() + 2)
        assert trio.current_time() - lives.began == 3


@virtual_time
async def test_a_stop_whose_caller_is_cancelled_goes_on() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", stop=4, asked=True))) as tree:
        with trio.move_on_after(1):
            await tree.stop()
        assert tree.running
        await tree.wait_stopped()
        assert trio.current_time() - lives.began == 4


@virtual_time
async def test_stopping_what_has_stopped_is_nothing() -> None:
    async with running(SupervisorSpec()) as tree:
        await tree.stop()
        await tree.stop(deadline=trio.current_time() + 1)
        tree.assert_story("started root", "exited root shutdown")


@virtual_time
async def test_a_supervisor_with_a_shutdown_time_hands_it_down_as_a_deadline() -> None:
    lives = Lives()
    inner = ChildSpec("s", SupervisorSpec([lives.spec("a", stop=60, shutdown=60, asked=True)]), shutdown=5)
    async with running(SupervisorSpec([inner])) as tree:
        await tree.stop()
        assert trio.current_time() - lives.began == 5
        assert exits(tree)["s/a"] == "killed"


# ------------------------------------------------------------------------ stuck


async def deaf(stopping: trio.Event, *, seconds: float) -> None:
    """Ignores being asked and cancelled for so long."""
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


@virtual_time
async def test_a_task_that_does_not_end_is_waited_for_and_reported_by_its_path() -> None:
    inner = ChildSpec("s", one(ChildSpec("a", partial(deaf, seconds=60), shutdown=2)))
    async with running(SupervisorSpec([inner])) as tree:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop)
            await tree.wait_until(lambda: "stuck s/a" in tree.story)
            assert trio.current_time() - began == 3
            assert tree.find("s/a").health == "degraded"
            assert "although it was cancelled" in tree.find("s/a").reasons[0]
        assert trio.current_time() - began == 60
        assert tree.story.count("stuck s/a") == 1
        assert tree.find("s/a").health == "ok"


@virtual_time
async def test_a_stop_with_a_deadline_reports_the_leaf_that_is_stuck_and_once() -> None:
    inner = ChildSpec("s", one(ChildSpec("a", partial(deaf, seconds=60))))
    async with running(SupervisorSpec([inner])) as tree:
        began = trio.current_time()
        await tree.stop(deadline=began + 2)
        assert trio.current_time() - began == 60
        stuck = [event for event in tree.events if isinstance(event, Stuck)]
        assert [(event.path, event.at - began) for event in stuck] == [("s/a", 3)]


@virtual_time
async def test_what_was_only_asked_is_not_stuck() -> None:
    """The supervisor in between is killed after 1 s; the one below it stops in an orderly way, as in OTP."""
    lives = Lives()
    deep = ChildSpec("deep", one(lives.spec("a", stop=4, asked=True, shutdown=10)))
    inner = ChildSpec("s", SupervisorSpec([deep, ChildSpec("b", partial(deaf, seconds=3))]), shutdown=1)
    async with running(SupervisorSpec([inner])) as tree:
        await trio.lowlevel.checkpoint()
        await tree.stop()
        assert [event.path for event in tree.events if isinstance(event, Stuck)] == ["s/b"]


@virtual_time
async def test_a_child_of_a_dynamic_supervisor_is_reported_too() -> None:
    async with running(DynamicSupervisorSpec()) as tree:
        await tree.start_child("", ChildSpec("a", partial(deaf, seconds=60), shutdown=2))
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.supervisor().terminate_child, "a")
            await tree.wait_until(lambda: "stuck a" in tree.story)
            assert tree.snapshot().health == "degraded"
            assert tree.snapshot().reasons == ("a is not ok",)
        assert tree.snapshot().health == "ok"
        stuck = [event for event in tree.events if isinstance(event, Stuck)]
        assert [(event.path, event.at - began) for event in stuck] == [("a", 3)]
        assert trio.current_time() - began == 60


@virtual_time
async def test_a_child_of_a_killed_supervisor_is_reported_too() -> None:
    inner = ChildSpec("s", one(ChildSpec("a", partial(deaf, seconds=5))))
    async with running(SupervisorSpec([inner])) as tree:
        began = trio.current_time()
        tree.kill("s")
        await tree.wait_for_generation("s", 2)
        assert [event.at - began for event in tree.events if isinstance(event, Stuck)] == [1]
        assert trio.current_time() - began == 5
        await tree.stop(deadline=trio.current_time())


@virtual_time
async def test_a_supervisor_stuck_in_a_function_of_its_own_spec_is_named() -> None:
    async def stuck_on_stop() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    pool = ChildSpec("p", DynamicSupervisorSpec(on_stop=stuck_on_stop), shutdown=1)
    async with running(SupervisorSpec([pool])) as tree:
        await tree.start_child("p", Lives().spec("a"))
        await tree.stop()
        assert [event.path for event in tree.events if isinstance(event, Stuck)] == ["p"]


# --------------------------------------------- stop while something is under way


@virtual_time
async def test_stop_while_a_child_starts_waits_for_that_start() -> None:
    """One thing at a time: the start has a deadline of its own."""
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a"), lives.spec("b", start=2)])) as tree:
        tree.crash("b", Crash())
        await trio.sleep(0.5)
        assert tree.find("b").state == "starting"
        began = trio.current_time()
        await tree.stop()
        assert trio.current_time() - began == 1.5
        tree.assert_sequence("restarting b", "started b", "exited b shutdown", "exited a shutdown")


@virtual_time
async def test_stop_with_a_deadline_cuts_a_start_short() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", start=20))) as tree:
        tree.crash("a", Crash())
        await trio.sleep(1)
        began = trio.current_time()
        await tree.stop(deadline=began + 3)
        assert trio.current_time() - began == 3
        tree.assert_sequence("exited a crashed", "restarting a", "start_failed a", "exited root killed")


@virtual_time
async def test_stop_during_a_group_restart_leaves_nothing_running() -> None:
    lives = Lives()
    children = [lives.spec(id, start=1, stop=1, asked=True) for id in "abc"]
    async with running(SupervisorSpec(children, strategy="one_for_all")) as tree:
        for moment in range(1, 12):
            tree.crash("b", Crash())
            await trio.sleep(moment / 2)
            if moment == 5:
                break
            await tree.wait_for_state("c", "running")
            await trio.sleep(6)
        await tree.stop()
        assert not tree.running


@virtual_time
async def test_a_child_that_ends_by_itself_while_a_sibling_stops_is_simply_down() -> None:
    lives = Lives()

    async def short_lived() -> None:
        await trio.sleep(2)
        raise Crash

    async with running(SupervisorSpec([ChildSpec("a", short_lived), lives.spec("b", stop=4, asked=True)])) as tree:
        await tree.stop()
        tree.assert_story(
            *("started a", "started b", "started root"),
            *("exited a crashed", "exited b normal", "exited root shutdown"),
        )
