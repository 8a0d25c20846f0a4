"""What operators and programs do to a running tree: start, stop, restart, delete, crash, kill; and their errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildCount,
    ChildInfo,
    ChildNotRunning,
    ChildPresent,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    DynamicSupervisorSpec,
    Ignore,
    NoSuchChild,
    Ref,
    StartError,
    SupervisorNotRunning,
    SupervisorRef,
    SupervisorSpec,
    WrongKind,
)
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Echo, Lives, actor, one


def budget_left(tree: Any, path: str = "") -> int:
    budget = tree.find(path).budget
    assert budget is not None
    return int(budget.left)


# ------------------------------------------------------------------------ tree


@virtual_time
async def test_stop_restart_and_start_by_hand_cost_no_budget() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a"), lives.spec("b")], max_restarts=0)) as tree:
        for _ in range(5):
            await tree.restart_child("a")
            await tree.stop_child("a")
            await tree.start_again("a")
        assert budget_left(tree) == 0
        assert tree.find("a").generation == 11
        assert tree.find("a").restarts == 0
        assert tree.snapshot().health == "ok"
        assert lives.of("begin", "b") == [0]


@virtual_time
async def test_a_crash_on_purpose_and_a_kill_are_restarted_like_any_other() -> None:
    lives = Lives()
    error = Crash("on purpose")
    async with running(one(lives.spec("a"))) as tree:
        tree.crash("a", error)
        await tree.wait_for_generation("a", 2)
        last = tree.find("a").last_exit
        assert last is not None
        assert last.exit.error is error
        tree.kill("a")
        await tree.wait_for_generation("a", 3)
        last = tree.find("a").last_exit
        assert last is not None
        assert (last.exit.reason, last.error, last.traceback) == ("killed", None, None)
        assert budget_left(tree) == 1


@virtual_time
async def test_a_crash_on_purpose_while_it_starts_is_a_failed_start() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", start=5))) as tree:
        tree.crash("a", Crash("first"))
        await trio.sleep(1)
        tree.crash("a", Crash("second"))
        await tree.wait_for_generation("a", 2)
        tree.assert_sequence("exited a crashed", "restarting a", "start_failed a", "restarting a", "started a")
        assert trio.current_time() - lives.began == 5 + 1 + 5


@virtual_time
async def test_a_kill_while_it_starts_is_a_failed_start_too() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("b"), lives.spec("a", start=5)])) as tree:
        tree.crash("a", Crash())
        await trio.sleep(1)
        tree.kill("a")
        await tree.wait_for_generation("a", 2)
        failed = next(event for event in tree.events if type(event).__name__ == "StartFailed")
        assert "ended before it was up (killed)" in str(failed.error)  # type: ignore[union-attr]


@virtual_time
async def test_a_supervisor_can_be_restarted_crashed_and_killed_with_what_is_below() -> None:
    lives = Lives()
    inner = ChildSpec("s", SupervisorSpec([lives.spec("a"), lives.spec("b")]))
    async with running(SupervisorSpec([inner])) as tree:
        tree.recorder.clear()
        await tree.restart_child("s")
        tree.assert_story(
            *("exited s/b shutdown", "exited s/a shutdown", "exited s shutdown"),
            *("started s/a", "started s/b", "started s"),
        )
        await tree.crash_and_wait("s", Crash())
        await tree.wait_for_generation("s", 3)
        tree.assert_sequence("exited s/a killed", "exited s crashed", "restarting s", "started s")
        tree.recorder.clear()
        tree.kill("s")
        await tree.wait_for_generation("s", 4)
        tree.assert_sequence("exited s/a killed", "exited s killed", "restarting s", "started s")


@pytest.mark.parametrize(
    ("operation", "path", "error"),
    [
        ("stop_child", "x", NoSuchChild),
        ("stop_child", "", WrongKind),
        ("stop_child_soon", "x", NoSuchChild),
        ("stop_child_soon", "", WrongKind),
        ("stop_child_soon", "down", ChildNotRunning),
        ("restart_child", "x", NoSuchChild),
        ("restart_child", "", WrongKind),
        ("restart_child", "p/d", WrongKind),
        ("restart_child", "t", WrongKind),
        ("restart_child_soon", "p/d", WrongKind),
        ("start_again", "x", NoSuchChild),
        ("start_again", "a", ChildRunning),
        ("start_again", "delayed", ChildRestarting),
        ("start_again", "p/d", WrongKind),
        ("start_again_soon", "a", ChildRunning),
        ("start_again_soon", "delayed", ChildRestarting),
        ("kill", "x", NoSuchChild),
        ("kill", "down", ChildNotRunning),
        ("kill", "delayed", ChildNotRunning),
    ],
)
@virtual_time
async def test_what_cannot_be_done_is_refused_with_its_reason(operation: str, path: str, error: Any) -> None:
    lives = Lives()
    children = [
        lives.spec("a"),
        lives.spec("down"),
        lives.spec("t", restart="temporary"),
        lives.spec("delayed", fails=range(2, 99), backoff=Backoff(first=1000.0, maximum=1000.0)),
        ChildSpec("p", DynamicSupervisorSpec()),
    ]
    async with running(SupervisorSpec(children), random=lambda: 0.5) as tree:
        await tree.stop_child("down")
        await tree.start_child("p", lives.spec("d"))
        tree.crash("delayed", Crash())
        await tree.wait_for_state("delayed", "backing_off")
        before = tree.story
        with pytest.raises(error):
            result = getattr(tree, operation)(path)
            if result is not None:
                await result
        await wait_all_tasks_blocked()
        assert tree.story == before


@pytest.mark.parametrize("path", ["x", "down"])
@virtual_time
async def test_what_does_not_run_cannot_crash(path: str) -> None:
    async with running(one(Lives().spec("down"))) as tree:
        await tree.stop_child("down")
        with pytest.raises((NoSuchChild, ChildNotRunning)):
            tree.crash(path, Crash())


@virtual_time
async def test_operations_that_only_begin_return_at_once() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", start=1, stop=2, asked=True))) as tree:
        tree.restart_child_soon("a")
        assert tree.find("a").generation == 1
        await tree.wait_for_generation("a", 2)
        assert trio.current_time() - lives.began == 1 + 2 + 1
        tree.stop_child_soon("a")
        await tree.wait_for_state("a", "stopped")
        tree.start_again_soon("a")
        await tree.wait_for_generation("a", 3)
        assert trio.current_time() - lives.began == 4 + 2 + 1


@virtual_time
async def test_an_operation_that_nobody_waits_for_tells_its_failure_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lives = Lives()
    with caplog.at_level(logging.WARNING, logger="supervisors"):
        async with running(one(lives.spec("a", fails={2}))) as tree:
            tree.restart_child_soon("a")
            await tree.wait_for_state("a", "stopped")
            await wait_all_tasks_blocked()
    assert "supervisor 'root' refused a command: child 'a' did not start" in caplog.text


@virtual_time
async def test_beginning_twice_does_it_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The second start finds the child running; its mailbox stays open."""
    spec, ref = actor("a")
    async with running(one(spec)) as tree:
        await tree.stop_child("a")
        tree.start_again_soon("a")
        tree.start_again_soon("a")
        await wait_all_tasks_blocked()
        assert await ref.call("x") == "x"
        assert tree.find("a").generation == 2


@virtual_time
async def test_a_failed_start_by_hand_leaves_it_down() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", fails={2, 3}))) as tree:
        for operation in (tree.restart_child, tree.start_again):
            with pytest.raises(StartError, match="a fails to start"):
                await operation("a")
            await trio.sleep(100)
            assert tree.find("a").state == "stopped"
        await tree.start_again("a")
        assert budget_left(tree) == 3


@virtual_time
async def test_a_child_forgotten_while_the_command_waited_is_not_brought_back() -> None:
    """Started then, it would run outside of the tree, and no stop would ever reach it."""
    lives = Lives()
    slow = lives.spec("slow", start=2)
    async with running(SupervisorSpec([lives.spec("a"), slow])) as tree:
        await tree.stop_child("a")
        tree.crash("slow", Crash())  # the supervisor is busy for 2 s
        await wait_all_tasks_blocked()
        refused: list[Exception] = []

        async def refuse(operation: Callable[[str], Awaitable[Any]]) -> None:
            try:
                await operation("a")
            except NoSuchChild as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.supervisor().delete_child, "a")
            await wait_all_tasks_blocked()
            nursery.start_soon(refuse, tree.start_again)
            nursery.start_soon(refuse, tree.restart_child)
        assert len(refused) == 2
        assert [node.id for node in tree.snapshot().children or ()] == ["slow"]


@virtual_time
async def test_commands_are_done_one_after_the_other() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a", start=1), lives.spec("b", start=1)])) as tree:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.restart_child, "a")
            nursery.start_soon(tree.restart_child, "b")
        assert trio.current_time() - began == 2


@virtual_time
async def test_a_command_abandoned_before_its_turn_is_not_done() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a", start=5), lives.spec("b")])) as tree:
        tree.crash("a", Crash())
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await tree.stop_child("b")
        await trio.sleep(10)
        assert tree.find("b").state == "running"


@virtual_time
async def test_a_command_begun_is_finished_though_its_caller_has_gone() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", stop=3, asked=True))) as tree:
        with trio.move_on_after(1):
            await tree.restart_child("a")
        await tree.wait_for_generation("a", 2)
        assert trio.current_time() - lives.began == 3


@virtual_time
async def test_nothing_can_be_asked_of_a_tree_that_has_ended() -> None:
    lives = Lives()
    async with running(one(lives.spec("a"))) as tree:
        await tree.stop()
        with trio.CancelScope(shield=True):
            for operation in (tree.restart_child, tree.stop_child, tree.start_again):
                with pytest.raises(SupervisorNotRunning, match="supervisor '' is not running"):
                    await operation("a")
            with pytest.raises(SupervisorNotRunning):
                tree.restart_child_soon("a")
            with pytest.raises(ChildNotRunning):
                tree.kill("")


# -------------------------------------------------------------- administration


@virtual_time
async def test_children_can_be_added_and_are_last() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a")])) as tree:
        with assert_checkpoints():
            assert await tree.start_child("", lives.spec("b", start=1)) == "b"
        assert [node.id for node in tree.snapshot().children or ()] == ["a", "b"]
        tree.recorder.clear()
        await tree.stop()
        tree.assert_story("exited b shutdown", "exited a shutdown", "exited root shutdown")


@virtual_time
async def test_whoever_adds_an_actor_or_a_supervisor_is_given_a_ref_to_it() -> None:
    for spec in (SupervisorSpec(), DynamicSupervisorSpec(), DynamicSupervisorSpec(concurrent=False)):
        async with running(SupervisorSpec([ChildSpec("s", spec)])) as tree:
            echo = await tree.start_child("s", ChildSpec("a", Echo))
            assert isinstance(echo, Ref)
            assert await echo.call("x") == "x"
            below = await tree.start_child("s", ChildSpec("b", SupervisorSpec([Lives().spec("c")])))
            assert isinstance(below, SupervisorRef)
            assert [child.id for child in below.which_children()] == ["c"]


@virtual_time
async def test_an_added_child_that_fails_leaves_nothing_and_one_that_declines_is_kept() -> None:
    async def declines(*, task_status: Any) -> None:
        raise Ignore

    async with running(SupervisorSpec()) as tree:
        with pytest.raises(StartError, match="'a' did not start: a fails to start"):
            await tree.start_child("", Lives().spec("a", fails={1}))
        assert tree.snapshot().children == ()
        assert await tree.start_child("", ChildSpec("i", declines)) is None
        assert [(node.id, node.state) for node in tree.snapshot().children or ()] == [("i", "stopped")]


@virtual_time
async def test_the_errors_of_administration_are_those_of_otp() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a"), lives.spec("down")])) as tree:
        ref = tree.supervisor()
        await ref.terminate_child("down")
        await ref.terminate_child("down")
        with pytest.raises(ChildRunning):
            await ref.start_child(lives.spec("a"))
        with pytest.raises(ChildPresent):
            await ref.start_child(lives.spec("down"))
        with pytest.raises(ChildRunning):
            await ref.restart_child("a")
        with pytest.raises(ChildRunning):
            await ref.delete_child("a")
        for operation in (ref.terminate_child, ref.restart_child, ref.delete_child):
            with pytest.raises(NoSuchChild, match="'x'"):
                await operation("x")
        with pytest.raises(WrongKind, match="one at a time"):
            ref.start_child_nowait(lives.spec("c"))
        with pytest.raises(ValueError, match="significant"):
            await ref.start_child(lives.spec("c", significant=True, restart="transient"))
        await ref.restart_child("down")
        await ref.terminate_child("down")
        await ref.delete_child("down")
        assert [child.id for child in ref.which_children()] == ["a"]
        tree.assert_sequence("removed down")


@virtual_time
async def test_a_child_that_is_being_restarted_can_be_neither_started_nor_deleted() -> None:
    lives = Lives()
    spec = lives.spec("a", fails=range(2, 99), backoff=Backoff(first=1000.0, maximum=1000.0))
    async with running(one(spec), random=lambda: 0.5) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "backing_off")
        ref = tree.supervisor()
        for operation in (ref.restart_child, ref.delete_child):
            with pytest.raises(ChildRestarting, match="'a' is being restarted"):
                await operation("a")
        await ref.terminate_child("a")
        await ref.delete_child("a")
        assert ref.which_children() == ()


@virtual_time
async def test_queries_count_and_list_at_any_moment() -> None:
    lives = Lives()
    children = [lives.spec("a"), ChildSpec("s", SupervisorSpec()), lives.spec("t", restart="temporary")]
    async with running(SupervisorSpec(children)) as tree:
        ref = tree.supervisor()
        await ref.terminate_child("a")
        assert ref.count_children() == ChildCount(specs=3, active=2, supervisors=1, workers=2)
        assert ref.which_children() == (
            ChildInfo("a", "stopped", "worker"),
            ChildInfo("s", "running", "supervisor"),
            ChildInfo("t", "running", "worker"),
        )
        assert await ref.in_turn(ref.count_children) == ref.count_children()


@virtual_time
async def test_queries_answer_while_their_supervisor_is_busy() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a", start=5), lives.spec("b")])) as tree:
        tree.crash("a", Crash())
        await trio.sleep(1)
        began = trio.current_time()
        assert [child.state for child in tree.supervisor().which_children()] == ["starting", "running"]
        assert tree.find("a").state == "starting"
        assert trio.current_time() == began
        await tree.supervisor().in_turn(lambda: None)
        assert trio.current_time() == began + 4


@virtual_time
async def test_an_error_in_a_look_is_for_whoever_looks() -> None:
    def look() -> None:
        raise Crash("the look")

    async with running(SupervisorSpec()) as tree:
        with pytest.raises(Crash, match="the look"):
            await tree.supervisor().in_turn(look)
        assert tree.running


# ------------------------------------------------------------------------ races


@virtual_time
async def test_an_exit_that_waits_when_the_child_is_stopped_restarts_nothing() -> None:
    """Both reach the supervisor while it is busy: first the crash, then the stop."""
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("slow", start=2), lives.spec("a")])) as tree:
        tree.crash("slow", Crash())
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop_child, "a")
            await wait_all_tasks_blocked()
            tree.crash("a", Crash())
        await trio.sleep(10)
        assert tree.find("a").state == "stopped"
        assert lives.of("begin", "a") == [2]


@virtual_time
async def test_a_kill_while_it_is_being_stopped_ends_it_at_once() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", stop=60, asked=True, shutdown=60))) as tree:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.stop_child, "a")
            await trio.sleep(1)
            tree.kill("a")
        assert trio.current_time() - lives.began == 1
        tree.assert_sequence("exited a killed")
        assert tree.find("a").state == "stopped"


@virtual_time
async def test_a_supervisor_killed_while_it_performs_a_command_answers_it() -> None:
    lives = Lives()
    errors: list[Exception] = []
    inner = ChildSpec("s", SupervisorSpec([lives.spec("a", stop=60, asked=True, shutdown=60)]))
    async with running(SupervisorSpec([inner])) as tree:

        async def ask() -> None:
            try:
                await tree.stop_child("s/a")
            except SupervisorNotRunning as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            tree.kill("s")
        assert len(errors) == 1
        await tree.wait_for_generation("s", 2)
        assert tree.find("s/a").state == "running"


@virtual_time
async def test_an_actor_can_stop_itself_through_its_supervisor_without_waiting() -> None:
    class Quits(Echo):
        async def do(self, what: Any) -> object:
            what.stop_child_soon("a")
            return "going"

    async with running(one(ChildSpec("a", Quits))) as tree:
        assert await tree.ref("a").call(tree) == "going"
        await tree.wait_for_state("a", "stopped")
        tree.assert_sequence("exited a shutdown")


@pytest.mark.parametrize("concurrent", [True, False])
@virtual_time
async def test_no_pool_starts_a_child_again_that_it_forgets(concurrent: bool) -> None:
    """Started, it would run outside the tree."""
    lives = Lives()
    async with running(one(ChildSpec("p", DynamicSupervisorSpec(concurrent=concurrent)))) as tree:
        await tree.start_child("p", lives.spec("d"))
        for operation in (tree.restart_child, tree.start_again):
            with pytest.raises(WrongKind, match="is forgotten when it is down"):
                await operation("p/d")
        assert lives.of("begin") == [0]


@pytest.mark.parametrize(("keep", "expected"), [(False, ["a", "b"]), (True, ["b", "c"])])
def test_a_supervisor_that_is_restarted_has_the_children_of_its_spec_or_those_that_it_had(
    keep: bool, expected: list[str]
) -> None:
    @virtual_time
    async def check() -> None:
        lives, group = Lives(), SupervisorRef("group")
        spec = SupervisorSpec([lives.spec("a"), lives.spec("b")], keep_children=keep)
        async with running(SupervisorSpec([ChildSpec("group", spec, ref=group)])) as tree:
            await group.start_child(lives.spec("c"))
            await group.terminate_child("a")
            await group.delete_child("a")
            await tree.restart_child("group")
            assert [child.id for child in group.which_children()] == expected
            assert [tree.find(f"group/{id}").state for id in expected] == ["running", "running"]

    check()
