"""What is not a crash leaves through the tree: cancellation from outside, KeyboardInterrupt, SystemExit."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, DynamicSupervisorSpec, Ref, SupervisorSpec, open_tree
from supervisors.testing import Recorder, assert_no_tasks_left, running, virtual_time
from tests.supervisors.actors import Crash, Echo, Lives, fails_in_cleanup, one


def nested(*children: ChildSpec) -> SupervisorSpec:
    return SupervisorSpec([ChildSpec("s", SupervisorSpec([ChildSpec("t", SupervisorSpec(children))]))])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@virtual_time
async def test_keyboard_interrupt_and_system_exit_leave_through_every_level(error: type[BaseException]) -> None:
    lives = Lives()

    async def live() -> None:
        await trio.sleep(1)
        raise error

    recorder = Recorder()
    with assert_no_tasks_left(), pytest.raises(BaseExceptionGroup) as caught:
        async with open_tree(nested(ChildSpec("a", live), lives.spec("b", stop=9, asked=True)), on_event=recorder):
            await trio.sleep_forever()
    ours, rest = caught.value.split(error)
    assert ours is not None
    assert rest is None
    assert trio.current_time() - lives.began == 1
    recorder.assert_sequence("exited s/t/a killed", "exited s/t/b killed", "exited s/t killed", "exited root killed")
    assert "restarting s/t/a" not in recorder.story


@virtual_time
async def test_a_keyboard_interrupt_while_starting_leaves_too() -> None:
    async def live(*, task_status: Any) -> None:
        raise KeyboardInterrupt

    with assert_no_tasks_left(), pytest.raises(BaseExceptionGroup) as caught:
        async with open_tree(nested(Lives().spec("b"), ChildSpec("a", live))):
            raise AssertionError("it did not start")
    assert caught.value.split(KeyboardInterrupt)[1] is None


@virtual_time
async def test_a_crash_that_comes_with_an_interrupt_stays_behind_as_a_crash() -> None:
    """One of the child's tasks is interrupted, another fails while it is cancelled for that."""

    async def interrupted() -> None:
        await trio.sleep(1)
        raise KeyboardInterrupt

    async def live() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupted)
            nursery.start_soon(fails_in_cleanup)

    recorder = Recorder()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_tree(nested(ChildSpec("a", live)), on_event=recorder):
            await trio.sleep_forever()
    assert caught.value.split(KeyboardInterrupt)[1] is None
    recorder.assert_sequence("exited s/t/a crashed", "exited s/t killed", "exited s killed", "exited root killed")


@virtual_time
async def test_cancelling_the_scope_around_a_tree_kills_it() -> None:
    lives = Lives()
    ref: Ref[Any] = Ref()
    log: list[Any] = []
    recorder = Recorder()
    with assert_no_tasks_left(), trio.move_on_after(2) as scope:
        children = [lives.spec("a", stop=9, asked=True, shutdown=60), ChildSpec("b", Echo, (log,), ref=ref)]
        async with open_tree(nested(*children), on_event=recorder):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - lives.began == 2
    assert log == []  # no on_stop: nobody was asked
    recorder.assert_sequence("exited s/t killed", "exited s killed", "exited root killed")


@virtual_time
async def test_a_crash_in_the_cleanup_of_a_cancelled_tree_is_told_and_does_not_leave() -> None:
    async def live_in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_in_cleanup)
            nursery.start_soon(trio.sleep_forever)

    recorder = Recorder()
    children = ChildSpec("a", fails_in_cleanup), ChildSpec("b", live_in_a_nursery)
    with trio.move_on_after(1) as scope:
        async with open_tree(nested(*children), on_event=recorder):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert {"exited s/t/a crashed", "exited s/t/b crashed", "exited s/t killed"} <= set(recorder.story)


@virtual_time
async def test_a_cancellation_while_starting_leaves_nothing() -> None:
    lives = Lives()
    with assert_no_tasks_left(), trio.move_on_after(3) as scope:
        async with open_tree(nested(lives.spec("a"), lives.spec("b", start=9))):
            raise AssertionError("it did not start")
    assert scope.cancelled_caught
    assert trio.current_time() - lives.began == 3


@virtual_time
async def test_a_cancellation_while_stopping_cuts_the_stop() -> None:
    lives = Lives()
    with assert_no_tasks_left(), trio.move_on_after(3) as scope:
        async with open_tree(nested(lives.spec("a", stop=9, asked=True, shutdown=60))):
            pass
    assert scope.cancelled_caught
    assert trio.current_time() - lives.began == 3


@virtual_time
async def test_a_child_that_swallows_its_cancellation_and_returns_ended_normally() -> None:
    async def live() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103 - the misbehaviour that is tested
            pass

    async with running(one(ChildSpec("a", live))) as tree:
        await wait_all_tasks_blocked()
        await tree.stop()
        tree.assert_sequence("exited a normal", "exited root shutdown")


@virtual_time
async def test_a_tree_inside_a_child_goes_with_it() -> None:
    lives = Lives()

    async def live(*, task_status: Any, stopping: trio.Event) -> None:
        async with open_tree(one(lives.spec("inner", stop=2, asked=True))):
            task_status.started()
            await stopping.wait()

    async with running(one(ChildSpec("a", live, shutdown=60))) as tree:
        await tree.stop()
        assert lives.log == [("inner", "begin", 0), ("inner", "up", 0), ("inner", "asked", 0), ("inner", "end", 2)]
    async with running(one(ChildSpec("a", live, shutdown=1))) as tree:
        tree.kill("a")
        await tree.wait_for_generation("a", 2)
        assert lives.of("asked") == [0]


@virtual_time
async def test_a_tree_inside_an_actor_gives_up_as_the_actors_crash() -> None:
    lives = Lives()

    class Host(Echo):
        async def handle_cast(self, message: Any) -> None:
            async with open_tree(one(lives.spec("inner"), max_restarts=0)) as inner:
                inner.crash("inner", Crash())
                await trio.sleep_forever()

    async with running(one(ChildSpec("a", Host))) as tree:
        await tree.ref("a").cast("go")
        await tree.wait_for_generation("a", 2)
        exited = next(event for event in tree.events if event.path == "a" and hasattr(event, "exit"))
        assert "gives up" in str(exited.exit.error)


@pytest.mark.parametrize("dynamic", [False, True])
@virtual_time
async def test_a_command_that_waits_when_the_tree_is_killed_is_answered(dynamic: bool) -> None:
    """Its caller is in another task, which the cancellation does not reach."""
    lives = Lives()
    answers: list[Exception] = []
    spec = DynamicSupervisorSpec() if dynamic else SupervisorSpec([lives.spec("a", stop=60, asked=True, shutdown=60)])

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_tree(SupervisorSpec([ChildSpec("s", spec)])) as tree:
                ref = tree.supervisor("s")

                async def ask(request: Any) -> None:
                    try:
                        await request
                    except Exception as error:
                        answers.append(error)

                if dynamic:
                    nursery.start_soon(ask, ref.start_child(lives.spec("b", start=60)))
                else:
                    nursery.start_soon(ask, ref.terminate_child("a"))
                    await wait_all_tasks_blocked()
                    nursery.start_soon(ask, ref.start_child(lives.spec("b")))
                    nursery.start_soon(ask, ref.in_turn(lambda: None))
                await wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
    names = [type(answer).__name__ for answer in answers]
    assert names == (["StartError"] if dynamic else ["SupervisorNotRunning"] * 3)


def test_an_interrupt_of_the_process_ends_the_tree_and_lets_its_children_clean_up() -> None:
    program = """
import trio
from supervisors import ChildSpec, SupervisorSpec, open_tree

async def live():
    try:
        await trio.sleep_forever()
    finally:
        print("cleaned up", flush=True)

async def main():
    inner = SupervisorSpec([ChildSpec("b", live)])
    async with open_tree(SupervisorSpec([ChildSpec("a", live), ChildSpec("s", inner)])):
        await trio.testing.wait_all_tasks_blocked()
        print("up", flush=True)
        await trio.sleep_forever()

import trio.testing
trio.run(main)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert out == "cleaned up\n" * 2
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
