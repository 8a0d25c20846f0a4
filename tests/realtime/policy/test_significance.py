import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.significance import changed, changed_by, moved_by

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(10**6), 10**6)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@attrs.frozen
class Reading:
    place: str
    degrees: float


@pytest.mark.parametrize(
    ("new", "old", "is_significant"),
    [
        (110, 100, True),
        (90, 100, True),
        (109, 100, False),
        (100, 100, False),
        (-110, -100, True),
        (0.001, 0, True),
        (0, 0, False),
        (True, False, True),
        ("up", "down", True),
        ("up", "up", False),
        (None, 3, True),
        (3, None, True),
        (math.nan, 3.0, True),
        (math.inf, 3.0, True),
        ({"a": 100, "b": 100}, {"a": 100, "b": 109}, False),
        ({"a": 100, "b": 120}, {"a": 100, "b": 100}, True),
        ({"a": 100}, {"a": 100, "b": 1}, True),
        ([100, 200], [101, 202], False),
        ([100, 200], [100], True),
        ({"a": [{"b": 50}]}, {"a": [{"b": 100}]}, True),
        (Reading("roof", 20.5), Reading("roof", 20.0), False),
        (Reading("roof", 25.0), Reading("roof", 20.0), True),
        (Reading("cellar", 20.0), Reading("roof", 20.0), True),
    ],
)
def test_a_change_by_a_tenth(new, old, is_significant):
    assert changed_by(0.10)(new, old) is is_significant


@pytest.mark.parametrize(("new", "is_significant"), [(100.4, False), (100.5, True), (99.5, True), (99.6, False)])
def test_a_move_by_an_amount(new, is_significant):
    assert moved_by(0.5)(new, 100.0) is is_significant


@given(VALUES, VALUES, st.floats(min_value=0.001, max_value=10))
def test_nothing_is_significant_that_has_not_changed(new, old, fraction):
    for predicate in (changed_by(fraction), moved_by(fraction)):
        assert not predicate(old, old)
        if predicate(new, old):
            assert changed(new, old)


@given(NUMBERS, NUMBERS, st.floats(min_value=0.001, max_value=10), st.floats(min_value=0.001, max_value=10))
def test_who_notices_a_small_change_notices_a_large_one(new, old, one, other):
    small, large = sorted((one, other))
    for kind in (changed_by, moved_by):
        assert not kind(large)(new, old) or kind(small)(new, old)


@pytest.mark.parametrize("bad", [0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize(("kind", "name"), [(changed_by, "fraction"), (moved_by, "amount")])
def test_a_measure_that_is_none_is_refused(kind, name, bad):
    with pytest.raises(ValueError, match=f"{name} must be a finite number greater than 0"):
        kind(bad)
