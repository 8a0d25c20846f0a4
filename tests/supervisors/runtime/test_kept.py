"""Messages put aside and calls answered later: order, bounds, and what becomes of them when the actor ends."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Actor,
    ActorCrashed,
    ActorStopped,
    ChildSpec,
    Deferred,
    Down,
    MailboxSpec,
    Ref,
    StashFull,
    SupervisorSpec,
)
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Lives, one


class Door(Actor[Any]):
    """Puts everything aside until it is ``open``; a life after the first is open from the beginning."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.open = False

    async def on_start(self) -> None:
        self.open = self.context.generation > 1

    async def handle_call(self, request: Any) -> object:
        if not self.open:
            self.stash(request)
            return "not used"
        self.log.append(request)
        return request

    async def handle_cast(self, message: Any) -> None:
        if message == "open":
            self.open = True
            self.unstash_all()
        elif message == "crash":
            raise Crash("x")
        elif not self.open:
            self.stash(message)
        else:
            self.log.append(message)


def door(log: list[Any], **options: Any) -> tuple[ChildSpec, Ref[Any]]:
    ref: Ref[Any] = Ref("door")
    return ChildSpec("door", Door, (log,), ref=ref, **options), ref


class Caller:
    """Calls in the background, and keeps what came of it."""

    def __init__(self, nursery: trio.Nursery, ref: Ref[Any]) -> None:
        self.nursery = nursery
        self.ref = ref
        self.outcomes: dict[Any, Any] = {}

    async def call(self, request: Any) -> None:
        self.nursery.start_soon(self._call, request)
        await wait_all_tasks_blocked()

    async def _call(self, request: Any) -> None:
        try:
            self.outcomes[request] = await self.ref.call(request)
        except Exception as error:
            self.outcomes[request] = error


# ------------------------------------------------------------------------ stash


@virtual_time
async def test_what_was_put_aside_comes_before_what_waits_in_its_order() -> None:
    log: list[Any] = []
    spec, ref = door(log)
    async with running(one(spec)), trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await ref.cast(1)
        await caller.call(2)
        await ref.cast(3)
        await wait_all_tasks_blocked()
        assert (log, caller.outcomes) == ([], {})
        ref.cast_nowait("open")
        ref.cast_nowait(4)
        await wait_all_tasks_blocked()
        assert log == [1, 2, 3, 4]
        assert caller.outcomes == {2: 2}


@virtual_time
async def test_it_can_be_put_aside_more_than_once() -> None:
    log: list[Any] = []

    class Twice(Door):
        async def handle_cast(self, message: Any) -> None:
            if message == "again":
                self.unstash_all()
            else:
                await super().handle_cast(message)

    ref: Ref[Any] = Ref()
    async with running(one(ChildSpec("a", Twice, (log,), ref=ref))), trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await caller.call("x")
        for message in (1, "again", 2, "again", "open", "open"):
            ref.cast_nowait(message)
        await wait_all_tasks_blocked()
        assert log == ["x", 1, 2]
        assert caller.outcomes == {"x": "x"}
        figures = ref.statistics()
        assert (figures.depth, figures.received) == (0, 7)  # each counts once


@virtual_time
async def test_there_is_room_for_as_many_as_the_mailbox_holds() -> None:
    log: list[Any] = []
    spec, ref = door(log, mailbox=MailboxSpec(3))
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        for number in range(3):
            await ref.cast(number)
        await caller.call("one too many")
        exit = tree.find("door").last_exit
        assert exit is not None
        assert isinstance(exit.exit.error, StashFull)
        assert str(exit.exit.error) == "the stash of 'door' is full (3 messages)"
        assert isinstance(caller.outcomes["one too many"], ActorCrashed)
        assert log == [0, 1, 2]  # by the next life


@virtual_time
async def test_what_was_put_aside_outlives_a_crash_and_comes_first() -> None:
    """As what waits in the mailbox does."""
    log: list[Any] = []
    spec, ref = door(log)
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await ref.cast(1)
        await caller.call(2)
        ref.cast_nowait("crash")
        ref.cast_nowait(3)
        await tree.wait_for_generation("door", 2)
        await wait_all_tasks_blocked()
        assert log == [1, 2, 3]
        assert caller.outcomes == {2: 2}


@virtual_time
async def test_what_was_put_aside_goes_with_an_actor_that_is_stopped() -> None:
    log: list[Any] = []
    spec, ref = door(log)
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await ref.cast(1)
        await caller.call(2)
        await tree.stop_child("door")
        await wait_all_tasks_blocked()
        assert isinstance(caller.outcomes[2], ActorStopped)
        await tree.start_again("door")
        await wait_all_tasks_blocked()
        assert log == []


@virtual_time
async def test_a_call_whose_caller_is_gone_is_dropped_when_its_turn_comes() -> None:
    log: list[Any] = []
    spec, ref = door(log)
    async with running(one(spec)):
        with trio.move_on_after(1):
            await ref.call("x")
        await ref.cast("open")
        await wait_all_tasks_blocked()
        assert log == []


@virtual_time
async def test_the_word_of_a_monitor_is_not_kept_for_the_next_life() -> None:
    log: list[Any] = []

    class Watches(Door):
        async def on_start(self) -> None:
            await super().on_start()
            if not self.open:
                self.monitor("a")

    ref: Ref[Any] = Ref()
    spec = SupervisorSpec([Lives().spec("a"), ChildSpec("door", Watches, (log,), ref=ref)])
    async with running(spec) as tree:
        tree.kill("a")
        await ref.cast(1)
        await wait_all_tasks_blocked()
        ref.cast_nowait("crash")
        await tree.wait_for_generation("door", 2)
        await wait_all_tasks_blocked()
        assert log == [1]
        assert not any(isinstance(message, Down) for message in log)


# ------------------------------------------------------------------------ later


class Clerk(Actor[Any]):
    """Answers its calls when it is told to, last first."""

    def __init__(self, open_calls: list[Deferred]) -> None:
        self.open_calls = open_calls

    async def handle_call(self, request: Any) -> object:
        if request == "now":
            return "at once"
        self.open_calls.append(self.defer())
        if request == "crash":
            raise Crash("after defer")
        return "not used"

    async def handle_cast(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.open_calls.pop().fail(message)
        elif message == "crash":
            raise Crash("x")
        elif message == "defer":
            self.defer()
        else:
            self.open_calls.pop().reply(message)


def clerk() -> tuple[ChildSpec, Ref[Any], list[Deferred]]:
    ref: Ref[Any] = Ref("clerk")
    open_calls: list[Deferred] = []
    return ChildSpec("clerk", Clerk, (open_calls,), ref=ref), ref, open_calls


@virtual_time
async def test_a_call_is_answered_later_while_others_are_served() -> None:
    spec, ref, open_calls = clerk()
    async with running(one(spec)), trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await caller.call(1)
        await caller.call(2)
        assert await ref.call("now") == "at once"
        assert caller.outcomes == {}
        await ref.cast("two")
        await ref.cast(KeyError("one"))
        await wait_all_tasks_blocked()
        assert caller.outcomes[2] == "two"
        assert isinstance(caller.outcomes[1], KeyError)
        assert open_calls == []


@virtual_time
async def test_any_task_may_answer_and_only_the_first_answer_counts() -> None:
    spec, ref, open_calls = clerk()
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await caller.call(1)
        later = open_calls.pop()
        later.reply("first")
        later.reply("second")
        later.fail(Crash())
        await wait_all_tasks_blocked()
        assert caller.outcomes == {1: "first"}
        await tree.restart_child("clerk")


@pytest.mark.parametrize(
    ("how", "error"),
    [("crash", ActorCrashed), ("stop", ActorStopped), ("restart", ActorStopped), ("kill", ActorStopped)],
)
@virtual_time
async def test_if_the_life_ends_before_the_answer_the_caller_is_told_at_once(how: str, error: type[Exception]) -> None:
    spec, ref, open_calls = clerk()
    async with running(one(spec)) as tree, trio.open_nursery() as nursery:
        caller = Caller(nursery, ref)
        await caller.call(1)
        match how:
            case "crash":
                await ref.cast("crash")
            case "stop":
                await tree.stop_child("clerk")
            case "restart":
                await tree.restart_child("clerk")
            case "kill":
                tree.kill("clerk")
        await wait_all_tasks_blocked()
        assert type(caller.outcomes[1]) is error
        if how == "crash":
            assert str(caller.outcomes[1].__cause__) == "x"
        open_calls.pop().reply("too late")


@virtual_time
async def test_a_crash_of_the_handler_that_deferred_is_told_as_well() -> None:
    spec, ref, _ = clerk()
    async with running(one(spec)):
        with pytest.raises(ActorCrashed):
            await ref.call("crash")


@virtual_time
async def test_who_holds_a_call_sees_that_its_caller_is_gone() -> None:
    spec, ref, open_calls = clerk()
    async with running(one(spec)):
        with trio.move_on_after(1):
            await ref.call(1)
        assert open_calls[0].abandoned
        await ref.cast("nobody hears this")
        assert await ref.call("now") == "at once"


@virtual_time
async def test_calls_that_nobody_waits_for_do_not_pile_up() -> None:
    ref: Ref[Any] = Ref()
    open_calls: list[Deferred] = []
    spec = ChildSpec("clerk", Clerk, (open_calls,), ref=ref, mailbox=MailboxSpec(10))
    async with running(one(spec)):
        for _ in range(50):
            with trio.move_on_after(1):
                await ref.call(1)
        assert ref.cell is not None
        assert ref.cell.kept is not None
        assert len(ref.cell.kept.deferred) <= 10


@virtual_time
async def test_only_a_call_in_hand_can_be_deferred() -> None:
    spec, ref, _ = clerk()
    async with running(one(spec)) as tree:
        await ref.cast("defer")
        await tree.wait_for_generation("clerk", 2)
        last = tree.find("clerk").last_exit
        assert last is not None
        assert last.error == "RuntimeError: defer() is for handle_call, once a call"


@virtual_time
async def test_an_actor_that_needs_none_of_it_holds_nothing_for_it() -> None:
    spec, ref = door([])
    async with running(one(spec)):
        await ref.cast("open")
        await ref.call("x")
        assert ref.cell is not None
        assert ref.cell.kept is None
