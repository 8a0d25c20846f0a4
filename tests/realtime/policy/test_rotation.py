import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.rotation import Rotation, rotated, rotated_name, surplus

DAYS = st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"])
NAMES = st.sampled_from(["events.jsonl", "events.log", "events", "a.b.log", ".hidden", "e[1].log"])


@given(st.lists(st.tuples(st.integers(1, 50), DAYS), max_size=60), st.integers(1, 120), st.booleans())
def test_no_file_grows_beyond_its_bound_or_holds_a_later_day(lines, max_bytes, daily):
    rotation = Rotation(max_bytes=max_bytes, daily=daily)
    size, day, count = 0, None, 0
    for length, line_day in lines:
        if rotation.due(size, day, length, line_day):
            assert count > 0  # an empty file is never put away
            size, day, count = 0, None, 0
        size, count = size + length, count + 1
        assert size <= max_bytes or count == 1
        assert not daily or day is None or line_day <= day
        day = line_day if day is None else max(day, line_day)


def test_a_clock_that_is_set_back_begins_no_file():
    assert not Rotation().due(10, "2026-01-02", 10, "2026-01-01")
    assert Rotation().due(10, "2026-01-02", 10, "2026-01-03")
    assert not Rotation(daily=False).due(10, "2026-01-02", 10, "2026-01-03")


@given(NAMES, st.lists(st.tuples(st.integers(1, 10_000_000), DAYS), unique_by=lambda each: each[0], max_size=10))
def test_files_that_were_put_away_are_found_in_their_order(name, files):
    made = [rotated_name(name, number, day) for number, day in files]
    found = rotated(name, [*made, name, f"{name}.lock", "other.2026-01-01.000001.log", "e1.2026-01-01.000001.log"])
    assert [number for number, _ in found] == sorted(number for number, _ in files)
    assert {each for _, each in found} == set(made)


def test_the_name_keeps_its_ending():
    assert rotated_name("events.jsonl", 42, "2026-01-01") == "events.2026-01-01.000042.jsonl"
    assert rotated_name("events", 42, "2026-01-01") == "events.2026-01-01.000042"


@pytest.mark.parametrize(("keep", "gone"), [(1, ["a", "b"]), (2, ["a"]), (3, []), (9, [])])
def test_the_oldest_are_too_many(keep, gone):
    assert surplus([(1, "a"), (2, "b"), (3, "c")], keep) == gone


@pytest.mark.parametrize("field", ["max_bytes", "keep"])
def test_a_bound_of_nothing_is_refused(field):
    with pytest.raises(ValueError, match=field):
        Rotation(**{field: 0})
