import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from realtime.delivery.wakeup import Wakeup


async def test_a_sleeper_sleeps_until_it_is_woken(nursery):
    wakeup = Wakeup()
    woken = []

    async def sleeper():
        await wakeup.sleep()
        woken.append(True)

    nursery.start_soon(sleeper)
    await wait_all_tasks_blocked()
    assert wakeup.asleep
    assert not woken
    wakeup.wake()
    assert not wakeup.asleep
    with assert_checkpoints():
        await wait_all_tasks_blocked()
    assert woken


async def test_waking_nobody_is_not_remembered(nursery):
    wakeup = Wakeup()
    wakeup.wake()
    with trio.move_on_after(0) as scope:
        await wakeup.sleep()
    assert scope.cancelled_caught


async def test_waking_twice_wakes_once(nursery):
    wakeup = Wakeup()
    nursery.start_soon(wakeup.sleep)
    await wait_all_tasks_blocked()
    wakeup.wake()
    wakeup.wake()
    await wait_all_tasks_blocked()
    assert not wakeup.asleep


async def test_a_cancelled_sleeper_makes_room_for_the_next():
    wakeup = Wakeup()
    with trio.CancelScope() as scope:
        scope.cancel()
        await wakeup.sleep()
    assert not wakeup.asleep


async def test_only_one_may_sleep(nursery):
    wakeup = Wakeup()
    nursery.start_soon(wakeup.sleep)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await wakeup.sleep()
    wakeup.wake()


def test_in_place_of_a_task_a_function_is_called_once():
    wakeup, calls = Wakeup(), []
    wakeup.leave(lambda: calls.append(True))
    assert wakeup.asleep
    wakeup.wake()
    wakeup.wake()
    assert calls == [True]
    assert not wakeup.asleep


def test_what_was_left_can_be_forgotten():
    wakeup, calls = Wakeup(), []
    wakeup.leave(lambda: calls.append(True))
    wakeup.forget()
    wakeup.wake()
    assert calls == []


async def test_a_task_is_neither_replaced_nor_forgotten(nursery):
    wakeup = Wakeup()
    nursery.start_soon(wakeup.sleep)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        wakeup.leave(print)
    wakeup.forget()
    assert wakeup.asleep
    wakeup.wake()
