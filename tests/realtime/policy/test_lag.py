import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy import lag
from realtime.policy.lag import Overflow, Room, Verdict, judge

ROOMY = Room(messages=5, bytes=500)
FULL = Room(messages=0, bytes=500)

rooms = st.builds(Room, st.integers(0, 5), st.integers(0, 300))
sizes = st.integers(1, 200)
owns = st.lists(sizes, max_size=6)
overflows = st.sampled_from(list(Overflow))


@pytest.mark.parametrize("overflow", Overflow)
def test_what_fits_is_queued_under_every_policy(overflow):
    assert judge(overflow, 100, ROOMY) == lag.QUEUE


@pytest.mark.parametrize(
    ("overflow", "patient", "verdict"),
    [
        (Overflow.DROP_OLDEST, False, Verdict(queue=True, evict=1)),
        (Overflow.DROP_NEWEST, False, lag.REFUSE),
        (Overflow.CONFLATE, False, Verdict(queue=True, evict=1)),
        (Overflow.DISCONNECT, False, lag.DISCONNECT),
        (Overflow.WAIT, True, lag.HOLD),
        (Overflow.WAIT, False, lag.DISCONNECT),
    ],
)
def test_what_does_not_fit_is_judged_by_the_policy(overflow, patient, verdict):
    assert judge(overflow, 100, FULL, own=[50, 50], patient=patient) == verdict


def test_drop_oldest_evicts_as_many_as_the_bytes_ask_for():
    assert judge(Overflow.DROP_OLDEST, 100, Room(3, 10), own=[30, 30, 30, 30]).evict == 3


def test_drop_oldest_without_a_queued_message_of_its_topic_lets_the_new_one_go():
    assert judge(Overflow.DROP_OLDEST, 100, FULL, own=[]) == lag.REFUSE


def test_nothing_is_evicted_in_vain():
    assert judge(Overflow.DROP_OLDEST, 100, Room(3, 0), own=[10, 10]) == lag.REFUSE


def test_conflate_replaces_the_message_of_its_key_though_there_is_room():
    assert judge(Overflow.CONFLATE, 100, ROOMY, replaces=100) == lag.REPLACE


def test_conflate_counts_the_room_of_the_one_it_replaces():
    assert judge(Overflow.CONFLATE, 100, Room(0, 0), replaces=100, own=[10]) == lag.REPLACE


def test_conflate_evicts_beside_what_it_replaces_when_that_was_smaller():
    assert judge(Overflow.CONFLATE, 100, Room(0, 0), replaces=60, own=[50]) == Verdict(
        queue=True, replace=True, evict=1
    )


def test_a_conflated_message_that_cannot_fit_leaves_the_older_one():
    assert judge(Overflow.CONFLATE, 100, Room(0, 0), replaces=60, own=[]) == lag.REFUSE


def test_only_conflate_replaces():
    assert judge(Overflow.DROP_NEWEST, 100, FULL, replaces=100) == lag.REFUSE


def test_room_is_never_negative():
    with pytest.raises(ValueError, match="messages"):
        Room(-1, 0)


@given(overflow=overflows, size=sizes, room=rooms, own=owns, replaces=st.none() | sizes, patient=st.booleans())
def test_a_verdict_does_exactly_one_thing_with_the_new_message(overflow, size, room, own, replaces, patient):
    verdict = judge(overflow, size, room, own=own, replaces=replaces, patient=patient)
    assert verdict.queue + verdict.hold + verdict.disconnect <= 1
    assert verdict.dropped == (
        verdict.evict if verdict.queue else 0 if verdict.hold or verdict.disconnect else verdict.evict + 1
    )


@given(overflow=overflows, size=sizes, room=rooms, own=owns, replaces=st.none() | sizes, patient=st.booleans())
def test_what_is_queued_stays_within_both_bounds(overflow, size, room, own, replaces, patient):
    verdict = judge(overflow, size, room, own=own, replaces=replaces, patient=patient)
    if verdict.queue:
        freed = sum(own[: verdict.evict]) + (replaces or 0) * verdict.replace
        assert room.bytes + freed >= size
        assert room.messages + verdict.evict + verdict.replace >= 1
    else:
        assert verdict.evict == 0
        assert not verdict.replace


@given(overflow=overflows, size=sizes, room=rooms, own=owns, replaces=st.none() | sizes, patient=st.booleans())
def test_nothing_is_lost_while_there_is_room_and_no_more_than_needed_when_not(
    overflow, size, room, own, replaces, patient
):
    verdict = judge(overflow, size, room, own=own, replaces=replaces, patient=patient)
    if room.fits(size):
        assert verdict.dropped == 0
        assert verdict.queue
    if verdict.evict:
        one_less = own[: verdict.evict - 1]
        freed = sum(one_less) + (replaces or 0) * verdict.replace
        assert not Room(room.messages + len(one_less) + verdict.replace, room.bytes + freed).fits(size)
