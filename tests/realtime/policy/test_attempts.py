import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.attempts import LONGEST_RETRY_AFTER, Attempt, Patience, next_attempt, parse_retry_after

NOW = 1_767_225_600.0
PATIENCES = st.builds(
    Patience,
    attempts=st.integers(1, 100),
    first=st.floats(0.01, 100),
    maximum=st.floats(0.01, 1000),
)
CHANCE = st.floats(0, 1, exclude_max=True)
FAILED = st.builds(Attempt, status=st.none() | st.integers(300, 599), retry_after=st.none() | st.floats(0, 10_000))


@given(PATIENCES, st.integers(1, 100), FAILED, CHANCE)
def test_it_ends_and_no_wait_is_beyond_its_bounds(patience, made, last, chance):
    delay = next_attempt(patience, made, last, lambda: chance)
    if made >= patience.attempts or not last.may_go_better:
        assert delay is None
        return
    ceiling = min(patience.maximum, patience.first * 2.0 ** (made - 1))
    asked = min(last.retry_after or 0.0, LONGEST_RETRY_AFTER)
    assert max(ceiling / 2, asked) <= delay <= max(ceiling, asked)


def test_delays_double_up_to_the_longest():
    patience = Patience(attempts=9, first=1, maximum=20)
    delays = [next_attempt(patience, made, Attempt(None), lambda: 0.999999) for made in range(1, 8)]
    assert [round(delay) for delay in delays] == [1, 2, 4, 8, 16, 20, 20]


@pytest.mark.parametrize("status", [None, 408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_go_better_is_tried_again(status):
    assert next_attempt(Patience(), 1, Attempt(status), lambda: 0) is not None


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 410, 413, 422])
def test_what_was_understood_and_refused_is_not(status):
    assert next_attempt(Patience(), 1, Attempt(status), lambda: 0) is None


@pytest.mark.parametrize(
    ("status", "delivered"), [(199, False), (200, True), (204, True), (299, True), (300, False), (None, False)]
)
def test_only_two_hundreds_are_delivered(status, delivered):
    assert Attempt(status).delivered is delivered


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("9" * 400, LONGEST_RETRY_AFTER),
        (email.utils.formatdate(NOW + 30, usegmt=True), 30),
        (email.utils.formatdate(NOW - 30, usegmt=True), 0),
        (email.utils.formatdate(NOW + 10**8, usegmt=True), LONGEST_RETRY_AFTER),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Fri, 31 Feb 9999999 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_any_text_is_read_or_is_none(value):
    found = parse_retry_after(value, NOW)
    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER
