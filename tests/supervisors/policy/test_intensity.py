from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.policy.intensity import RestartIntensity
from tests import strategies


@given(strategies.budgets, strategies.times)
def test_no_window_holds_more_allowed_restarts_than_the_budget(budget: RestartIntensity, times: list[float]) -> None:
    """Whatever the times, wherever the window lies: one that begins at an allowed restart is the fullest."""
    allowed = [at for at in times if budget.allow(at)]
    for begin in allowed:
        inside = [at for at in allowed if begin <= at and at - begin <= budget.max_seconds]
        assert len(inside) <= budget.max_restarts


@given(strategies.budgets, strategies.times)
def test_refuses_only_when_the_window_is_full(budget: RestartIntensity, times: list[float]) -> None:
    allowed: list[float] = []
    for at in times:
        in_window = [before for before in allowed if at - before <= budget.max_seconds]
        assert budget.left(at) == budget.max_restarts - len(in_window)
        if budget.allow(at):
            assert len(in_window) < budget.max_restarts
            allowed.append(at)
        else:
            assert len(in_window) == budget.max_restarts


@given(strategies.budgets, strategies.times)
def test_looking_at_what_is_left_changes_nothing(budget: RestartIntensity, times: list[float]) -> None:
    twin = RestartIntensity(budget.max_restarts, budget.max_seconds)
    for before, at in pairwise([0.0, *times]):
        budget.left((before + at) / 2)
        assert budget.allow(at) == twin.allow(at)


@given(st.integers(min_value=1, max_value=5), strategies.times)
def test_remembers_no_more_than_the_budget(max_restarts: int, times: list[float]) -> None:
    budget = RestartIntensity(max_restarts, 1e9)
    for at in times:
        budget.allow(at)
        assert len(budget._at) <= max_restarts


def test_a_restart_exactly_the_period_ago_still_counts() -> None:
    budget = RestartIntensity(1, 5.0)
    assert budget.allow(0.0)
    assert not budget.allow(5.0)
    assert budget.allow(5.001)


def test_a_budget_of_0_allows_none() -> None:
    assert not RestartIntensity(0, 5.0).allow(1.0)


@pytest.mark.parametrize(("max_restarts", "max_seconds"), [(-1, 5.0), (3, 0.0), (3, -1.0)])
def test_refuses_bounds_that_mean_nothing(max_restarts: int, max_seconds: float) -> None:
    with pytest.raises(ValueError, match=r"max_restarts|max_seconds"):
        RestartIntensity(max_restarts, max_seconds)
