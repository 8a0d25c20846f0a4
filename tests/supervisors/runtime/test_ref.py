"""Calls and casts: what becomes of each when the actor replies, crashes, is stopped, or is too slow."""

from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from supervisors import (
    ActorCrashed,
    ActorStopped,
    CallCycle,
    ChildSpec,
    MailboxClosed,
    MailboxFull,
    MailboxSpec,
    MessageDropped,
    Ref,
    Request,
    SupervisorNotRunning,
    SupervisorRef,
    SupervisorSpec,
)
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Echo, actor, one


class Outcome:
    """How a call went, and when."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self.at: float | None = None

    async def of(self, ref: Ref[Any], request: Any) -> None:
        try:
            self.value = await ref.call(request)
        except Exception as error:
            self.error = error
        self.at = trio.current_time()


def call_soon(nursery: trio.Nursery, ref: Ref[Any], request: Any) -> Outcome:
    outcome = Outcome()
    nursery.start_soon(outcome.of, ref, request)
    return outcome


# ---------------------------------------------------------------------- replies


@virtual_time
async def test_a_call_returns_the_reply_and_is_a_checkpoint() -> None:
    spec, ref = actor("a")
    async with running(one(spec)):
        with assert_checkpoints():
            assert await ref.call("hello") == "hello"


@virtual_time
async def test_requests_are_served_one_at_a_time_in_order() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)), trio.open_nursery() as nursery:
        began = trio.current_time()
        outcomes = []
        for number in range(3):
            outcomes.append(call_soon(nursery, ref, ("sleep", 1.0 + number)))
            await wait_all_tasks_blocked()
        await trio.sleep(10)
        assert [outcome.at - began for outcome in outcomes if outcome.at is not None] == [1, 3, 6]
        assert log == [("sleep", 1.0), ("sleep", 2.0), ("sleep", 3.0)]


@virtual_time
async def test_casts_are_handled_in_order_and_nobody_waits() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)):
        began = trio.current_time()
        await ref.cast(("sleep", 1))
        ref.cast_nowait("x")
        with assert_checkpoints():
            await ref.cast("y")
        assert trio.current_time() == began
        await trio.sleep(2)
        assert log == [("sleep", 1), "x", "y"]


@virtual_time
async def test_a_ref_tells_its_path_and_its_figures() -> None:
    spec, ref = actor("a")
    assert ref.path == "a"
    with pytest.raises(MailboxClosed):
        ref.statistics()
    async with running(SupervisorSpec([ChildSpec("s", one(spec))])):
        assert ref.path == "s/a"
        assert "s/a" in repr(ref)
        await ref.call("x")
        assert ref.statistics().received == 1


# ------------------------------------------------------------ crash, stop, kill


@virtual_time
async def test_a_crash_is_told_to_the_caller_at_once_with_its_cause() -> None:
    spec, ref = actor("a")
    crash = Crash("x")
    async with running(one(spec)) as tree:
        began = trio.current_time()
        with pytest.raises(ActorCrashed, match="'a' crashed while") as caught:
            await ref.call(("raise", crash))
        assert caught.value.__cause__ is crash
        assert trio.current_time() == began
        await tree.wait_for_generation("a", 2)


@virtual_time
async def test_a_request_that_crashed_the_actor_is_not_served_again() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        call_soon(nursery, ref, ("raise", Crash()))
        await tree.wait_for_generation("a", 2)
        assert await ref.call("x") == "x"
        assert len(log) == 2


@virtual_time
async def test_calls_that_wait_survive_a_restart_and_are_served_after_it() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        first = call_soon(nursery, ref, ("sleep", 10))
        await wait_all_tasks_blocked()
        waiting = [call_soon(nursery, ref, number) for number in range(3)]
        await wait_all_tasks_blocked()
        await tree.crash_and_wait("a", Crash())
        await tree.wait_for_generation("a", 2)
        await wait_all_tasks_blocked()
        assert isinstance(first.error, ActorCrashed)
        assert [outcome.value for outcome in waiting] == [0, 1, 2]


@virtual_time
async def test_a_caller_that_waits_for_room_survives_a_restart_too() -> None:
    spec, ref = actor("a", mailbox=MailboxSpec(1))
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        call_soon(nursery, ref, ("sleep", 10))
        await wait_all_tasks_blocked()
        outcomes = [call_soon(nursery, ref, number) for number in range(3)]
        await wait_all_tasks_blocked()
        assert ref.statistics().senders_waiting == 2
        await tree.crash_and_wait("a", Crash())
        await trio.sleep(1)
        assert [outcome.value for outcome in outcomes] == [0, 1, 2]


@virtual_time
async def test_a_stop_ends_the_calls_that_wait_and_finishes_the_one_in_hand() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        began = trio.current_time()
        in_hand = call_soon(nursery, ref, ("sleep", 2))
        await wait_all_tasks_blocked()
        waiting = call_soon(nursery, ref, "never served")
        await wait_all_tasks_blocked()
        await tree.stop_child("a")
        await wait_all_tasks_blocked()
        assert (in_hand.value, in_hand.at) == ("slept", began + 2)
        assert isinstance(waiting.error, ActorStopped)
        assert log == [("sleep", 2), "on_stop"]


@virtual_time
async def test_a_call_in_hand_when_the_stop_takes_too_long_is_told() -> None:
    spec, ref = actor("a", shutdown=1.0)
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        outcome = call_soon(nursery, ref, ("sleep", 60))
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await tree.stop_child("a")
        await wait_all_tasks_blocked()
        assert isinstance(outcome.error, ActorStopped)
        assert outcome.at == began + 1


@virtual_time
async def test_a_kill_ends_the_call_in_hand_and_the_others_are_served_after_the_restart() -> None:
    spec, ref = actor("a")
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        in_hand = call_soon(nursery, ref, ("sleep", 60))
        await wait_all_tasks_blocked()
        waiting = call_soon(nursery, ref, "x")
        await wait_all_tasks_blocked()
        tree.kill("a")
        await tree.wait_for_generation("a", 2)
        await wait_all_tasks_blocked()
        assert isinstance(in_hand.error, ActorStopped)
        assert waiting.value == "x"


@virtual_time
async def test_giving_up_ends_the_calls_that_wait() -> None:
    spec, ref = actor("a")
    outcome = Outcome()
    async with trio.open_nursery() as nursery:
        with pytest.raises(ExceptionGroup):
            async with running(one(spec, max_restarts=0)) as tree:
                await ref.cast(("sleep", 60))
                await wait_all_tasks_blocked()
                nursery.start_soon(outcome.of, ref, "x")
                await wait_all_tasks_blocked()
                await tree.crash_and_wait("a", Crash())
                await trio.sleep_forever()
    assert isinstance(outcome.error, ActorStopped)


@virtual_time
async def test_whatever_is_not_running_refuses_at_once() -> None:
    spec, ref = actor("a")
    for send in (ref.call, ref.cast):
        with pytest.raises(MailboxClosed, match="'a' is not running"):
            await send("x")
    with pytest.raises(MailboxClosed):
        ref.cast_nowait("x")
    async with running(one(spec)) as tree:
        await tree.stop_child("a")
        for send in (ref.call, ref.cast):
            with pytest.raises(MailboxClosed):
                await send("x")
        with pytest.raises(MailboxClosed):
            ref.cast_nowait("x")
        await tree.start_again("a")
        assert await ref.call("x") == "x"
    with pytest.raises(MailboxClosed):
        await ref.call("x")


@virtual_time
async def test_a_call_while_the_actor_starts_for_the_first_time_is_refused_and_while_it_restarts_waits() -> None:
    class Slow(Echo):
        async def on_start(self) -> None:
            await trio.sleep(2)

    ref: Ref[Any] = Ref("a")
    async with trio.open_nursery() as nursery:
        early = call_soon(nursery, ref, "x")
        async with running(one(ChildSpec("a", Slow, ref=ref))) as tree:
            assert isinstance(early.error, MailboxClosed)
            tree.crash("a", Crash())
            await wait_all_tasks_blocked()
            began = trio.current_time()
            assert await ref.call("x") == "x"
            assert trio.current_time() == began + 2


# ------------------------------------------------------------- mailbox policies


@virtual_time
async def test_a_full_mailbox_that_refuses_tells_its_callers() -> None:
    spec, ref = actor("a", mailbox=MailboxSpec(1, "refuse"))
    async with running(one(spec)):
        await ref.cast(("sleep", 1))
        await wait_all_tasks_blocked()
        await ref.cast("fits")
        with pytest.raises(MailboxFull):
            await ref.call("x")
        with pytest.raises(MailboxFull):
            await ref.cast("x")
        with pytest.raises(MailboxFull):
            ref.cast_nowait("x")


@virtual_time
async def test_a_cast_that_would_have_to_wait_says_so() -> None:
    spec, ref = actor("a", mailbox=MailboxSpec(1, "wait"))
    async with running(one(spec)):
        await ref.cast(("sleep", 1))
        await wait_all_tasks_blocked()
        ref.cast_nowait("fits")
        with pytest.raises(trio.WouldBlock):
            ref.cast_nowait("x")
        began = trio.current_time()
        await ref.cast("x")
        assert trio.current_time() == began + 1


@pytest.mark.parametrize(("overflow", "dropped", "served"), [("drop_oldest", 0, 1), ("drop_newest", 1, 0)])
@virtual_time
async def test_a_dropped_call_is_told_to_its_caller(overflow: Any, dropped: int, served: int) -> None:
    spec, ref = actor("a", mailbox=MailboxSpec(1, overflow))
    async with running(one(spec)), trio.open_nursery() as nursery:
        await ref.cast(("sleep", 1))
        await wait_all_tasks_blocked()
        outcomes = []
        for number in range(2):
            outcomes.append(call_soon(nursery, ref, number))
            await wait_all_tasks_blocked()
        assert isinstance(outcomes[dropped].error, MessageDropped)
        assert overflow in str(outcomes[dropped].error)
        await trio.sleep(2)
        assert outcomes[served].value == served


# -------------------------------------------------------- abandoned and expired


@virtual_time
async def test_an_abandoned_request_is_dropped_while_it_is_queued() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)):
        await ref.cast(("sleep", 2))
        with trio.move_on_after(1):
            await ref.call("abandoned")
        await trio.sleep(5)
        assert log == [("sleep", 2)]


@virtual_time
async def test_an_expired_request_is_dropped_though_its_caller_has_not_noticed() -> None:
    """Its caller's deadline passes at the very moment at which the actor would begin."""
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)):
        await ref.cast(("sleep", 2))
        with trio.move_on_after(2) as scope:
            await ref.call("expired")
        assert scope.cancelled_caught
        await trio.sleep(5)
        assert log == [("sleep", 2)]


@virtual_time
async def test_once_begun_a_request_is_finished() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log)
    async with running(one(spec)) as tree:
        with trio.move_on_after(1):
            await ref.call(("sleep", 3))
        began = trio.current_time()
        assert await ref.call("next") == "next"
        assert trio.current_time() == began + 2
        assert tree.find("a").generation == 1


@virtual_time
async def test_a_caller_cancelled_while_it_waits_for_room_sends_nothing() -> None:
    log: list[Any] = []
    spec, ref = actor("a", log, mailbox=MailboxSpec(1))
    async with running(one(spec)):
        await ref.cast(("sleep", 2))
        await wait_all_tasks_blocked()
        await ref.cast("fits")
        with trio.move_on_after(1):
            await ref.call("never sent")
        await trio.sleep(5)
        assert log == [("sleep", 2), "fits"]


@virtual_time
async def test_the_deadline_of_a_request_bounds_the_calls_made_from_it() -> None:
    """It ends the request at that moment, and is no failure of the actor that was serving it."""
    a, a_ref = actor("a")
    b, b_ref = actor("b")
    async with running(SupervisorSpec([a, b])) as tree:
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await a_ref.call(("call", b_ref, ("sleep", 60)))
        assert scope.cancelled_caught
        assert await a_ref.call("next") == "next"
        assert trio.current_time() == began + 1
        assert tree.find("a").generation == 1


@virtual_time
async def test_it_bounds_the_calls_of_calls_too() -> None:
    a, a_ref = actor("a")
    b, b_ref = actor("b")
    c, c_ref = actor("c", shutdown=0)
    async with running(SupervisorSpec([c, b, a])) as tree:
        began = trio.current_time()
        with trio.move_on_after(1):
            await a_ref.call(("call", b_ref, ("call", c_ref, ("sleep", 60))))
        assert await a_ref.call("next") == "next"
        assert await b_ref.call("next") == "next"
        assert trio.current_time() == began + 1
        assert {tree.find(path).generation for path in "abc"} == {1}


@virtual_time
async def test_a_handler_can_answer_the_deadline_itself() -> None:
    class Careful(Echo):
        async def do(self, what: Any) -> object:
            try:
                return await what.call(("sleep", 60))
            except trio.TooSlowError:
                self.log.append("too slow")
                raise

    log: list[Any] = []
    b, b_ref = actor("b", shutdown=0)
    ref: Ref[Any] = Ref("a")
    async with running(SupervisorSpec([b, ChildSpec("a", Careful, (log,), ref=ref)])):
        with trio.move_on_after(1):
            await ref.call(b_ref)
        await wait_all_tasks_blocked()
        assert log == [b_ref, "too slow"]


@virtual_time
async def test_a_timeout_of_the_handlers_own_is_a_crash() -> None:
    class Impatient(Echo):
        async def do(self, what: Any) -> object:
            with trio.fail_after(1):
                return await what.call(("sleep", 60))

    b, b_ref = actor("b", shutdown=0)
    ref: Ref[Any] = Ref("a")
    async with running(SupervisorSpec([b, ChildSpec("a", Impatient, ref=ref)])):
        with pytest.raises(ActorCrashed) as caught:
            await ref.call(b_ref)
        assert type(caught.value.__cause__) is trio.TooSlowError


@virtual_time
async def test_a_deadline_inside_a_handler_counts_when_it_is_the_earlier_one() -> None:
    class Patient(Echo):
        async def do(self, what: Any) -> object:
            with trio.move_on_after(1):
                await what.call(("sleep", 60))
            return "gave up"

    b, b_ref = actor("b", shutdown=0)
    ref: Ref[Any] = Ref("a")
    async with running(SupervisorSpec([b, ChildSpec("a", Patient, ref=ref)])):
        began = trio.current_time()
        with trio.fail_after(10):
            assert await ref.call(b_ref) == "gave up"
        assert trio.current_time() == began + 1


# ---------------------------------------------------------------------- cycles


@virtual_time
async def test_a_cycle_of_calls_is_refused_not_waited_for() -> None:
    a, a_ref = actor("a")
    b, b_ref = actor("b")
    c, c_ref = actor("c")
    async with running(SupervisorSpec([a, b, c], max_restarts=10)):
        with pytest.raises(ActorCrashed) as caught:
            await a_ref.call(("call", b_ref, ("call", c_ref, ("call", a_ref, "x"))))
        # Each actor crashed with what it was answered; at the bottom of the causes is the cycle.
        cause: BaseException = caught.value
        while cause.__cause__ is not None:
            cause = cause.__cause__
        assert isinstance(cause, CallCycle)
        assert cause.paths == ("c", "a", "b", "c")
        assert "c -> a -> b -> c" in str(cause)


@virtual_time
async def test_a_call_of_an_actor_to_itself_is_a_cycle() -> None:
    a, a_ref = actor("a")
    async with running(one(a)):
        with pytest.raises(ActorCrashed) as caught:
            await a_ref.call(("call", a_ref, "x"))
        assert isinstance(caught.value.__cause__, CallCycle)
        assert caught.value.__cause__.paths == ("a", "a")


@virtual_time
async def test_a_chain_of_calls_is_no_cycle_and_neither_is_the_same_chain_twice() -> None:
    a, a_ref = actor("a")
    b, b_ref = actor("b")
    async with running(SupervisorSpec([a, b])):
        for _ in range(2):
            assert await a_ref.call(("call", b_ref, "x")) == "x"
            assert await b_ref.call(("call", a_ref, "x")) == "x"


@virtual_time
async def test_a_task_that_an_actor_started_may_call_it() -> None:
    class Spawner(Echo):
        async def do(self, what: Any) -> object:
            if what != "spawn":
                return what
            async with trio.open_nursery() as nursery:
                outcome = call_soon(nursery, self.context.ref, "later")
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
            return outcome.error

    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Spawner, ref=ref))):
        assert await ref.call("spawn") is None  # it waited, and was not refused


# ----------------------------------------------------------------------- typing


@virtual_time
async def test_a_request_says_what_it_is_answered_with() -> None:
    class Double(Request[int]):
        def __init__(self, number: int) -> None:
            self.number = number

    class Doubler(Echo):
        async def handle_call(self, request: Double) -> int:
            return 2 * request.number

    ref: Ref[Double] = Ref()
    async with running(one(ChildSpec("a", Doubler, ref=ref))):
        doubled: int = await ref.call(Double(21))
        assert doubled == 42


# ------------------------------------------------------------- supervisor's refs


@virtual_time
async def test_a_supervisor_ref_works_while_its_supervisor_runs() -> None:
    spec, _ = actor("a")
    ref = SupervisorRef("s")
    for query in (ref.which_children, ref.count_children):
        with pytest.raises(SupervisorNotRunning, match="'s' is not running"):
            query()
    async with running(SupervisorSpec([ChildSpec("s", one(spec), ref=ref)])) as tree:
        assert [child.id for child in ref.which_children()] == ["a"]
        tree.kill("s")
        await tree.wait_for_generation("s", 2)
        assert ref.count_children().active == 1
        assert await ref.in_turn(lambda: 42) == 42
    with pytest.raises(SupervisorNotRunning):
        await ref.start_child(ChildSpec("b", Echo))
