"""Opening a tree around a block, and how the block and the tree end one another."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    DynamicSupervisorSpec,
    NoSuchChild,
    RestartIntensityExceeded,
    StartError,
    SupervisorSpec,
    Tree,
    WrongKind,
    open_tree,
)
from supervisors.testing import Recorder, assert_no_tasks_left, running, virtual_time
from tests.supervisors.actors import Crash, Lives, actor, one


@virtual_time
async def test_the_tree_is_up_when_the_block_begins_and_gone_when_it_is_left() -> None:
    lives = Lives()
    with assert_no_tasks_left():
        async with open_tree(one(lives.spec("a", start=1, stop=2, asked=True))) as tree:
            assert tree.running
            assert lives.of("up") == [1]
        assert not tree.running
    assert lives.of("end") == [3]


@virtual_time
async def test_an_empty_tree_and_an_empty_pool_run_too() -> None:
    for spec in (SupervisorSpec(), DynamicSupervisorSpec()):
        async with running(spec, id="app") as tree:
            assert tree.snapshot().id == "app"
            assert tree.snapshot().children == ()


@virtual_time
async def test_a_block_that_raises_stops_the_tree_in_an_orderly_way_and_its_error_leaves() -> None:
    lives = Lives()
    error = Crash("the block")
    with assert_no_tasks_left(), pytest.raises(Crash) as caught:
        async with open_tree(one(lives.spec("a", stop=2, asked=True))):
            raise error
    assert caught.value is error
    assert lives.of("end") == [2]


@virtual_time
async def test_a_root_that_gives_up_cancels_the_block_and_raises() -> None:
    lives = Lives()
    cleaned_up = False
    with assert_no_tasks_left(), pytest.raises(RestartIntensityExceeded):
        async with open_tree(
            SupervisorSpec([lives.spec("a", stop=2, asked=True), lives.spec("b")], max_restarts=0)
        ) as tree:
            tree.crash("b", Crash())
            try:
                await trio.sleep_forever()
            finally:
                cleaned_up = True
    assert cleaned_up
    assert lives.of("end", "a") == [2]


@virtual_time
async def test_a_block_that_fails_while_it_is_cancelled_does_not_hide_why_the_root_gave_up() -> None:
    lives = Lives()
    for wrapped in (False, True):
        with assert_no_tasks_left(), pytest.raises(ExceptionGroup, match="both failed") as caught:
            async with open_tree(one(lives.spec("a"), max_restarts=0)) as tree:
                tree.crash("a", Crash("the child"))
                try:
                    await trio.sleep_forever()
                finally:
                    if wrapped:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(trio.sleep_forever)
                            raise Crash("the block")
                    raise Crash("the block")
        first, second = caught.value.exceptions
        assert "the block" in repr(first)
        assert isinstance(second, RestartIntensityExceeded)


@virtual_time
async def test_a_block_that_fails_and_is_then_cancelled_from_outside_keeps_its_error() -> None:
    """The orderly stop after the failure takes too long for whoever opened the tree."""
    lives = Lives()
    with assert_no_tasks_left(), pytest.raises(BaseExceptionGroup) as caught:
        with trio.move_on_after(3):
            async with open_tree(one(lives.spec("a", stop=60, asked=True, shutdown=60))):
                raise Crash("the block")
    assert [type(error) for error in caught.value.exceptions] == [Crash]
    assert trio.current_time() - lives.began == 3


@virtual_time
async def test_a_root_killed_by_an_operator_ends_the_block_too() -> None:
    lives = Lives()
    recorder = Recorder()
    with assert_no_tasks_left():
        async with open_tree(one(lives.spec("a", stop=9, asked=True)), on_event=recorder) as tree:
            tree.kill("")
            await trio.sleep_forever()
    assert trio.current_time() == lives.began
    recorder.assert_sequence("exited a killed", "exited root killed")


@virtual_time
async def test_a_root_that_is_made_to_crash_raises_what_it_was_made_to() -> None:
    error = Crash("on purpose")
    with assert_no_tasks_left(), pytest.raises(Crash) as caught:
        async with open_tree(one(Lives().spec("a"))) as tree:
            tree.crash("", error)
            await trio.sleep_forever()
    assert caught.value is error


@virtual_time
async def test_a_block_may_stop_the_tree_itself() -> None:
    lives = Lives()
    async with running(one(lives.spec("a"))) as tree:
        await tree.stop()
        assert not tree.running
        # Its end cancels the block at the next checkpoint: what the block is around has gone.
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
    assert trio.current_time() - lives.began == 1


# ------------------------------------------------------------------------- hook


@virtual_time
async def test_a_hook_that_raises_is_logged_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    def hook(event: Any) -> None:
        raise Crash("the hook")

    lives = Lives()
    with caplog.at_level(logging.ERROR, logger="supervisors"):
        async with open_tree(one(lives.spec("a")), on_event=hook) as tree:
            tree.crash("a", Crash())
            await wait_all_tasks_blocked()
            assert tree.find("a").generation == 2
    assert "the event hook failed on Started" in caplog.text
    assert "Crash: the hook" in caplog.text


@virtual_time
async def test_several_may_watch_and_each_as_long_as_it_likes() -> None:
    first, second = Recorder(), Recorder()
    lives = Lives()
    async with open_tree(SupervisorSpec([lives.spec("a"), lives.spec("b")]), on_event=first) as tree:
        with tree.watch(second):
            await tree.stop_child("a")
        await tree.stop_child("b")
    assert second.story == ["exited a shutdown"]
    assert first.story[-3:] == ["exited a shutdown", "exited b shutdown", "exited root shutdown"]


@virtual_time
async def test_a_hook_may_act_on_the_tree() -> None:
    """Also on the supervisor whose child the event is about, and while that is just being started."""
    lives = Lives()
    trees: list[Tree] = []

    def hook(event: Any) -> None:
        if type(event).__name__ == "Started" and event.path == "p/a":
            trees[0].supervisor("p").start_child_nowait(ChildSpec("b", trio.sleep_forever))
            trees[0].kill("w")

    pool = ChildSpec("p", DynamicSupervisorSpec())
    async with open_tree(SupervisorSpec([pool, lives.spec("w")]), on_event=hook) as tree:
        trees.append(tree)
        await tree.start_child("p", ChildSpec("a", trio.sleep_forever))
        await wait_all_tasks_blocked()
        assert [node.id for node in tree.find("p").children or ()] == ["a", "b"]
        assert tree.find("w").generation == 2


# ------------------------------------------------------------------------ paths


@virtual_time
async def test_children_are_found_by_path_and_others_are_not() -> None:
    spec, ref = actor("a")
    async with running(SupervisorSpec([ChildSpec("s", one(spec)), Lives().spec("b")])) as tree:
        assert tree.find("").id == "root"
        assert tree.find("s/a").path == "s/a"
        assert tree.ref("s/a") is ref
        for path in ("x", "s/x", "b/a", "s/a/x", "/", "s/"):
            with pytest.raises(NoSuchChild, match=f"no child has the path '{path}'"):
                tree.find(path)
        with pytest.raises(WrongKind, match="'b' is not an actor"):
            tree.ref("b")
        with pytest.raises(WrongKind, match="'s/a' is not a supervisor"):
            tree.supervisor("s/a")


@virtual_time
async def test_an_error_in_the_spec_of_a_child_shows_before_anything_starts() -> None:
    lives = Lives()
    with pytest.raises(StartError), assert_no_tasks_left():
        async with open_tree(SupervisorSpec([lives.spec("a", fails={1}), lives.spec("b")])):
            raise AssertionError("it did not start")
    assert lives.of("begin", "b") == []
