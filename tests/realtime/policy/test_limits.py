import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy import limits
from realtime.policy.limits import Pace, Paces, SlidingWindow, may_subscribe


def test_the_twenty_first_bad_message_within_ten_seconds_is_one_too_many():
    window = limits.bad_messages()
    assert [window.allow(0.5 * number) for number in range(21)] == [True] * 20 + [False]


def test_bad_messages_that_are_spread_out_are_borne():
    window = limits.bad_messages()
    assert all(window.allow(0.51 * number) for number in range(100))


def test_more_than_the_allowed_messages_within_a_second_are_too_many():
    window = limits.inbound(3)
    assert [window.allow(now) for now in (0, 0.5, 1.0, 1.0, 2.1)] == [True, True, True, False, True]


def test_a_connection_may_have_as_many_topics_as_the_limit():
    assert may_subscribe(127, 128)
    assert not may_subscribe(128, 128)


@pytest.mark.parametrize(("limit", "seconds"), [(-1, 1), (1, 0)])
def test_a_window_that_cannot_be_is_refused(limit, seconds):
    with pytest.raises(ValueError, match="must be"):
        SlidingWindow(limit, seconds)


@given(
    limit=st.integers(0, 5),
    seconds=st.floats(0.1, 10),
    steps=st.lists(st.floats(0, 5), max_size=40),
)
def test_an_event_is_one_too_many_if_and_only_if_the_seconds_before_it_hold_more_than_the_limit(limit, seconds, steps):
    window = SlidingWindow(limit, seconds)
    now = 0.0
    times = []
    for step in steps:
        now += step
        times.append(now)
        within = sum(now - time <= seconds for time in times)
        assert window.allow(now) == (within <= limit)


@given(limit=st.integers(0, 5))
def test_a_flood_does_not_grow_the_window(limit):
    window = SlidingWindow(limit, 10)
    for _ in range(100):
        window.allow(0)
    assert len(window._at) <= limit + 1


@given(per_second=st.integers(1, 50), steps=st.lists(st.floats(0, 2), max_size=200))
def test_frames_come_in_a_burst_of_a_second_s_worth_and_then_at_their_pace(per_second, steps):
    pace = Pace(per_second)
    now, allowed = 0.0, []
    for step in steps:
        now += step
        if pace.allow(now):
            allowed.append(now)
    for first, begin in enumerate(allowed):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= per_second * (1 + allowed[last] - begin) + 1


@given(per_second=st.integers(1, 50))
def test_who_keeps_the_pace_is_never_refused(per_second):
    pace = Pace(per_second)
    assert all(pace.allow(0.0) for _ in range(per_second))
    assert not pace.allow(0.0)
    assert all(pace.allow(number / per_second) for number in range(1, 200))


def test_a_pace_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="per_second must be above 0, not 0"):
        Pace(0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2)), max_size=200))
def test_each_key_has_a_pace_of_its_own(steps):
    together, alone = Paces(5), {key: Pace(5) for key in "abc"}
    now = 0.0
    for key, step in steps:
        now += step
        assert together.allow(key, now) == alone[key].allow(now)


def test_keys_that_rest_are_forgotten_and_nobody_gains_by_it():
    paces = Paces(2)
    for number in range(10_000):
        assert paces.allow(number, number)
    assert len(paces._paces) <= 1000
    for number in range(1500):  # all at once: none of them rests
        assert paces.allow(("busy", number), 10_000.0)
        assert paces.allow(("busy", number), 10_000.0)
    assert not any(paces.allow(("busy", number), 10_000.0) for number in range(1500))
