from collections import deque
from collections.abc import AsyncGenerator, Generator

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from supervisors import Mailbox, MailboxFull, MailboxSpec
from supervisors.runtime.mailbox import WOKEN
from supervisors.spec import Overflow
from tests import strategies


def make(capacity: int = 2, overflow: Overflow = "wait", dropped: list[int] | None = None) -> Mailbox[int]:
    return Mailbox(MailboxSpec(capacity, overflow), "a", None if dropped is None else dropped.append)


# -------------------------------------------------------------------- overflow


async def test_wait_makes_the_sender_wait_for_room() -> None:
    mailbox = make(1, "wait")
    await mailbox.send(1)
    with pytest.raises(trio.WouldBlock):
        mailbox.send_nowait(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.send, 2)
        await wait_all_tasks_blocked()
        assert mailbox.statistics().senders_waiting == 1
        assert await mailbox.receive() == 1
    assert mailbox.statistics().senders_waiting == 0
    assert await mailbox.receive() == 2


async def test_senders_that_wait_are_served_in_order() -> None:
    mailbox = make(1)
    mailbox.send_nowait(0)
    async with trio.open_nursery() as nursery:
        for value in (1, 2, 3):
            nursery.start_soon(mailbox.send, value)
            await wait_all_tasks_blocked()
        assert [await mailbox.receive() for _ in range(4)] == [0, 1, 2, 3]


async def test_refuse_says_so_and_counts() -> None:
    mailbox = make(1, "refuse")
    mailbox.send_nowait(1)
    for send in (mailbox.send, mailbox.send):
        with pytest.raises(MailboxFull, match=r"mailbox of 'a' is full \(1 messages\)"):
            await send(2)
    assert mailbox.statistics().refused == 2
    assert await mailbox.receive() == 1


async def test_drop_oldest_makes_room_and_tells_whom_it_dropped() -> None:
    dropped: list[int] = []
    mailbox = make(2, "drop_oldest", dropped)
    for value in (1, 2, 3, 4):
        await mailbox.send(value)
    assert dropped == [1, 2]
    assert mailbox.statistics().dropped == 2
    assert await mailbox.receive_batch(10) == [3, 4]


async def test_drop_newest_drops_what_comes() -> None:
    dropped: list[int] = []
    mailbox = make(2, "drop_newest", dropped)
    for value in (1, 2, 3):
        mailbox.send_nowait(value)
    assert dropped == [3]
    assert await mailbox.receive_batch(10) == [1, 2]


async def test_drops_are_counted_without_anyone_to_tell() -> None:
    mailbox = make(1, "drop_oldest")
    mailbox.send_nowait(1)
    mailbox.send_nowait(2)
    assert mailbox.statistics().dropped == 1


# ---------------------------------------------------------------- checkpoints


async def test_waiting_methods_are_checkpoints_whatever_they_find() -> None:
    mailbox = make(1)
    with assert_checkpoints():
        await mailbox.send(1)
    with assert_checkpoints():
        await mailbox.receive()
    mailbox.send_nowait(1)
    with assert_checkpoints():
        await mailbox.receive_batch(5)
    with assert_checkpoints():
        await mailbox.aclose()


async def test_wait_nonempty_returns_at_once_if_there_is_something() -> None:
    mailbox = make()
    mailbox.send_nowait(1)
    with assert_no_checkpoints():
        await mailbox.wait_nonempty()
    assert len(mailbox) == 1


async def test_wait_nonempty_waits_and_takes_nothing() -> None:
    mailbox = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.wait_nonempty)
        await wait_all_tasks_blocked()
        mailbox.send_nowait(1)
    assert mailbox.receive_nowait() == 1


# --------------------------------------------------------------- cancellation


async def test_a_cancelled_send_sends_nothing() -> None:
    mailbox = make(1)
    mailbox.send_nowait(1)
    with trio.move_on_after(0) as scope:
        await mailbox.send(2)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.send, 3)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert mailbox.drain() == [1]


async def test_a_cancelled_receive_loses_no_message() -> None:
    mailbox = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.receive)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    mailbox.send_nowait(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.receive()
    assert scope.cancelled_caught
    assert mailbox.receive_nowait() == 1


async def test_a_message_that_comes_together_with_the_cancellation_is_not_lost() -> None:
    mailbox = make()
    received: list[int] = []

    async def receive() -> None:
        received.append(await mailbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        mailbox.send_nowait(1)  # it is woken for the message ...
        nursery.cancel_scope.cancel()  # ... before it learns of this
    assert received + mailbox.drain() == [1]


# ------------------------------------------------------- close, drain, control


async def test_closing_refuses_senders_and_lets_the_rest_be_received() -> None:
    mailbox = make(1)
    mailbox.send_nowait(1)
    async with trio.open_nursery() as nursery:

        async def wait_for_room() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await mailbox.send(2)

        nursery.start_soon(wait_for_room)
        await wait_all_tasks_blocked()
        mailbox.close()
        mailbox.close()
    with pytest.raises(trio.ClosedResourceError):
        mailbox.send_nowait(3)
    with pytest.raises(trio.ClosedResourceError):
        await mailbox.send(3)
    assert await mailbox.receive() == 1
    with pytest.raises(trio.EndOfChannel):
        await mailbox.receive()
    with pytest.raises(trio.EndOfChannel):
        mailbox.receive_nowait()


async def test_closing_wakes_the_receiver() -> None:
    mailbox = make()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.EndOfChannel):
                await mailbox.receive()

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        mailbox.close()


async def test_a_batch_ends_where_the_mailbox_does() -> None:
    mailbox = make(5)
    for value in range(5):
        mailbox.send_nowait(value)
    assert await mailbox.receive_batch(3) == [0, 1, 2]
    mailbox.close()
    assert await mailbox.receive_batch(3) == [3, 4]


async def test_reopened_it_takes_messages_again() -> None:
    mailbox = make()
    mailbox.close()
    mailbox.reopen()
    await mailbox.send(1)
    assert mailbox.receive_nowait() == 1


async def test_draining_takes_what_waiting_senders_hold_too() -> None:
    mailbox = make(1)
    async with trio.open_nursery() as nursery:
        for value in (1, 2, 3):
            nursery.start_soon(mailbox.send, value)
            await wait_all_tasks_blocked()
        mailbox.send_control(0)
        assert mailbox.drain() == [1, 2, 3]
    with pytest.raises(trio.WouldBlock):
        mailbox.receive_nowait()


async def test_control_messages_go_first_and_have_no_bound() -> None:
    mailbox = make(1, "refuse")
    mailbox.send_nowait(1)
    mailbox.send_control(-1)
    mailbox.send_control(-2)
    assert mailbox.statistics().depth == 1
    assert await mailbox.receive_batch(5) == [-1, -2, 1]


async def test_a_control_message_wakes_the_receiver() -> None:
    mailbox = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.receive)
        await wait_all_tasks_blocked()
        mailbox.send_control(-1)


async def test_a_closed_mailbox_takes_no_control_message() -> None:
    mailbox = make()
    mailbox.close()
    mailbox.send_control(-1)
    with pytest.raises(trio.EndOfChannel):
        mailbox.receive_nowait()


async def test_what_wakes_a_receiver_is_a_value_of_none_that_can_be_used_again() -> None:
    def echo() -> Generator[object, object, None]:
        while True:
            said.append((yield None))

    async def aecho() -> AsyncGenerator[object, object]:
        while True:
            said.append((yield None))

    said: list[object] = []
    generator, agenerator = echo(), aecho()
    next(generator)
    await anext(agenerator)
    for _ in range(2):
        WOKEN.unwrap()
        WOKEN.send(generator)
        await WOKEN.asend(agenerator)
    assert said == [None] * 4
    await agenerator.aclose()


async def test_there_is_one_receiver() -> None:
    mailbox = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.receive)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await mailbox.receive()
        with pytest.raises(trio.BusyResourceError):
            await mailbox.wait_nonempty()
        mailbox.send_nowait(1)


async def test_it_is_a_channel_in_trios_sense() -> None:
    mailbox = make(5)
    async with mailbox:
        for value in range(3):
            await mailbox.send(value)
        mailbox.close()
        assert [value async for value in mailbox] == [0, 1, 2]


# ------------------------------------------------------------- against models


class MailboxMachine(RuleBasedStateMachine):
    """The half that never waits, against two deques."""

    @initialize(capacity=st.integers(min_value=1, max_value=4), overflow=strategies.overflows)
    def begin(self, capacity: int, overflow: Overflow) -> None:
        self.dropped: list[int] = []
        self.mailbox = make(capacity, overflow, self.dropped)
        self.queue: deque[int] = deque()
        self.control: deque[int] = deque()
        self.closed = False
        self.next = self.received = self.refused = 0
        self.gone: list[int] = []

    @rule()
    def send(self) -> None:
        self.next += 1
        spec = self.mailbox.spec
        error: type[Exception] | None = None
        if self.closed:
            error = trio.ClosedResourceError
        elif len(self.queue) < spec.capacity:
            self.queue.append(self.next)
        elif spec.overflow == "wait":
            error = trio.WouldBlock
        elif spec.overflow == "refuse":
            error = MailboxFull
            self.refused += 1
        elif spec.overflow == "drop_oldest":
            self.gone.append(self.queue.popleft())
            self.queue.append(self.next)
        else:
            self.gone.append(self.next)
        if error is None:
            self.mailbox.send_nowait(self.next)
        else:
            with pytest.raises(error):
                self.mailbox.send_nowait(self.next)

    @rule()
    def send_control(self) -> None:
        self.next += 1
        if not self.closed:
            self.control.append(-self.next)
        self.mailbox.send_control(-self.next)

    @rule()
    def receive(self) -> None:
        if self.control:
            assert self.mailbox.receive_nowait() == self.control.popleft()
        elif self.queue:
            assert self.mailbox.receive_nowait() == self.queue.popleft()
            self.received += 1
        else:
            with pytest.raises(trio.EndOfChannel if self.closed else trio.WouldBlock):
                self.mailbox.receive_nowait()

    @rule()
    def close(self) -> None:
        self.mailbox.close()
        self.closed = True

    @rule()
    def reopen(self) -> None:
        self.mailbox.reopen()
        self.closed = False

    @rule()
    def drain(self) -> None:
        assert self.mailbox.drain() == list(self.queue)
        self.queue.clear()
        self.control.clear()

    @invariant()
    def agrees(self) -> None:
        figures = self.mailbox.statistics()
        assert figures.depth == len(self.mailbox) == len(self.queue) <= figures.capacity
        assert (figures.received, figures.dropped, figures.refused) == (self.received, len(self.gone), self.refused)
        assert self.dropped == self.gone


TestMailboxMachine = MailboxMachine.TestCase

STEPS = st.lists(
    st.sampled_from(["send", "send", "send", "receive", "receive", "cancel_sender", "cancel_receiver", "close"]),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.integers(min_value=1, max_value=3), st.randoms(use_true_random=False))
def test_with_waiting_tasks_each_message_arrives_once_or_its_sender_knows_better(steps, capacity, random) -> None:  # type: ignore[no-untyped-def]
    """Senders and a receiver that wait and are cancelled: what was sent is received, in the order it was sent."""
    trio.run(run_steps, steps, capacity, random)


async def run_steps(steps, capacity, random) -> None:  # type: ignore[no-untyped-def]
    mailbox = make(capacity)
    sent: list[int] = []
    refused: list[int] = []
    received: list[int] = []
    senders: dict[int, trio.CancelScope] = {}
    receivers: list[trio.CancelScope] = []
    begun: list[int] = []

    async def send(value: int) -> None:
        begun.append(value)
        with trio.CancelScope() as senders[value]:
            try:
                await mailbox.send(value)
                sent.append(value)
            except trio.ClosedResourceError:
                refused.append(value)
        del senders[value]

    async def receive(scope: trio.CancelScope) -> None:
        with scope:
            try:
                received.append(await mailbox.receive())
            except trio.EndOfChannel:
                pass  # closed and empty, as it should be
        receivers.remove(scope)

    async with trio.open_nursery() as nursery:
        for value, step in enumerate(steps):
            if step == "send":
                nursery.start_soon(send, value)
            elif step == "receive" and not receivers:
                receivers.append(trio.CancelScope())
                nursery.start_soon(receive, receivers[0])
            elif step == "cancel_sender" and senders:
                senders[random.choice(sorted(senders))].cancel()
            elif step == "cancel_receiver" and receivers:
                receivers[0].cancel()
            elif step == "close" and value > 20:
                mailbox.close()
            if random.random() < 0.7:
                await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    left = mailbox.drain()
    assert sorted(received + left) == sorted(sent)
    assert received + left == sorted(received + left, key=begun.index)
    assert not set(refused) & set(sent)
    assert mailbox.statistics().senders_waiting == 0
