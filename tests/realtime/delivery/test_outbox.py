"""The outbox: who may overtake whom, when it ends, and whom it wakes."""

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from realtime.delivery import frames
from realtime.delivery.outbox import ABORTING, MAX_REPLIES, Outbox
from realtime.policy import lag
from realtime.policy.lag import Overflow
from realtime.settings import Delivery

from .made import made, reply, told

PING = frames.ping(b"now")
PING_MESSAGE = frames.text(b'{"type":"ping"}')
PONG = frames.pong(b"you")


async def test_what_is_offered_is_received_in_one_batch():
    outbox = Outbox()
    for offset in (1, 2, 3):
        assert outbox.offer(made("t", offset)) == lag.QUEUE
    with assert_checkpoints():
        assert told(await outbox.receive()) == [1, 2, 3]


async def test_a_batch_is_bounded():
    outbox = Outbox(batch_bytes=1000)
    for offset in range(10):
        outbox.offer(made("t", offset, fill=400))
    assert told(await outbox.receive()) == [0, 1]


def test_a_receiver_that_rests_is_called_once_when_there_is_something():
    outbox, calls = Outbox(), []
    outbox.rest(lambda: calls.append(True))
    assert outbox.idle
    outbox.offer(made("t", 1))
    outbox.offer(made("t", 2))
    assert not outbox.idle
    assert calls == [True]
    assert told(outbox.receive_nowait()) == [1, 2]
    assert not outbox.idle, "it has not said that it rests again"


@pytest.mark.parametrize("put", [lambda outbox: outbox.offer(made("t", 1)), lambda outbox: outbox.close(1000)])
def test_it_does_not_rest_while_there_is_something(put):
    outbox, calls = Outbox(), []
    put(outbox)
    outbox.rest(lambda: calls.append(True))
    assert calls == [True]


def test_a_receiver_that_rests_is_not_called_for_a_discard():
    outbox, calls = Outbox(), []
    outbox.rest(lambda: calls.append(True))
    outbox.discard()
    assert calls == []


async def test_a_sleeping_receiver_is_woken(nursery):
    outbox = Outbox()
    received = []

    async def receiver():
        async for batch in outbox:
            received.append(told(batch))

    nursery.start_soon(receiver)
    await wait_all_tasks_blocked()
    assert outbox.idle
    outbox.offer(made("t", 1))
    outbox.offer(made("t", 2))
    assert not outbox.idle
    await wait_all_tasks_blocked()
    assert received == [[1, 2]]
    outbox.reply(reply())
    await wait_all_tasks_blocked()
    assert received == [[1, 2], ["reply"]]


async def test_it_is_idle_only_while_open_empty_and_its_receiver_asleep():
    outbox = Outbox()
    assert not outbox.idle
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.receive)
        await wait_all_tasks_blocked()
        assert outbox.idle
        nursery.cancel_scope.cancel()
    assert not outbox.idle


async def test_only_one_task_receives(nursery):
    outbox = Outbox()
    nursery.start_soon(outbox.receive)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await outbox.receive()
    outbox.reply(reply())


async def test_pong_and_ping_overtake_what_waits():
    outbox = Outbox()
    outbox.offer(made("t", 1))
    outbox.reply(reply())
    outbox.ping(PING, PING_MESSAGE)
    outbox.pong(PONG)
    assert outbox.ping_waits
    batch = await outbox.receive()
    assert batch[:3] == [PONG, PING, PING_MESSAGE]
    assert told(batch[3:]) == [1, "reply"]
    assert not outbox.ping_waits
    assert outbox.pings_taken == 1


async def test_of_each_kind_of_pong_the_latest_waits():
    outbox = Outbox()
    answers = [frames.text(b'{"type":"pong","timestamp":"%d"}' % number) for number in range(3)]
    for number, answer in enumerate(answers):
        outbox.pong(frames.pong(b"%d" % number))
        outbox.pong(answer)
    batch = await outbox.receive()
    assert [frame.payload for frame in batch] == [b"2", answers[2].payload]


async def test_a_ping_that_has_not_gone_out_is_replaced():
    outbox = Outbox()
    outbox.ping(PING)
    outbox.ping(PING, PING_MESSAGE)
    assert await outbox.receive() == [PING, PING_MESSAGE]
    assert outbox.pings_taken == 1


@pytest.mark.parametrize("code", sorted(ABORTING))
async def test_an_aborting_close_overtakes_everything(code):
    outbox = Outbox()
    outbox.offer(made("t", 1))
    outbox.reply(reply())
    outbox.ping(PING)
    assert outbox.close(code, "why")
    with pytest.raises(trio.EndOfChannel):
        await outbox.receive()
    assert outbox.closing == (code, "why")
    assert outbox.statistics().queued_bytes == 0


@pytest.mark.parametrize("code", [1000, 1011, 4400])
async def test_any_other_close_keeps_its_place_behind_what_waits(code):
    outbox = Outbox()
    outbox.offer(made("t", 1))
    outbox.reply(reply())
    outbox.close(code)
    assert told(await outbox.receive()) == [1, "reply"]
    with assert_checkpoints(), pytest.raises(trio.EndOfChannel):
        await outbox.receive()


async def test_the_first_close_wins():
    outbox = Outbox()
    assert outbox.close(1000, "done")
    assert not outbox.close(4000, "slow")
    assert outbox.closing == (1000, "done")


async def test_a_closed_outbox_takes_nothing_and_raises_nothing():
    outbox = Outbox()
    outbox.close(1000)
    assert outbox.offer(made("t", 1)) is None
    outbox.reply(reply())
    outbox.ping(PING)
    outbox.pong(PONG)
    assert outbox.receive_nowait() == []


async def test_closing_wakes_a_sleeping_receiver(nursery):
    outbox = Outbox()
    ended = trio.Event()

    async def receiver():
        async for _ in outbox:
            raise AssertionError("nothing was sent")
        ended.set()

    nursery.start_soon(receiver)
    await wait_all_tasks_blocked()
    outbox.close(1000)
    await ended.wait()


async def test_the_receivers_end_forgets_everything():
    outbox = Outbox()
    outbox.offer(made("t", 1))
    with assert_checkpoints():
        await outbox.aclose()
    assert outbox.offer(made("t", 2)) is None
    with pytest.raises(trio.EndOfChannel):
        await outbox.receive()


async def test_a_cancelled_receive_loses_nothing():
    outbox = Outbox()
    outbox.offer(made("t", 1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.receive()
    assert told(await outbox.receive()) == [1]


async def test_sixty_four_waiting_replies_hold_the_reader_until_some_are_gone(nursery):
    outbox = Outbox(batch_bytes=200)
    for _ in range(MAX_REPLIES - 1):
        outbox.reply(reply())
    assert not outbox.replies_full
    with assert_checkpoints():
        await outbox.wait_reply_room()
    outbox.reply(reply())
    assert outbox.replies_full
    read_on = trio.Event()

    async def reader():
        await outbox.wait_reply_room()
        read_on.set()

    nursery.start_soon(reader)
    await wait_all_tasks_blocked()
    assert not read_on.is_set()
    await outbox.receive()
    await read_on.wait()


async def test_closing_lets_a_held_reader_go(nursery):
    outbox = Outbox()
    for _ in range(MAX_REPLIES):
        outbox.reply(reply())
    nursery.start_soon(outbox.wait_reply_room)
    await wait_all_tasks_blocked()
    outbox.close(1000)


async def test_a_patient_publisher_waits_until_its_message_is_in(nursery):
    outbox = Outbox(max_messages=1)
    outbox.offer(made("t", 1, Overflow.WAIT))
    message = made("t", 2, Overflow.WAIT, patient=True)
    assert outbox.offer(message) == lag.HOLD
    admitted = trio.Event()

    async def publisher():
        await outbox.wait_admitted(message)
        admitted.set()

    nursery.start_soon(publisher)
    await wait_all_tasks_blocked()
    assert not admitted.is_set()
    assert told(await outbox.receive()) == [1]
    await admitted.wait()
    assert told(await outbox.receive()) == [2]


@pytest.mark.parametrize("end", [lambda outbox: outbox.close(1000), lambda outbox: outbox.release("t")])
async def test_a_patient_publisher_does_not_wait_for_who_has_left(nursery, end):
    outbox = Outbox(max_messages=1)
    outbox.offer(made("t", 1, Overflow.WAIT))
    message = made("t", 2, Overflow.WAIT, patient=True)
    outbox.offer(message)
    nursery.start_soon(outbox.wait_admitted, message)
    await wait_all_tasks_blocked()
    end(outbox)
    assert not outbox.holds(message)


async def test_its_statistics_tell_what_waits_and_what_was_lost():
    outbox = Outbox(max_messages=2)
    for offset in (1, 2, 3):
        outbox.offer(made("t", offset))
    outbox.reply(reply())
    outbox.ping(PING)
    figures = outbox.statistics()
    assert figures.queued_messages == 5  # two messages, their gap, a reply, a ping
    assert figures.queued_bytes == made("t", 2).size + made("t", 3).size + len(reply().data)
    assert (figures.replies, figures.held, figures.dropped, figures.conflated) == (1, 0, 1, 0)


async def test_the_defaults_are_those_of_the_settings():
    outbox = Outbox()
    assert (outbox._queue.max_messages, outbox._queue.max_bytes) == (
        Delivery().mailbox_messages,
        Delivery().mailbox_bytes,
    )
