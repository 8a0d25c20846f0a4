"""The queue between a socket's reader and its application."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from realtime.transport.inbox import Inbox


async def test_items_come_out_in_order() -> None:
    inbox: Inbox[str] = Inbox(10, 100)
    for item in "abc":
        inbox.put(item, 1)
    with assert_checkpoints():
        assert await inbox.get() == "a"
    assert [await inbox.get(), await inbox.get()] == ["b", "c"]


@pytest.mark.parametrize(("items", "size"), [(2, 1), (1, 100)])
async def test_it_is_full_by_items_or_by_bytes(items: int, size: int) -> None:
    inbox: Inbox[int] = Inbox(2, 100)
    for number in range(items):
        assert not inbox.full
        inbox.put(number, size)
    assert inbox.full
    await inbox.get()
    assert not inbox.full


async def test_who_waits_for_room_wakes_when_something_is_taken() -> None:
    inbox: Inbox[int] = Inbox(1, 100)
    inbox.put(1, 1)
    order = []

    async def put() -> None:
        await inbox.wait_room()
        order.append("room")
        inbox.put(2, 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put)
        await wait_all_tasks_blocked()
        order.append("get")
        assert await inbox.get() == 1
        assert await inbox.get() == 2
    assert order == ["get", "room"]


async def test_who_waits_for_an_item_wakes_when_it_comes() -> None:
    inbox: Inbox[int] = Inbox(1, 100)
    async with trio.open_nursery() as nursery:

        async def get() -> None:
            assert await inbox.get() == 7

        nursery.start_soon(get)
        await wait_all_tasks_blocked()
        inbox.put(7, 1)


async def test_the_end_needs_no_room_and_comes_after_what_is_queued() -> None:
    inbox: Inbox[int] = Inbox(1, 100)
    inbox.put(1, 1)
    inbox.finish()
    assert not inbox.full
    inbox.put(2, 1)  # dropped
    assert await inbox.get() == 1
    for _ in range(2):
        with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
            await inbox.get()


async def test_the_end_wakes_both_sides() -> None:
    full: Inbox[int] = Inbox(1, 100)
    full.put(1, 1)
    empty: Inbox[int] = Inbox(1, 100)

    async def get() -> None:
        with pytest.raises(trio.EndOfChannel):
            await empty.get()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(full.wait_room)
        nursery.start_soon(get)
        await wait_all_tasks_blocked()
        full.finish()
        empty.finish()


async def test_a_cancelled_get_loses_nothing() -> None:
    inbox: Inbox[int] = Inbox(2, 100)
    inbox.put(1, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.get()
    assert scope.cancelled_caught
    assert await inbox.get() == 1


async def test_without_its_bound_nobody_waits(nursery):
    inbox = Inbox(1, 10)
    inbox.put("a", 1)
    nursery.start_soon(inbox.wait_room)
    await wait_all_tasks_blocked()
    inbox.lift()
    for item in "bcd":
        assert not inbox.full
        inbox.put(item, 100)
    assert [inbox.get_nowait() for _ in range(4)] == ["a", "b", "c", "d"]


def test_taking_without_waiting_tells_nothing_yet_from_nothing_more():
    inbox = Inbox(1, 10)
    assert not inbox.ready
    with pytest.raises(trio.WouldBlock):
        inbox.get_nowait()
    inbox.finish()
    assert inbox.ready
    with pytest.raises(trio.EndOfChannel):
        inbox.get_nowait()
