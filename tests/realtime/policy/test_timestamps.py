from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.timestamps import to_iso, to_ms

LAST_MS = 253402300799999  # 9999-12-31T23:59:59.999Z, the last that ISO 8601 writes with four digits


def test_the_written_form_has_milliseconds_and_ends_in_z():
    assert to_iso(1767225600000) == "2026-01-01T00:00:00.000Z"


@given(st.integers(0, LAST_MS))
def test_reading_undoes_writing(ms):
    assert to_ms(to_iso(ms)) == ms


@given(st.integers(0, LAST_MS), st.integers(0, LAST_MS))
def test_times_sort_as_text(one, other):
    assert (to_iso(one) < to_iso(other)) == (one < other)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-01", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
        ("20260101T000000Z", "2026-01-01T00:00:00Z"),
    ],
)
def test_any_form_of_iso_8601_is_read_and_is_utc_unless_it_says_otherwise(text, same):
    assert to_ms(text) == to_ms(same)


@given(st.datetimes(timezones=st.just(UTC)))
def test_fractions_of_a_millisecond_are_rounded_up(moment):
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    ms = to_ms(moment.isoformat())
    assert timedelta(0) <= timedelta(milliseconds=ms) - (moment - epoch) < timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1767225600", "0001-01-01T00:00:00+14:00x"])
def test_anything_else_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="ISO 8601") as caught:
        to_ms(text)
    assert repr(text) in str(caught.value)
