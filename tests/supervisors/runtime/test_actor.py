"""An actor's life: construction, handshake, messages, timers, stop."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import Actor, ActorCrashed, ChildSpec, Ignore, Ref, StartError, SupervisorSpec, Timer
from supervisors.runtime.actor import BATCH
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, actor, one


class Diary(Actor[Any]):
    """Writes down what happens to it, with the time since *began*."""

    def __init__(self, log: list[Any], began: float = 0.0) -> None:
        self.log = log
        self.began = began

    def note(self, what: Any) -> None:
        self.log.append((what, trio.current_time() - self.began))

    async def on_start(self) -> None:
        self.note("start")

    async def on_continue(self) -> None:
        self.note("continue")

    async def handle_cast(self, message: Any) -> None:
        self.note(message)
        if isinstance(message, float):
            await trio.sleep(message)
        elif isinstance(message, Exception):
            raise message

    async def on_stop(self) -> None:
        self.note("stop")


# ------------------------------------------------------------------------- life


@virtual_time
async def test_the_methods_run_in_the_order_of_a_life() -> None:
    log: list[Any] = []
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Diary, (log,), {"began": trio.current_time()}, ref=ref))):
        await ref.cast("hello")
        await wait_all_tasks_blocked()
    assert log == [("start", 0), ("continue", 0), ("hello", 0), ("stop", 0)]


@virtual_time
async def test_it_is_up_when_on_start_returns_and_before_on_continue_does() -> None:
    class Long(Diary):
        async def on_start(self) -> None:
            await trio.sleep(1)

        async def on_continue(self) -> None:
            await trio.sleep(10)
            self.note("ready")

    log: list[Any] = []
    began = trio.current_time()
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Long, (log, began), ref=ref))):
        assert trio.current_time() == began + 1
        await ref.cast("first message")
        await trio.sleep(20)
        assert log == [("ready", 11), ("first message", 11)]


@virtual_time
async def test_each_generation_is_a_new_object_that_knows_who_it_is() -> None:
    seen: list[Any] = []

    class Self(Actor[Any]):
        async def on_start(self) -> None:
            seen.append((self, self.context.path, self.context.generation, self.context.ref))

    ref: Ref[Any] = Ref()
    async with running(SupervisorSpec([ChildSpec("s", one(ChildSpec("a", Self, ref=ref)))])) as tree:
        await tree.crash_and_wait("s/a", Crash())
        await tree.wait_for_generation("s/a", 2)
    (first, *who_first), (second, *who_second) = seen
    assert first is not second
    assert (who_first, who_second) == (["s/a", 1, ref], ["s/a", 2, ref])


@virtual_time
async def test_an_actor_without_a_ref_of_its_own_is_reached_through_the_tree() -> None:
    log: list[Any] = []
    async with running(one(ChildSpec("a", Diary, (log,)))) as tree:
        await tree.ref("a").cast("hello")
        await wait_all_tasks_blocked()
    assert "hello" in [what for what, _ in log]


@pytest.mark.parametrize("where", ["__init__", "on_start"])
@virtual_time
async def test_a_failure_before_it_is_up_is_a_failed_start(where: str) -> None:
    class Failing(Actor[Any]):
        def __init__(self) -> None:
            if where == "__init__":
                raise Crash(where)

        async def on_start(self) -> None:
            raise Crash(where)

    with pytest.raises(StartError, match=f"'a' did not start: {where}") as caught:
        async with running(one(ChildSpec("a", Failing))):
            raise AssertionError("it did not start")
    assert isinstance(caught.value.__cause__, Crash)


@virtual_time
async def test_a_failure_in_on_continue_is_a_crash() -> None:
    class Failing(Diary):
        async def on_continue(self) -> None:
            if self.context.generation == 1:
                raise Crash

    async with running(one(ChildSpec("a", Failing, ([],)))) as tree:
        await tree.wait_for_generation("a", 2)
        tree.assert_sequence("started a", "exited a crashed", "restarting a", "started a")


@virtual_time
async def test_an_actor_can_decline() -> None:
    class Declines(Actor[Any]):
        async def on_start(self) -> None:
            raise Ignore

    async with running(one(ChildSpec("a", Declines))) as tree:
        assert tree.find("a").state == "stopped"
        tree.assert_story("ignored a", "started root")


@virtual_time
async def test_what_it_has_no_method_for_crashes_it_with_a_plain_word() -> None:
    async with running(one(ChildSpec("a", Actor))) as tree:
        with pytest.raises(ActorCrashed) as caught:
            await tree.ref("a").call("x")
        assert "Actor does not answer calls, got 'x'" in str(caught.value.__cause__)
        await tree.wait_for_generation("a", 2)
        await tree.ref("a").cast("y")
        await tree.wait_for_generation("a", 3)
        assert "Actor does not take messages, got 'y'" in str(tree.find("a").last_exit)
        assert tree.find("a").stats == {}


@virtual_time
async def test_a_crash_runs_no_on_stop_and_neither_does_a_kill() -> None:
    log: list[Any] = []
    async with running(one(ChildSpec("a", Diary, (log,), restart="transient"))) as tree:
        await tree.crash_and_wait("a", Crash())
        await tree.wait_for_generation("a", 2)
        tree.kill("a")
        await tree.wait_for_generation("a", 3)
        assert "stop" not in [what for what, _ in log]


@virtual_time
async def test_asked_to_stop_it_finishes_the_message_in_hand_and_leaves_the_others() -> None:
    log: list[Any] = []
    ref: Ref[Any] = Ref()
    began = trio.current_time()
    async with running(one(ChildSpec("a", Diary, (log, began), ref=ref))) as tree:
        await ref.cast(2.0)
        await wait_all_tasks_blocked()
        await ref.cast("never handled")
        await tree.stop_child("a")
        assert trio.current_time() == began + 2
    assert log == [("start", 0), ("continue", 0), (2.0, 0), ("stop", 2)]


@virtual_time
async def test_on_stop_has_what_is_left_of_the_shutdown_time() -> None:
    class Slow(Diary):
        async def on_stop(self) -> None:
            self.note("begin")
            await trio.sleep(60)
            self.note("end")

    log: list[Any] = []
    began = trio.current_time()
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Slow, (log, began), shutdown=3.0, ref=ref))) as tree:
        await ref.cast(2.0)
        await wait_all_tasks_blocked()
        await tree.stop_child("a")
        assert trio.current_time() == began + 3
        assert log[-1] == ("begin", 2)
        tree.assert_sequence("exited a killed")


@virtual_time
async def test_a_crash_in_on_stop_is_told_and_restarts_nothing() -> None:
    class Failing(Diary):
        async def on_stop(self) -> None:
            raise Crash

    async with running(one(ChildSpec("a", Failing, ([],)))) as tree:
        await tree.stop_child("a")
        tree.assert_story("started a", "started root", "exited a crashed")


@virtual_time
async def test_a_busy_actor_lets_others_run() -> None:
    """After at most a batch of messages that it handles without waiting comes a checkpoint."""
    progress: list[int] = []

    class Counter(Actor[int]):
        async def handle_cast(self, message: int) -> None:
            progress.append(message)

    ref: Ref[int] = Ref()
    async with running(one(ChildSpec("a", Counter, ref=ref))):
        for number in range(10 * BATCH):
            ref.cast_nowait(number)
        seen = []
        while len(progress) < 10 * BATCH:
            await trio.lowlevel.checkpoint()
            seen.append(len(progress))
        assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= 2 * BATCH


@virtual_time
async def test_statistics_show_in_the_tree_also_when_they_fail() -> None:
    class Failing(Actor[Any]):
        def statistics(self) -> dict[str, object]:
            raise Crash("no figures")

    spec, ref = actor("a")
    async with running(SupervisorSpec([spec, ChildSpec("b", Failing)])) as tree:
        await ref.call("x")
        assert tree.find("a").stats == {"handled": 1}
        assert tree.find("b").stats == {"error": "Crash: no figures"}


# ----------------------------------------------------------------------- timers


class Ticker(Diary):
    """Sets the timers it is given: ``(method, seconds, message)``."""

    timers: list[Timer]

    def __init__(self, log: list[Any], began: float, *plans: tuple[str, float, Any]) -> None:
        super().__init__(log, began)
        self.plans = plans

    async def on_start(self) -> None:
        self.timers = [getattr(self, method)(seconds, message) for method, seconds, message in self.plans]

    async def on_continue(self) -> None:
        pass

    async def on_stop(self) -> None:
        pass

    async def handle_call(self, request: Any) -> object:
        return self if request == "self" else await trio.sleep(request)


@virtual_time
async def test_send_after_arrives_once_and_every_keeps_a_steady_cadence() -> None:
    log: list[Any] = []
    began = trio.current_time()
    spec = ChildSpec("a", Ticker, (log, began, ("every", 1.0, "tick"), ("send_after", 1.5, "once")))
    async with running(one(spec)):
        await trio.sleep(4.25)
    assert log == [("tick", 1), ("once", 1.5), ("tick", 2), ("tick", 3), ("tick", 4)]


@virtual_time
async def test_late_ticks_are_skipped_and_the_cadence_is_kept() -> None:
    log: list[Any] = []
    began = trio.current_time()
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Ticker, (log, began, ("every", 1.0, "tick")), ref=ref))):
        await trio.sleep(1.5)
        await ref.call(3.25)  # busy until 4.75: the ticks of 2 and 3 are skipped, that of 4 is late
        await trio.sleep(1.5)
        assert log == [("tick", 1), ("tick", 4.75), ("tick", 5), ("tick", 6)]
        assert (await ref.call("self")).timers[0].late == 2


@virtual_time
async def test_a_handler_slower_than_the_interval_gets_one_tick_at_a_time() -> None:
    log: list[Any] = []
    began = trio.current_time()
    async with running(one(ChildSpec("a", Ticker, (log, began, ("every", 1.0, 2.5))))) as tree:
        await trio.sleep(9)
        await tree.stop()
        tree.assert_sequence("exited a shutdown")
    assert trio.current_time() == began + 11  # asked at 9, it finished the tick in hand and took no other
    assert [at for _, at in log] == [1, 3.5, 6, 8.5]


@virtual_time
async def test_a_handler_slower_than_its_timer_does_not_starve_the_mailbox() -> None:
    log: list[Any] = []
    began = trio.current_time()
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Ticker, (log, began, ("every", 1.0, 2.5)), ref=ref))):
        await trio.sleep(2)
        await ref.cast("x")
        await ref.cast("y")
        await trio.sleep(6)
        assert log == [(2.5, 1), ("x", 3.5), (2.5, 3.5), ("y", 6), (2.5, 6)]


@virtual_time
async def test_a_cancelled_timer_never_arrives() -> None:
    log: list[Any] = []
    began = trio.current_time()
    ref: Ref[Any] = Ref()
    spec = ChildSpec("a", Ticker, (log, began, ("every", 1.0, "tick"), ("send_after", 3.0, "once")), ref=ref)
    async with running(one(spec)):
        await trio.sleep(1.5)
        ticker = await ref.call("self")
        for timer in ticker.timers:
            timer.cancel()
            timer.cancel()
        await trio.sleep(10)
        assert log == [("tick", 1)]


@virtual_time
async def test_a_repeated_timer_can_be_cancelled_by_its_own_tick() -> None:
    class Once(Ticker):
        async def handle_cast(self, message: Any) -> None:
            self.note(message)
            self.timers[0].cancel()

    log: list[Any] = []
    async with running(one(ChildSpec("a", Once, (log, trio.current_time(), ("every", 1.0, "tick"))))):
        await trio.sleep(10)
    assert log == [("tick", 1)]


@virtual_time
async def test_timers_belong_to_a_generation() -> None:
    """The timers of an actor that crashed are gone with it; the next generation sets its own."""
    log: list[Any] = []
    began = trio.current_time()
    spec = ChildSpec("a", Ticker, (log, began, ("every", 1.0, "tick"), ("send_after", 2.25, "once")))
    async with running(one(spec)) as tree:
        await trio.sleep(1.5)
        await tree.crash_and_wait("a", Crash())
        await trio.sleep(2.5)
    assert log == [("tick", 1), ("tick", 2.5), ("tick", 3.5), ("once", 3.75)]


@virtual_time
async def test_a_timer_set_by_a_handler_while_messages_wait() -> None:
    class Chain(Diary):
        async def handle_cast(self, message: Any) -> None:
            self.note(message)
            if message == "set":
                self.send_after(0, "now")
                self.send_after(1, "later")

    log: list[Any] = []
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Chain, (log, trio.current_time()), ref=ref))):
        ref.cast_nowait("set")
        ref.cast_nowait("x")
        await trio.sleep(2)
        assert log[2:] == [("set", 0), ("now", 0), ("x", 0), ("later", 1)]


@virtual_time
async def test_messages_arrive_between_ticks_and_do_not_disturb_them() -> None:
    log: list[Any] = []
    began = trio.current_time()
    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Ticker, (log, began, ("every", 1.0, "tick")), ref=ref))):
        for _ in range(3):
            await trio.sleep(0.75)
            await ref.cast("x")
        await trio.sleep(0.5)
    assert log == [("x", 0.75), ("tick", 1), ("x", 1.5), ("tick", 2), ("x", 2.25)]


@virtual_time
async def test_an_actor_with_timers_can_be_asked_to_stop_at_any_moment() -> None:
    class Slow(Ticker):
        async def on_stop(self) -> None:
            self.note("stop")

    log: list[Any] = []
    async with running(one(ChildSpec("a", Slow, (log, trio.current_time(), ("every", 1.0, "tick"))))) as tree:
        await trio.sleep(0.5)
        await tree.stop_child("a")
    assert log == [("stop", 0.5)]


@pytest.mark.parametrize("interval", [0, -1.0])
@virtual_time
async def test_an_interval_must_let_time_pass(interval: float) -> None:
    spec = ChildSpec("a", Ticker, ([], 0.0, ("every", interval, "tick")))
    with pytest.raises(StartError, match="interval must be greater than 0"):
        async with running(one(spec)):
            raise AssertionError("it did not start")
