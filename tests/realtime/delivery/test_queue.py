"""The queue of one connection: its order, its bounds, and the gaps where something had to go."""

import gc
from collections import deque

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from realtime.delivery import frames
from realtime.delivery.message import Message
from realtime.delivery.queue import Confirmation, MessageQueue
from realtime.policy import lag
from realtime.policy.lag import Overflow, Verdict

from .made import made, reply, told

ALL = 10**9


def filled(*offsets, topic="t", overflow=Overflow.DROP_OLDEST, max_messages=3):
    queue = MessageQueue(max_messages, ALL)
    for offset in offsets:
        queue.offer(made(topic, offset, overflow))
    return queue


def test_what_is_queued_comes_out_in_order():
    queue = filled(1, 2, 3)
    assert told(queue.take(ALL)) == [1, 2, 3]
    assert queue.take(ALL) == []
    assert (queue.messages, queue.bytes, len(queue)) == (0, 0, 0)


def test_a_batch_is_bounded_by_its_bytes():
    queue = filled(1, 2, 3)
    size = made("t", 1).size
    assert told(queue.take(2 * size)) == [1, 2]
    assert told(queue.take(2 * size)) == [3]


def test_a_frame_larger_than_a_batch_goes_alone():
    queue = filled(1, 2, 3)
    assert [told(queue.take(1)) for _ in range(3)] == [[1], [2], [3]]


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0)])
def test_bounds_below_one_are_refused(bounds):
    with pytest.raises(ValueError, match="at least 1"):
        MessageQueue(*bounds)


def test_drop_oldest_leaves_one_gap_where_the_dropped_ones_were():
    queue = filled(1, 2, 3, 4, 5)
    assert queue.dropped == 2
    assert told(queue.take(ALL)) == [(1, 2), 3, 4, 5]


def test_drop_newest_leaves_a_gap_at_the_end():
    queue = filled(1, 2, 3, 4, 5, overflow=Overflow.DROP_NEWEST)
    assert told(queue.take(ALL)) == [1, 2, 3, (4, 5)]


def test_a_gap_stands_between_what_was_before_and_what_came_after():
    queue = filled(1, 2, 3, 4, overflow=Overflow.DROP_NEWEST)
    assert told(queue.take(1)) == [1]
    queue.offer(made("t", 5, Overflow.DROP_NEWEST))
    queue.offer(made("t", 6, Overflow.DROP_NEWEST))
    assert told(queue.take(ALL)) == [2, 3, (4, 4), 5, (6, 6)]


def test_an_overflow_costs_no_other_topic_a_message():
    queue = filled(1, 2, 3, topic="other")
    assert queue.offer(made("t", 1)) == lag.REFUSE
    assert queue.offer(made("t", 2)) == lag.REFUSE
    assert told(queue.take(ALL)) == [1, 2, 3, (1, 2)]


def test_the_oldest_of_ones_own_topic_goes_though_another_topics_are_older():
    queue = filled(1, topic="other")
    for offset in (11, 12, 13):
        queue.offer(made("t", offset))
    assert told(queue.take(ALL)) == [1, (11, 11), 12, 13]


def test_the_bound_in_bytes_evicts_as_many_as_it_takes():
    small = made("t", 1).size
    queue = MessageQueue(100, 4 * small)
    for offset in (1, 2, 3, 4):
        queue.offer(made("t", offset))
    assert queue.offer(made("t", 5, fill=small)).evict == 2
    assert queue.bytes <= queue.max_bytes
    assert told(queue.take(ALL)) == [(1, 2), 3, 4, 5]


def test_a_message_larger_than_the_bound_is_a_gap_and_costs_nothing_else():
    queue = filled(1, 2)
    queue.max_bytes = 500
    assert queue.offer(made("t", 3, fill=1000)) == lag.REFUSE
    assert told(queue.take(ALL)) == [1, 2, (3, 3)]


def test_gaps_that_come_to_stand_side_by_side_become_one():
    queue = filled(1, 2, 3)
    queue.max_bytes = queue.bytes
    queue.offer(made("t", 4, fill=1000))
    queue.offer(made("t", 5))
    assert told(queue.take(ALL)) == [(1, 1), 2, 3, (4, 4), 5]

    queue = filled(1, 2, 3)
    queue.max_bytes = queue.bytes
    for offset in (4, 5, 6, 7, 8):
        queue.offer(made("t", offset, fill=1000 if offset == 4 else 0))
    assert told(queue.take(ALL)) == [(1, 5), 6, 7, 8]


def test_conflate_keeps_the_latest_of_each_key_at_the_end():
    queue = MessageQueue(10, ALL)
    for offset, key in enumerate("abacab", 1):
        queue.offer(made("t", offset, Overflow.CONFLATE, key=key))
    assert told(queue.take(ALL)) == [4, 5, 6]
    assert (queue.conflated, queue.dropped) == (3, 0)


def test_conflate_does_so_while_there_is_room_and_only_what_is_still_queued():
    queue = MessageQueue(10, ALL)
    queue.offer(made("t", 1, Overflow.CONFLATE))
    assert told(queue.take(ALL)) == [1]
    assert queue.offer(made("t", 2, Overflow.CONFLATE)) == lag.QUEUE
    assert queue.offer(made("t", 3, Overflow.CONFLATE)) == lag.REPLACE
    assert told(queue.take(ALL)) == [3]


def test_the_same_key_on_another_topic_is_another_key():
    queue = MessageQueue(10, ALL)
    queue.offer(made("t", 1, Overflow.CONFLATE, key="a"))
    queue.offer(made("u", 7, Overflow.CONFLATE, key="a"))
    assert told(queue.take(ALL)) == [1, 7]


def test_more_keys_than_room_lose_the_oldest_with_a_gap():
    queue = MessageQueue(2, ALL)
    for offset, key in enumerate("abc", 1):
        queue.offer(made("t", offset, Overflow.CONFLATE, key=key))
    assert told(queue.take(ALL)) == [(1, 1), 2, 3]


def test_disconnect_is_left_to_the_caller():
    queue = filled(1, 2, 3, overflow=Overflow.DISCONNECT)
    assert queue.offer(made("t", 4, Overflow.DISCONNECT)) == lag.DISCONNECT
    assert told(queue.take(ALL)) == [1, 2, 3]


def test_a_patient_message_waits_outside_and_moves_up_in_order():
    queue = filled(1, 2, 3, overflow=Overflow.WAIT)
    first, second = made("t", 4, Overflow.WAIT, patient=True), made("t", 5, Overflow.WAIT, patient=True)
    assert queue.offer(first) == queue.offer(second) == lag.HOLD
    assert queue.messages == 3
    assert told(queue.take(1)) == [1]
    assert not queue.holds(first)
    assert queue.holds(second)
    assert told(queue.take(ALL)) == [2, 3, 4]
    assert told(queue.take(ALL)) == [5]


def test_what_nobody_waits_for_does_not_pass_those_that_wait():
    queue = filled(1, 2, 3, overflow=Overflow.WAIT)
    queue.offer(made("t", 4, Overflow.WAIT, patient=True, fill=1000))
    queue.max_bytes = 500
    queue.take(ALL)
    assert queue.held == 1
    assert queue.offer(made("t", 5, Overflow.WAIT)) == lag.DISCONNECT
    assert queue.offer(made("t", 6, Overflow.WAIT, patient=True)) == lag.HOLD


def test_those_that_wait_can_be_given_up():
    queue = filled(1, 2, 3, overflow=Overflow.WAIT)
    queue.offer(made("t", 4, Overflow.WAIT, patient=True))
    queue.offer(made("u", 1, Overflow.WAIT, patient=True))
    queue.release("t")
    assert queue.held == 1
    queue.release()
    assert queue.held == 0


def test_replies_keep_their_place_and_are_never_refused():
    queue = filled(1, 2)
    queue.append(reply())
    queue.offer(made("t", 3))
    queue.append(reply())
    queue.offer(made("t", 4))
    assert queue.replies == 2
    assert told(queue.take(ALL)) == [(1, 1), 2, "reply", 3, "reply", 4]
    assert (queue.replies, queue.bytes) == (0, 0)


def test_replies_count_into_the_bytes():
    queue = filled(1)
    queue.max_bytes = queue.bytes + made("t", 2).size
    queue.append(reply())
    assert queue.offer(made("t", 2)).evict == 1


def test_replies_alone_can_leave_no_room():
    queue = MessageQueue(10, 1)
    queue.append(reply())
    assert queue.room == lag.Room(10, 0)
    assert queue.offer(made("t", 1)) == lag.REFUSE
    assert told(queue.take(ALL)) == ["reply", (1, 1)]


@pytest.mark.parametrize(
    ("before", "out"),
    [
        ([1], [1, "reply", (11, 13), 14, 15]),
        ([1, 2, 3, 4], [(1, 1), 2, 3, 4, "reply", (11, 15)]),
    ],
)
def test_a_gap_never_reaches_back_beyond_the_confirmation_of_its_subscription(before, out):
    """Whether or not something had overflowed before the subscription was renewed."""
    queue = filled(*before)
    queue.append(Confirmation("t", reply()))
    for offset in range(11, 16):
        queue.offer(made("t", offset))
    assert told(queue.take(ALL)) == out


def test_what_stood_before_a_confirmation_is_no_part_of_what_may_be_evicted_after_it():
    queue = filled(1, 2, 3, 4)
    queue.append(Confirmation("t", reply()))
    assert told(queue.take(1)) + told(queue.take(1)) == [(1, 1), 2]
    queue.offer(made("t", 11))
    assert told(queue.take(1)) == [3]
    queue.offer(made("t", 12))
    queue.offer(made("t", 13))
    assert told(queue.take(ALL)) == [4, "reply", (11, 11), 12, 13]


def test_what_an_overflow_needed_is_forgotten_when_the_queue_has_run_empty():
    queue = filled(1, 2, 3, 4)
    assert queue._strands
    queue.take(ALL)
    assert queue._strands is None
    assert not queue._gone


def test_clear_forgets_everything_but_the_counters():
    queue = filled(1, 2, 3, 4)
    queue.append(reply())
    queue.clear()
    assert (len(queue), queue.messages, queue.bytes, queue.replies) == (0, 0, 0, 0)
    assert queue.dropped == 1
    assert queue.take(ALL) == []
    queue.offer(made("t", 5))
    assert told(queue.take(ALL)) == [5]


def test_a_stalled_client_holds_no_more_than_its_bounds_however_much_is_published():
    """Neither dropped messages nor their marks pile up, though others stand before them."""
    queue = MessageQueue(100, ALL)
    for offset in range(50):
        queue.offer(made("other", offset))
    for offset in range(5000):
        queue.offer(made("t", offset))
        queue.offer(made("state", offset, Overflow.CONFLATE))
        assert len(queue._items) <= 2 * 100 + 70
    assert queue.messages == 100
    gc.collect()
    assert sum(isinstance(thing, Message) for thing in gc.get_objects()) <= 2 * 100 + 70


OVERFLOWING = {
    "oldest": Overflow.DROP_OLDEST,
    "oldest2": Overflow.DROP_OLDEST,
    "newest": Overflow.DROP_NEWEST,
    "state": Overflow.CONFLATE,
    "wait": Overflow.WAIT,
}


class QueueMachine(RuleBasedStateMachine):
    """Whatever is queued, dropped, conflated and taken: what comes out accounts for all that went in, in order."""

    def __init__(self):
        super().__init__()
        self.queue = MessageQueue(6, 700)
        self.offsets = dict.fromkeys(OVERFLOWING, 0)
        self.seen = dict.fromkeys(OVERFLOWING, 0)
        self.replies = 0
        self.replies_seen = 0
        self.missed = 0
        self.state_seen = 0
        self.latest_state = {}
        self.order = {}
        self.last_place = -1
        self.places = 0
        self.refused_wait = set()

    def _place(self, what):
        self.order[what] = self.places
        self.places += 1

    @rule(
        topic=st.sampled_from(sorted(OVERFLOWING)),
        key=st.sampled_from("abc"),
        fill=st.integers(0, 200),
        patient=st.booleans(),
    )
    def publish(self, topic, key, fill, patient):
        if topic == "wait" and "wait" in self.refused_wait:
            return
        self.offsets[topic] += 1
        offset = self.offsets[topic]
        room = self.queue.room
        message = made(topic, offset, OVERFLOWING[topic], key=key, fill=fill, patient=patient)
        verdict = self.queue.offer(message)
        assert isinstance(verdict, Verdict)
        if room.fits(message.size):
            assert verdict.dropped == 0
        if verdict.disconnect:
            assert topic == "wait"
            self.refused_wait.add("wait")
            self.offsets[topic] -= 1
        if verdict.queue:
            self._place((topic, offset))
        if topic == "state":
            self.latest_state[key] = offset

    @rule()
    def answer(self):
        self.replies += 1
        self.queue.append(reply(self.replies))
        self._place(("reply", self.replies))

    @rule(topic=st.sampled_from(sorted(OVERFLOWING)))
    def confirm(self, topic):
        self.replies += 1
        self.queue.append(Confirmation(topic, reply(self.replies)))
        self._place(("reply", self.replies))

    @rule(max_bytes=st.integers(1, 1000))
    def take(self, max_bytes):
        for frame in self.queue.take(max_bytes):
            self._received(msgspec.json.decode(frame.payload))

    def _received(self, message):
        if message["type"] == "reply":
            self.replies_seen += 1
            assert message["number"] == self.replies_seen
            self._in_order(("reply", message["number"]))
            return
        topic, offset = message["topic"], message["offset"]
        if message["type"] == "gap":
            self.missed += message["missed"]
            first = offset - message["missed"] + 1
            if topic == "state":
                assert offset > self.seen[topic]
            else:
                assert first == self.seen[topic] + 1
        else:
            assert offset > self.seen[topic] if topic == "state" else offset == self.seen[topic] + 1
            self.state_seen += topic == "state"
            if (topic, offset) in self.order:
                self._in_order((topic, offset))
        self.seen[topic] = offset

    def _in_order(self, what):
        assert self.order[what] > self.last_place
        self.last_place = self.order[what]

    @precondition(lambda self: self.offsets["state"] or self.offsets["oldest"])
    @rule()
    def drain(self):
        while len(self.queue):
            self.take(10**6)
        for topic in OVERFLOWING:
            if topic == "wait":
                assert self.seen[topic] + self.queue.held == self.offsets[topic]
            else:
                assert self.seen[topic] == self.offsets[topic]
        assert self.replies_seen == self.replies
        assert self.missed == self.queue.dropped

    @invariant()
    def stays_within_its_bounds(self):
        queue = self.queue
        assert queue.messages <= queue.max_messages
        assert len(queue) >= queue.messages
        reply_bytes = 50 * queue.replies
        assert queue.bytes <= queue.max_bytes + reply_bytes
        assert len(queue._items) <= 2 * len(queue) + 65
        gaps = len(queue) - queue.messages - queue.replies
        assert gaps <= queue.messages + len(OVERFLOWING) + queue.replies

    @invariant()
    def keeps_account_of_what_is_dead(self):
        queue = self.queue
        assert queue._dead == sum(item in queue._gone and _is_dead(queue, item) for item in queue._items) + sum(
            getattr(item, "missed", 1) == 0 for item in queue._items
        )
        assert queue.messages == sum(isinstance(item, Message) and item not in queue._gone for item in queue._items)
        assert isinstance(queue._items, deque)


def _is_dead(queue, item):
    gap = queue._gone[item]
    return gap is None or not gap.missed


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


# --- what is partly written ---


def test_the_rest_of_a_frame_counts_and_comes_out_by_itself():
    queue = MessageQueue(2, 1000)
    rest = frames.rest(b"x" * 100)
    queue.begin(rest)
    assert (len(queue), queue.messages, queue.bytes) == (1, 1, 100)
    assert queue.offer(made("t", 1)) is lag.QUEUE
    assert queue.offer(made("t", 2)).evict == 1, "the rest takes one of the two places, and no policy can drop it"
    assert queue.take_rest() == [rest]
    assert queue.take_rest() == []
    assert told(queue.take(1000)) == [(1, 1), 2]
    assert (len(queue), queue.messages, queue.bytes) == (0, 0, 0)


def test_what_is_cleared_is_not_the_rest_of_a_frame():
    queue = MessageQueue(2, 1000)
    queue.begin(frames.rest(b"x" * 100))
    queue.offer(made("t", 1))
    queue.clear()
    assert (len(queue), queue.messages, queue.bytes) == (1, 1, 100)
    queue.take_rest()
    assert (len(queue), queue.messages, queue.bytes) == (0, 0, 0)


def test_nothing_can_be_queued_before_the_rest_of_a_frame():
    queue = MessageQueue(2, 1000)
    queue.offer(made("t", 1))
    with pytest.raises(ValueError, match="comes first"):
        queue.begin(frames.rest(b"x"))
