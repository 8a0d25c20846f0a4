"""Restarts: by the budget, at once; by a backoff, after a delay; alone or in a group; and when there are no more."""

from __future__ import annotations

import gc
import math
import tracemalloc
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildEnded,
    ChildSpec,
    GaveUp,
    HealthChanged,
    RestartDelayed,
    Restarting,
    RestartIntensityExceeded,
    Shutdown,
    SupervisorSpec,
    open_tree,
)
from supervisors.testing import Recorder, RunningTree, assert_no_tasks_left, running, virtual_time
from tests.supervisors.actors import Crash, Lives, one


def crasher(id: str, *uptimes: float, **options: Any) -> ChildSpec:
    """A child whose lives last these times and end with a crash; the one after the last goes on."""
    left = list(uptimes)

    async def live() -> None:
        if not left:
            await trio.sleep_forever()
        await trio.sleep(left.pop(0))
        raise Crash(f"{id} crashed")

    return ChildSpec(id, live, **options)


# ------------------------------------------------------------------- by budget


@virtual_time
async def test_a_crash_is_restarted_at_once() -> None:
    began = trio.current_time()
    async with running(one(crasher("a", 3, 3))) as tree:
        await trio.sleep(10)
        assert [at - began for at in tree.starts("a")] == [0, 3, 6]
        assert tree.find("a").restarts == 2
        assert [event.left for event in tree.events if isinstance(event, Restarting)] == [2, 1]


@pytest.mark.parametrize(
    ("restart", "ends_by", "generations"),
    [
        ("permanent", None, 2),
        ("permanent", Shutdown(), 2),
        ("permanent", Crash(), 2),
        ("transient", None, 1),
        ("transient", Shutdown(), 1),
        ("transient", Crash(), 2),
        ("temporary", None, 1),
        ("temporary", Crash(), 1),
    ],
)
@virtual_time
async def test_what_ends_by_itself_is_restarted_by_its_type(
    restart: Any, ends_by: Exception | None, generations: int
) -> None:
    starts = 0

    async def live() -> None:
        nonlocal starts
        starts += 1
        if starts > 1:
            await trio.sleep_forever()
        if ends_by is not None:
            raise ends_by

    async with running(one(ChildSpec("a", live, restart=restart))) as tree:
        await wait_all_tasks_blocked()
        assert starts == generations
        present = [node.id for node in tree.snapshot().children or ()]
        assert present == ([] if restart == "temporary" else ["a"])


@virtual_time
async def test_a_budget_that_is_kept_lasts_for_ever() -> None:
    """Three restarts in five seconds, one every two: never more than three in any window."""
    began = trio.current_time()
    async with running(one(crasher("a", *[2] * 50))) as tree:
        await trio.sleep(200)
        assert [at - began for at in tree.starts("a")] == [2 * n for n in range(51)]


@virtual_time
async def test_giving_up_raises_the_last_causes_with_their_notes() -> None:
    recorder = Recorder()
    began = trio.current_time()
    with assert_no_tasks_left(), pytest.raises(RestartIntensityExceeded) as caught:
        async with open_tree(one(crasher("a", *[1] * 9), max_restarts=2), on_event=recorder):
            await trio.sleep_forever()
    assert trio.current_time() - began == 3
    assert caught.value.message == "child 'a' failed 3 times in 5 s (limit 2); supervisor 'root' gives up"
    assert [str(cause) for cause in caught.value.exceptions] == ["a crashed"] * 3
    notes = [cause.__notes__ for cause in caught.value.exceptions]
    assert notes == [[f"child 'a', attempt {number}, up for 1.000 s"] for number in (1, 2, 3)]
    recorder.assert_sequence("exited a crashed", "gave_up root", "exited root crashed")
    gave_up = next(event for event in recorder.events if isinstance(event, GaveUp))
    assert gave_up.error is caught.value


@virtual_time
async def test_giving_up_tells_only_of_the_failures_in_the_window() -> None:
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_tree(one(crasher("a", 60, 60, 60, 60, 1), max_restarts=1)):
            await trio.sleep_forever()
    assert [cause.__notes__[0] for cause in caught.value.exceptions] == [
        "child 'a', attempt 4, up for 60.000 s",
        "child 'a', attempt 5, up for 1.000 s",
    ]
    assert "failed 2 times" in str(caught.value)


@virtual_time
async def test_giving_up_names_all_who_failed() -> None:
    with pytest.raises(RestartIntensityExceeded, match="children 'a', 'b' failed 3 times in 5 s"):
        async with open_tree(SupervisorSpec([crasher("a", 1, 2), crasher("b", 2)], max_restarts=2)):
            await trio.sleep_forever()


@virtual_time
async def test_an_end_without_an_error_has_one_made_for_it() -> None:
    async def returns() -> None:
        """A permanent child that is done at once."""

    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_tree(one(ChildSpec("a", returns), max_restarts=1)):
            await trio.sleep_forever()
    assert [type(cause) for cause in caught.value.exceptions] == [ChildEnded, ChildEnded]
    assert "child 'a' ended (normal) and was to be kept running" in str(caught.value.exceptions[0])


@virtual_time
async def test_at_most_eight_causes_are_kept() -> None:
    with pytest.raises(RestartIntensityExceeded, match="failed 21 times") as caught:
        async with open_tree(one(crasher("a", *[0] * 30), max_restarts=20)):
            await trio.sleep_forever()
    assert len(caught.value.exceptions) == 8
    assert "attempt 21" in caught.value.exceptions[-1].__notes__[0]


@virtual_time
async def test_one_exception_object_says_once_where_it_came_from() -> None:
    error = Crash("always the same")

    async def live() -> None:
        raise error

    with pytest.raises(RestartIntensityExceeded):
        async with open_tree(one(ChildSpec("a", live))):
            await trio.sleep_forever()
    assert error.__notes__ == ["child 'a', attempt 4, up for 0.000 s"]


@virtual_time
async def test_giving_up_quietly_is_otps_way() -> None:
    inner = ChildSpec("s", one(crasher("a", 1), max_restarts=0, give_up="shutdown"), restart="transient")
    async with running(SupervisorSpec([inner])) as tree:
        await tree.wait_for_state("s", "stopped")
        tree.assert_sequence("exited s/a crashed", "gave_up s", "exited s shutdown")
        assert tree.snapshot().health == "ok"


@virtual_time
async def test_escalation_carries_the_causes_of_every_level() -> None:
    inner = ChildSpec("s", one(crasher("a", *[1] * 9), max_restarts=1))
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_tree(SupervisorSpec([inner], max_restarts=1, max_seconds=60)):
            await trio.sleep_forever()
    assert [type(cause) for cause in caught.value.exceptions] == [RestartIntensityExceeded] * 2
    assert caught.value.exceptions[0].__notes__ == ["child 's', attempt 1, up for 2.000 s"]
    assert len(caught.value.split(Crash)[0].exceptions) == 2  # type: ignore[union-attr]
    remaining = caught.value.derive([Crash()])
    assert isinstance(remaining, RestartIntensityExceeded)


@virtual_time
async def test_a_restarted_supervisor_begins_with_a_fresh_budget_and_its_own_children() -> None:
    lives = Lives()
    inner = ChildSpec("s", SupervisorSpec([lives.spec("a")], max_restarts=1))
    async with running(SupervisorSpec([inner])) as tree:
        await tree.start_child("s", lives.spec("extra"))
        for _ in range(2):
            await tree.crash_and_wait("s/a", Crash())
            await tree.wait_for_state("s/a", "running")
        await tree.wait_for_generation("s", 2)
        assert [node.id for node in tree.find("s").children or ()] == ["a"]
        budget = tree.find("s").budget
        assert budget is not None
        assert budget.left == 1
        tree.assert_sequence("removed s/extra", "started s")


@virtual_time
async def test_giving_up_inside_a_group_restart_stops_what_had_been_started() -> None:
    lives = Lives()
    children = [lives.spec("a"), lives.spec("b", fails={2, 3, 4}), lives.spec("c")]
    recorder = Recorder()
    with assert_no_tasks_left(), pytest.raises(RestartIntensityExceeded) as caught:
        async with open_tree(SupervisorSpec(children, strategy="one_for_all"), on_event=recorder) as tree:
            tree.crash("a", Crash("first"))
            await trio.sleep_forever()
    assert [str(cause) for cause in caught.value.exceptions] == ["first", *["b fails to start"] * 3]
    assert "never up" in caught.value.exceptions[-1].__notes__[0]
    assert lives.of("begin", "c") == [0]
    assert len(lives.of("up", "a")) == len(lives.of("end", "a")) == 4


# --------------------------------------------------------------------- strategy


@pytest.mark.parametrize(
    ("strategy", "stopped", "started"),
    [("one_for_one", "", "b"), ("rest_for_one", "dc", "bcd"), ("one_for_all", "dca", "abcd")],
)
@virtual_time
async def test_a_failure_concerns_those_that_the_strategy_says(strategy: Any, stopped: str, started: str) -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec(id) for id in "abcd"], strategy=strategy)) as tree:
        tree.recorder.clear()
        tree.crash("b", Crash())
        await wait_all_tasks_blocked()
        tree.assert_story(
            "exited b crashed",
            "restarting b",
            *(f"exited {id} shutdown" for id in stopped),
            *(f"started {id}" for id in started),
        )


@virtual_time
async def test_two_that_crash_together_cost_what_their_strategy_says() -> None:
    lives = Lives()
    for strategy, restarts in (("one_for_one", 2), ("one_for_all", 1)):
        async with running(SupervisorSpec([lives.spec(id) for id in "abc"], strategy=strategy)) as tree:
            tree.crash("a", Crash())
            tree.crash("c", Crash())
            await wait_all_tasks_blocked()
            assert len([event for event in tree.events if isinstance(event, Restarting)]) == restarts
            assert [node.state for node in tree.snapshot().children or ()] == ["running"] * 3


@virtual_time
async def test_a_restart_that_fails_is_tried_again_as_long_as_the_budget_lasts() -> None:
    lives = Lives()
    async with running(one(lives.spec("a", fails={2, 3}))) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_generation("a", 2)
        assert tree.find("a").restarts == 3
        tree.assert_sequence(
            "exited a crashed", "restarting a", "start_failed a", "restarting a", "start_failed a", "restarting a"
        )


@virtual_time
async def test_a_restart_that_takes_too_long_is_a_failed_one() -> None:
    lives = Lives()
    slow = lives.spec("a", start=1, start_timeout=2)

    async def slower(*, task_status: Any) -> None:
        if lives.of("up"):
            await trio.sleep(60)
        await slow.start(task_status=task_status)  # type: ignore[operator]

    with pytest.raises(RestartIntensityExceeded, match="failed 4 times in 60 s") as caught:
        async with open_tree(one(ChildSpec("a", slower, start_timeout=2), max_seconds=60)) as tree:
            tree.crash("a", Crash())
            await trio.sleep_forever()
    assert trio.current_time() - lives.began == 1 + 3 * 2
    assert "start_timeout of 2 s" in str(caught.value.exceptions[-1])


@virtual_time
async def test_commands_are_served_between_two_tries() -> None:
    lives = Lives()
    spec = SupervisorSpec([lives.spec("a", start=1, fails=range(2, 99))], max_restarts=50, max_seconds=60)
    async with running(spec) as tree:
        tree.crash("a", Crash())
        await trio.sleep(2.5)
        await tree.stop_child("a")
        assert tree.find("a").state == "stopped"
        await trio.sleep(10)
        assert tree.find("a").state == "stopped"


# ------------------------------------------------------------------- by backoff

HALF = {"random": lambda: 0.5}


@virtual_time
async def test_the_first_restart_is_at_once_and_the_next_ones_wait_longer_and_longer() -> None:
    began = trio.current_time()
    spec = crasher("a", *[0] * 7, backoff=Backoff(first=1.0, maximum=5.0))
    async with running(one(spec, max_restarts=0), **HALF) as tree:
        await trio.sleep(100)
        assert [at - began for at in tree.starts("a")] == [0, 0, 0.5, 1.5, 3.5, 6, 8.5, 11]
        delays = [event.delay for event in tree.events if isinstance(event, RestartDelayed)]
        assert delays == [0.5, 1, 2, 2.5, 2.5, 2.5]
        assert [event.left for event in tree.events if isinstance(event, Restarting)] == [None]


@virtual_time
async def test_a_healthy_uptime_begins_the_row_anew() -> None:
    began = trio.current_time()
    spec = crasher("a", 0, 0, 0, 5, 0, backoff=Backoff(first=2.0, healthy_uptime=5))
    async with running(one(spec, max_restarts=0), **HALF) as tree:
        await trio.sleep(100)
        # Three in a row: at once, 1 s, 2 s; then it ran for 5 s: at once again, 1 s.
        assert [at - began for at in tree.starts("a")] == [0, 0, 1, 3, 8, 9]


@virtual_time
async def test_failed_restarts_add_to_the_row() -> None:
    lives = Lives()
    spec = lives.spec("a", fails={2, 3, 4}, backoff=Backoff(first=2.0))
    async with running(one(spec, max_restarts=0), **HALF) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_generation("a", 2)
        assert lives.of("begin") == [0, 0, 1, 3, 7]


@virtual_time
async def test_a_delay_that_chance_made_zero_fills_neither_the_loop_nor_the_stack() -> None:
    lives = Lives()
    spec = lives.spec("a", fails=range(2, 3000), backoff=Backoff(first=2.0))
    async with running(one(spec, max_restarts=0), random=lambda: 0.0) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_generation("a", 2)
        assert tree.find("a").restarts == 2999
        assert trio.current_time() == lives.began


@virtual_time
async def test_after_max_failures_it_is_given_up_alone() -> None:
    lives = Lives()
    spec = crasher("a", *[0] * 9, backoff=Backoff(first=1.0, max_failures=3))
    async with running(SupervisorSpec([lives.spec("b"), spec]), **HALF) as tree:
        node = await tree.wait_for_state("a", "failed")
        assert (node.health, node.restarts, node.next_retry) == ("failing", 2, None)
        assert node.reasons == ("given up: Crash: a crashed",)
        assert tree.find("b").health == "ok"
        assert tree.snapshot().health == "degraded"
        assert tree.snapshot().reasons == ("a is not ok",)
        await trio.sleep(1000)
        assert tree.find("a").state == "failed"
        tree.assert_sequence("restarting a", "restart_delayed a", "exited a crashed", "gave_up a")
        assert lives.of("begin", "b") == [0]


@virtual_time
async def test_what_was_given_up_can_be_started_by_hand_and_begins_anew() -> None:
    lives = Lives()
    spec = lives.spec("a", fails={2, 3}, backoff=Backoff(first=1.0, max_failures=3))
    async with running(one(spec), **HALF) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "failed")
        await tree.start_again("a")
        assert tree.find("a").health == "ok"
        assert tree.find("a").generation == 2


@virtual_time
async def test_stop_interrupts_a_delay() -> None:
    spec = crasher("a", 0, 0, 0, backoff=Backoff(first=60.0, maximum=60.0))
    async with running(one(spec), **HALF) as tree:
        node = await tree.wait_for_state("a", "backing_off")
        assert node.next_retry == 30
        await trio.sleep(10)
        assert tree.find("a").next_retry == 20
        began = trio.current_time()
        await tree.stop()
        assert trio.current_time() == began


@virtual_time
async def test_stopped_by_hand_while_delayed_it_stays_down() -> None:
    spec = crasher("a", 0, 0, 0, backoff=Backoff(first=10.0))
    async with running(one(spec), **HALF) as tree:
        await tree.wait_for_state("a", "backing_off")
        await tree.stop_child("a")
        await trio.sleep(100)
        assert tree.find("a").state == "stopped"
        await tree.start_again("a")
        await trio.sleep(100)
        assert tree.find("a").state == "running"


@virtual_time
async def test_restarted_by_hand_while_delayed_it_does_not_start_a_second_time() -> None:
    lives = Lives()
    spec = lives.spec("a", fails={2, 3}, backoff=Backoff(first=10.0))
    async with running(one(spec), **HALF) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "backing_off")
        await trio.sleep(1)
        with pytest.raises(Exception, match="fails to start"):
            await tree.restart_child("a")
        await tree.restart_child("a")
        await trio.sleep(100)
        assert len(lives.of("up")) == 2


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@virtual_time
async def test_those_that_must_not_run_without_it_are_down_while_it_is_delayed(strategy: Any) -> None:
    lives = Lives()
    spec = lives.spec("b", fails={2, 3}, backoff=Backoff(first=10.0))
    children = [lives.spec("a"), spec, lives.spec("c")]
    async with running(SupervisorSpec(children, strategy=strategy), **HALF) as tree:
        tree.crash("b", Crash())
        await tree.wait_for_state("b", "backing_off")
        kept = strategy == "rest_for_one"
        states = [node.state for node in tree.snapshot().children or ()]
        assert states == ["running" if kept else "stopped", "backing_off", "stopped"]
        await tree.wait_for_generation("b", 2)
        await wait_all_tasks_blocked()
        assert [node.state for node in tree.snapshot().children or ()] == ["running"] * 3
        assert lives.of("up", "a") == ([0] if kept else [0, 0, 5, 15])
        assert lives.of("up", "c") == [0, 15]
        assert lives.of("end", "c") == [0]


@virtual_time
async def test_given_up_it_leaves_those_down_that_must_not_run_without_it_until_it_is_started() -> None:
    lives = Lives()
    spec = lives.spec("a", fails={2, 3}, backoff=Backoff(first=10.0, max_failures=3))
    async with running(SupervisorSpec([spec, lives.spec("b")], strategy="rest_for_one"), **HALF) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_state("a", "failed")
        assert tree.find("b").state == "stopped"
        await tree.restart_child("a")
        assert [node.state for node in tree.snapshot().children or ()] == ["running", "running"]
        tree.crash("a", Crash())
        await wait_all_tasks_blocked()
        assert [node.state for node in tree.snapshot().children or ()] == ["running", "running"]


@virtual_time
async def test_given_up_while_up_it_stops_those_that_must_not_run_without_it() -> None:
    lives = Lives()
    spec = crasher("a", 1, backoff=Backoff(max_failures=1))
    async with running(SupervisorSpec([spec, lives.spec("b")], strategy="one_for_all")) as tree:
        await tree.wait_for_state("a", "failed")
        assert tree.find("b").state == "stopped"


@virtual_time
async def test_a_group_restart_of_another_ends_a_delay() -> None:
    lives = Lives()
    spec = lives.spec("b", fails={2}, backoff=Backoff(first=100.0, maximum=100.0))
    async with running(SupervisorSpec([lives.spec("a"), spec], strategy="rest_for_one"), **HALF) as tree:
        tree.crash("b", Crash())
        await tree.wait_for_state("b", "backing_off")
        await trio.sleep(1)
        tree.crash("a", Crash())
        await tree.wait_for_generation("b", 2)
        assert lives.of("up", "b") == [0, 1]
        await trio.sleep(1000)
        assert lives.of("up", "b") == [0, 1]
        assert tree.find("b").health == "ok"


@virtual_time
async def test_a_child_with_a_backoff_that_fails_in_the_group_restart_of_another() -> None:
    """Its row begins with that failure: once more at once, then after a delay."""
    lives = Lives()
    spec = lives.spec("b", fails={2, 3}, backoff=Backoff(first=10.0))
    async with running(SupervisorSpec([lives.spec("a"), spec], strategy="one_for_all"), **HALF) as tree:
        tree.crash("a", Crash())
        await tree.wait_for_generation("b", 2)
        assert lives.of("begin", "b") == [0, 0, 0, 5]
        assert len([event for event in tree.events if isinstance(event, Restarting) and event.left is not None]) == 1


# ---------------------------------------------------------------- auto-shutdown


@pytest.mark.parametrize(("auto", "survives"), [("any_significant", 0), ("all_significant", 1)])
@virtual_time
async def test_significant_children_end_their_supervisor(auto: Any, survives: int) -> None:
    async def live(seconds: float) -> None:
        await trio.sleep(seconds)

    lives = Lives()
    children = [
        lives.spec("keeper"),
        *(ChildSpec(f"s{seconds}", live, (seconds,), restart="transient", significant=True) for seconds in (1, 2)),
    ]
    inner = ChildSpec("s", SupervisorSpec(children, auto_shutdown=auto), restart="transient")
    async with running(SupervisorSpec([inner])) as tree:
        await tree.wait_for_state("s", "stopped")
        assert trio.current_time() - lives.began == 1 + survives
        tree.assert_sequence("exited s/keeper shutdown", "exited s shutdown")


@virtual_time
async def test_a_root_that_shuts_itself_down_cancels_the_block_and_raises_nothing() -> None:
    async def live() -> None:
        await trio.sleep(1)

    spec = ChildSpec("a", live, restart="temporary", significant=True)
    reached = False
    async with running(one(spec, auto_shutdown="any_significant")):
        await trio.sleep_forever()
        reached = True
    assert not reached


# ------------------------------------------------------------------------ figures


@virtual_time
async def test_the_uptime_of_an_exit_is_its_own_also_when_its_supervisor_was_busy() -> None:
    """Its third life ends at 3, after 2 s, and is dealt with at 11, when b is up again: 2 s is no healthy uptime."""
    lives = Lives()
    attempts = 0

    async def slow_the_second_time(*, task_status: Any) -> None:
        nonlocal attempts
        attempts += 1
        await trio.sleep(9 if attempts == 2 else 0)
        task_status.started()
        await trio.sleep(2 if attempts == 1 else math.inf)
        raise Crash

    quick = crasher("a", 0, 0, 2, backoff=Backoff(first=2.0, healthy_uptime=5))
    async with running(SupervisorSpec([quick, ChildSpec("b", slow_the_second_time)]), **HALF) as tree:
        await trio.sleep(30)
        assert [at - lives.began for at in tree.starts("b")] == [0, 11]
        assert [at - lives.began for at in tree.starts("a")] == [0, 0, 1, 13]


@virtual_time
async def test_nothing_grows_with_the_number_of_restarts() -> None:
    crashes = 0

    async def live(*, task_status: Any) -> None:
        nonlocal crashes
        task_status.started()
        crashes += 1
        if crashes % 1000 == 0:
            await trio.sleep(60)
        raise Crash

    traced: list[int] = []
    async with open_tree(one(ChildSpec("a", live), max_restarts=2000, max_seconds=10.0)):
        await trio.sleep(1)
        tracemalloc.start()
        try:
            for _ in range(5):
                await trio.sleep(60)
                gc.collect()
                traced.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert crashes >= 5000
    assert traced[-1] - traced[0] < 20_000  # bytes, for 4000 restarts more


# ------------------------------------------------------- failed, and with its group


async def waiting_for_a(tree: RunningTree, *crashed: str) -> None:
    """Crash these children; their group cannot be restarted, as ``a`` does not start again, and is stopped by hand."""
    for path in crashed:
        tree.crash(path, Crash("x"))
    await trio.sleep(1.5)  # the first attempt has failed, the second is under way
    await tree.stop_child("a")
    await trio.sleep(1000)


def all_for_one(lives: Lives, *others: str, **options: Any) -> SupervisorSpec:
    """A group whose first child ``a`` starts once only."""
    a = lives.spec("a", start=1, fails=range(2, 99), **options)
    return SupervisorSpec([a, *map(lives.spec, others)], strategy="one_for_all", max_restarts=99)


@pytest.mark.parametrize("crashed", [("b",), ("b", "a"), ("a", "b")])
@virtual_time
async def test_a_failed_child_whose_group_waits_for_one_that_is_stopped_by_hand_says_so(crashed: Any) -> None:
    """As in OTP they stay down: the restart that was under way was that of the one that could not start."""
    lives = Lives()
    async with running(all_for_one(lives, "b", "c")) as tree:
        await waiting_for_a(tree, *crashed)
        assert [node.state for node in tree.snapshot().children or ()] == ["stopped", "stopped", "stopped"]
        assert (tree.find("a").health, tree.find("c").health) == ("ok", "ok")
        assert tree.find("b").reasons == ("failed and is down: Crash: x",)
        assert tree.snapshot().reasons == ("b is not ok",)


@pytest.mark.parametrize("remedy", ["stop_child", "start_again", "restart_child"])
@virtual_time
async def test_a_failed_child_that_is_down_is_well_again_when_it_is_stopped_or_started_by_hand(remedy: str) -> None:
    async with running(all_for_one(Lives(), "b")) as tree:
        await waiting_for_a(tree, "b")
        assert tree.snapshot().health == "degraded"
        await getattr(tree, remedy)("b")
        assert tree.snapshot().health == tree.find("b").health == "ok"


@virtual_time
async def test_a_restart_with_its_group_heals_nobody() -> None:
    lives = Lives()
    async with running(SupervisorSpec([lives.spec("a"), lives.spec("b")], strategy="rest_for_one")) as tree:
        tree.crash("b", Crash("x"))
        await trio.sleep(2)
        tree.crash("a", Crash("y"))
        await trio.sleep(4)  # 6 s after its failure, 4 s after its last start
        assert tree.find("b").reasons == ("failed a moment ago",)
        await trio.sleep(2)
        assert tree.snapshot().health == "ok"
        assert [event.at - lives.began for event in tree.events if isinstance(event, HealthChanged)] == [7, 7]


@pytest.mark.parametrize("backoff", [None, Backoff(first=64.0, maximum=64.0, max_failures=9)])
@virtual_time
async def test_to_restart_by_hand_the_one_that_a_group_waits_for_starts_the_group(backoff: Backoff | None) -> None:
    """They are down because it could not start, not because somebody wanted them to be."""
    lives = Lives()
    a = lives.spec("a", start=1, fails=(2, 3), backoff=backoff)
    async with running(
        SupervisorSpec([a, lives.spec("b")], strategy="one_for_all", max_restarts=99), random=lambda: 1.0
    ) as tree:
        tree.crash("b", Crash("x"))
        await trio.sleep(1.5 if backoff is None else 4)
        await tree.restart_child("a")
        assert [node.state for node in tree.snapshot().children or ()] == ["running", "running"]
