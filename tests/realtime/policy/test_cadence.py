import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.cadence import Tick, next_tick

intervals = st.floats(min_value=0.001, max_value=3600)
starts = st.floats(min_value=0, max_value=1e6)


@pytest.mark.parametrize(
    ("now", "tick"),
    [
        (10.0, Tick(12.0, 0)),
        (11.9, Tick(12.0, 0)),
        (12.0, Tick(12.0, 0)),
        (12.1, Tick(14.0, 1)),
        (14.0, Tick(14.0, 1)),
        (19.0, Tick(20.0, 4)),
        (9.0, Tick(12.0, 0)),  # a clock that went back
    ],
)
def test_the_next_tick_is_the_first_of_the_cadence_that_is_not_over(now, tick):
    assert next_tick(10.0, 2.0, now) == tick


@given(starts, intervals, st.floats(min_value=0, max_value=1e5))
def test_no_tick_is_doubled_and_none_is_closer_than_the_interval(due, interval, worked):
    tick = next_tick(due, interval, due + worked)
    assert tick.due - due >= interval * (1 - 1e-6) - math.ulp(due) * 4
    assert tick.missed >= 0


@given(starts, intervals, st.floats(min_value=0, max_value=1e5))
def test_a_tick_is_never_in_the_past_and_no_further_than_one_interval_ahead(due, interval, worked):
    now = due + worked
    tick = next_tick(due, interval, now)
    # What is over by a rounding error is not missed.
    slack = 1e-6 * max(interval, worked) + 4 * math.ulp(now)
    assert now - slack <= tick.due <= max(now, due) + interval + slack


@given(starts, intervals, st.lists(st.floats(min_value=0, max_value=5), max_size=50))
def test_there_is_no_drift_however_long_the_work_takes(start, interval, works):
    """Every tick is at start + n x interval, n being what was done and what was missed together."""
    due, count = start, 0
    for work in works:
        tick = next_tick(due, interval, due + work * interval)
        due, count = tick.due, count + 1 + tick.missed
    assert due == pytest.approx(start + count * interval, rel=1e-9, abs=1e-6)


@given(intervals, st.integers(min_value=1, max_value=100))
def test_work_of_whole_intervals_misses_exactly_those_between(interval, steps):
    tick = next_tick(0.0, interval, steps * interval)
    assert tick.missed == steps - 1
