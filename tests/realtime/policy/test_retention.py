import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.retention import DAY_MS, Retention

EVENTS = st.lists(st.integers(0, 10 * DAY_MS), max_size=30).map(lambda times: list(enumerate(times, start=1)))


@given(EVENTS, st.integers(1, 40), st.integers(1, 12))
def test_what_goes_is_the_longest_expired_prefix(oldest, events, days):
    now = 10 * DAY_MS
    upto = Retention(days=days, events=events).expired_upto(oldest, last_offset=len(oldest), now_ms=now)

    def expired(offset, time):
        return offset <= len(oldest) - events or time < now - days * DAY_MS

    gone = 0 if upto is None else upto
    assert all(expired(*event) for event in oldest[:gone])
    assert gone == len(oldest) or not expired(*oldest[gone])


@given(EVENTS)
def test_none_keeps_everything(oldest):
    kept = Retention(days=None, events=None)
    assert kept.expired_upto(oldest, last_offset=len(oldest), now_ms=10**15) is None


def test_the_defaults_are_those_of_the_settings():
    assert Retention() == Retention(days=30, events=1_000_000)


@pytest.mark.parametrize("field", ["days", "events"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_bound_that_would_keep_nothing_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be greater than 0"):
        Retention(**{field: value})
