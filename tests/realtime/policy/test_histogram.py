import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.histogram import SECONDS, Histogram

seconds = st.floats(0, 100, allow_nan=False)


def test_nothing_observed_has_no_quantile():
    figures = Histogram().statistics()
    assert (figures.count, figures.sum, figures.quantile(0.99)) == (0, 0.0, None)


def test_a_bound_belongs_to_its_own_bucket():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    figures = histogram.statistics()
    assert figures.at_most == (2, 4)
    assert (figures.count, figures.sum) == (5, 7.5)
    assert figures.quantile(0.4) == 1.0
    assert figures.quantile(0.5) == 2.0
    assert figures.quantile(1.0) == float("inf")


@given(st.lists(seconds, min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_bound_above_the_true_one(values, q):
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    found = histogram.statistics().quantile(q)
    below = sum(value <= found for value in values)
    assert below >= q * len(values)
    lower = max((bound for bound in SECONDS if bound < found), default=-1.0)
    assert sum(value <= lower for value in values) < q * len(values)


@given(st.lists(seconds))
def test_buckets_never_fall_and_end_in_the_count(values):
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    figures = histogram.statistics()
    assert list(figures.at_most) == sorted(figures.at_most)
    assert figures.at_most == tuple(sum(value <= bound for value in values) for bound in SECONDS)
    assert figures.count == len(values)


@pytest.mark.parametrize("bounds", [(), (2, 1), (1, 1)])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="ascending"):
        Histogram(bounds)
