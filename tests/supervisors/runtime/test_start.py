"""Starting: order, handshake, deadline, rollback, declining."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
import trio

from supervisors import ChildSpec, Ignore, NotStarted, StartError, SupervisorSpec, open_tree
from supervisors.testing import Recorder, assert_no_tasks_left, running, virtual_time
from tests.supervisors.actors import Crash, Lives, one


@virtual_time
async def test_children_start_in_order_each_once_the_one_before_is_up() -> None:
    lives = Lives()
    children = [lives.spec(id, start=seconds) for id, seconds in (("a", 1), ("b", 2), ("c", 3))]
    async with running(SupervisorSpec(children)) as tree:
        assert lives.log == [
            *(("a", "begin", 0), ("a", "up", 1)),
            *(("b", "begin", 1), ("b", "up", 3)),
            *(("c", "begin", 3), ("c", "up", 6)),
        ]
        tree.assert_story("started a", "started b", "started c", "started root")


@virtual_time
async def test_a_function_without_a_handshake_is_up_at_once() -> None:
    async def work() -> None:
        await trio.sleep(100)

    began = trio.current_time()
    async with running(SupervisorSpec([ChildSpec("a", work), ChildSpec("b", work)])) as tree:
        assert trio.current_time() == began
        assert {child.state for child in tree.snapshot().children or ()} == {"running"}


@virtual_time
async def test_positional_and_keyword_arguments_reach_the_child() -> None:
    seen: list[Any] = []

    async def work(*args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))

    async with running(one(ChildSpec("a", work, (1, 2), {"x": 3}, restart="temporary"))) as tree:
        await tree.wait_until(lambda: bool(seen))
    assert seen == [((1, 2), {"x": 3})]


# --------------------------------------------------------------------- failures


@virtual_time
async def test_a_failed_start_rolls_back_in_reverse_and_raises_with_its_cause() -> None:
    lives = Lives()
    children = [lives.spec("a", stop=1), lives.spec("b", stop=1), lives.spec("c", start=2, fails={1}), lives.spec("d")]
    recorder = Recorder()
    with assert_no_tasks_left(), pytest.raises(StartError, match="'c' did not start: c fails to start") as caught:
        async with open_tree(SupervisorSpec(children), on_event=recorder):
            raise AssertionError("it did not start")
    assert isinstance(caught.value.__cause__, Crash)
    assert caught.value.path == "c"
    recorder.assert_story(
        *("started a", "started b", "start_failed c", "exited b shutdown", "exited a shutdown"),
        *("state_changed d", "start_failed root"),
    )
    assert trio.current_time() - lives.began == 4
    assert lives.of("begin", "d") == []


@virtual_time
async def test_a_failure_deep_below_chains_the_causes_and_rolls_back_the_levels() -> None:
    lives = Lives()
    inner = ChildSpec("inner", SupervisorSpec([lives.spec("b"), lives.spec("c", fails={1})]))
    outer = ChildSpec("outer", SupervisorSpec([lives.spec("a"), inner]))
    recorder = Recorder()
    with pytest.raises(StartError) as caught:
        async with open_tree(SupervisorSpec([outer]), on_event=recorder):
            raise AssertionError("it did not start")
    paths = []
    cause: BaseException | None = caught.value
    while isinstance(cause, StartError):
        paths.append(cause.path)
        cause = cause.__cause__
    assert paths == ["outer", "outer/inner", "outer/inner/c"]
    assert isinstance(cause, Crash)
    recorder.assert_story(
        "started outer/a",
        "started outer/inner/b",
        "start_failed outer/inner/c",
        "exited outer/inner/b shutdown",
        "start_failed outer/inner",
        "exited outer/a shutdown",
        "start_failed outer",
        "start_failed root",
    )


@virtual_time
async def test_a_start_that_takes_too_long_fails_at_its_deadline() -> None:
    lives = Lives()
    with pytest.raises(StartError, match="not up within its start_timeout of 3 s") as caught:
        async with open_tree(one(lives.spec("a", start=60, start_timeout=3))):
            raise AssertionError("it did not start")
    assert isinstance(caught.value.__cause__, NotStarted)
    assert trio.current_time() - lives.began == 3


@virtual_time
async def test_coming_up_too_late_counts_for_nothing() -> None:
    """It ignores the cancellation and says that it is up; its start has failed already, so it never ran."""
    recorder = Recorder()

    async def late(*, task_status: Any) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        task_status.started()
        await trio.sleep(5)

    began = trio.current_time()
    with assert_no_tasks_left(), pytest.raises(StartError, match="not up within"):
        async with open_tree(one(ChildSpec("a", late, start_timeout=3)), on_event=recorder):
            raise AssertionError("it did not start")
    assert trio.current_time() - began == 5
    recorder.assert_story("stuck a", "start_failed a", "start_failed root")


@virtual_time
async def test_ending_without_the_handshake_is_a_failed_start() -> None:
    async def forgets(*, task_status: Any) -> None:
        await trio.sleep(1)

    with pytest.raises(StartError, match=r"returned without calling task_status.started\(\)"):
        async with open_tree(one(ChildSpec("a", forgets))):
            raise AssertionError("it did not start")


@virtual_time
async def test_started_twice_is_an_error_in_the_child() -> None:
    async def twice(*, task_status: Any) -> None:
        task_status.started()
        task_status.started()

    async with running(one(ChildSpec("a", twice, restart="transient"), max_restarts=1, give_up="shutdown")) as tree:
        await tree.wait_stopped()
        tree.assert_sequence("started a", "exited a crashed")
        assert "was called twice" in str(tree.find("a").last_exit)


@virtual_time
async def test_a_handshake_of_an_earlier_attempt_cannot_make_a_later_one_running() -> None:
    handshakes: list[Any] = []

    async def work(*, task_status: Any) -> None:
        handshakes.append(task_status)
        if len(handshakes) == 1:
            task_status.started()
            raise Crash
        await trio.sleep(5)
        task_status.started()
        await trio.sleep_forever()

    async with running(one(ChildSpec("a", work))) as tree:
        began = trio.current_time()
        await trio.sleep(1)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="'a' was called"):
                handshakes[0].started()
        assert tree.find("a").state == "starting"
        await tree.wait_for_generation("a", 2)
        assert trio.current_time() == began + 5
    for handshake in handshakes:
        with pytest.raises(RuntimeError, match="'a' was called"):
            handshake.started()


@virtual_time
async def test_a_handshake_that_was_never_made_cannot_be_made_for_a_later_attempt() -> None:
    handshakes: list[Any] = []

    async def work(*, task_status: Any) -> None:
        handshakes.append(task_status)
        if len(handshakes) == 2:
            raise Crash("before it is up")
        await trio.sleep(5)
        task_status.started()
        await trio.sleep_forever()

    async with running(one(ChildSpec("a", work))) as tree:
        began = trio.current_time()
        tree.crash("a", Crash())
        await trio.sleep(1)
        assert len(handshakes) == 3
        with pytest.raises(RuntimeError, match="'a' was called after its end"):
            handshakes[1].started()
        assert tree.find("a").state == "starting"
        await tree.wait_for_generation("a", 2)
        assert trio.current_time() == began + 5


@virtual_time
async def test_a_function_that_is_not_async_fails_like_any_other_child() -> None:
    def not_async() -> None:
        """Forgot the async."""

    spec = ChildSpec("a", not_async, restart="temporary")
    async with running(one(spec)) as tree:
        await tree.wait_until(lambda: "removed a" in tree.story)
        tree.assert_sequence("started a", "exited a crashed", "removed a")


# -------------------------------------------------------------------- declining


@virtual_time
async def test_a_child_that_declines_stays_as_a_stopped_one() -> None:
    async def declines(*, task_status: Any) -> None:
        raise Ignore

    children = [ChildSpec("a", declines), ChildSpec("t", declines, restart="temporary")]
    async with running(SupervisorSpec(children)) as tree:
        assert [(node.id, node.state) for node in tree.snapshot().children or ()] == [("a", "stopped")]
        assert tree.snapshot().health == "ok"
        tree.assert_story("ignored a", "ignored t", "removed t", "started root")


@virtual_time
async def test_declining_may_come_wrapped_by_a_nursery() -> None:
    async def declines(*, task_status: Any) -> None:
        async with trio.open_nursery():
            raise Ignore

    async with running(one(ChildSpec("a", declines))) as tree:
        tree.assert_sequence("ignored a")


@virtual_time
async def test_declining_once_up_is_a_crash() -> None:
    async def late() -> None:
        raise Ignore

    async with running(one(ChildSpec("a", late, restart="temporary"))) as tree:
        await tree.wait_until(lambda: "exited a crashed" in tree.story)


@virtual_time
async def test_a_supervisor_can_decline_or_fail_before_any_child_starts() -> None:
    lives = Lives()

    async def declines() -> None:
        await trio.sleep(1)
        raise Ignore

    async def fails() -> None:
        raise Crash("not today")

    supervisor = ChildSpec("s", SupervisorSpec([lives.spec("a")], on_start=declines))
    async with running(SupervisorSpec([supervisor])) as tree:
        assert tree.find("s").state == "stopped"
    with pytest.raises(StartError, match="'s' did not start: not today"):
        async with open_tree(SupervisorSpec([ChildSpec("s", SupervisorSpec([lives.spec("a")], on_start=fails))])):
            raise AssertionError("it did not start")
    assert lives.log == []


# ---------------------------------------------------------------------- context

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@virtual_time
async def test_children_start_in_the_context_of_their_supervisor() -> None:
    """Not in that of whoever asks for a restart or a further child: a request's id must not stick to a child."""
    seen: list[str] = []

    async def look(*, task_status: Any) -> None:
        seen.append(WHO.get())
        task_status.started()
        await trio.sleep_forever()

    WHO.set("opener")
    async with running(one(ChildSpec("a", look))) as tree:
        WHO.set("operator")
        await tree.restart_child("a")
        await tree.start_child("", ChildSpec("b", look))
    assert seen == ["opener"] * 3
