import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.closing import CUT_SPREAD, LEAST_SPREAD, RATE, RESTART, Parting, cut_off, partings, span

windows = st.floats(0, 60)
numbers = st.integers(0, 500)
chances = st.integers(0, 2**32).map(random.Random)


def test_the_reason_tells_the_seconds_with_one_decimal():
    assert Parting(0, 2.34).reason == "retry-after=2.3"
    assert Parting(0, 10).reason == "retry-after=10.0"


def test_a_single_client_does_not_wait_for_the_window():
    assert span(1, 5) == 1 / RATE


def test_many_clients_get_the_whole_window_and_no_more():
    assert span(10_000, 5) == 5


def test_without_a_window_all_go_at_once():
    assert [parting.delay for parting in partings(3, 0, random.Random(1))] == [0, 0, 0]


def test_a_negative_window_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        list(partings(1, -1, random.Random(1)))


@given(connections=numbers, window=windows, chance=chances)
def test_everyone_goes_within_the_window_and_evenly(connections, window, chance):
    delays = [parting.delay for parting in partings(connections, window, chance)]
    assert len(delays) == connections
    assert delays == sorted(delays)
    seconds = span(connections, window)
    assert seconds <= window
    for place, delay in enumerate(delays):
        assert seconds * place / connections <= delay <= seconds * (place + 1) / connections + 1e-9


@given(connections=numbers, window=windows, chance=chances, absence=st.floats(0, 60))
def test_nobody_is_asked_back_before_the_server_is_back(connections, window, chance, absence):
    everyone = list(partings(connections, window, chance, absence))
    first = span(connections, window) + absence
    for parting in everyone:
        back = parting.delay + parting.retry_after
        assert first - 1e-9 <= back <= first + max(span(connections, window), LEAST_SPREAD) + 1e-9


def test_without_knowing_better_a_restart_takes_a_second():
    assert list(partings(50, 5, random.Random(1))) == list(partings(50, 5, random.Random(1), RESTART))


def test_they_come_back_spread_over_as_long_as_they_went():
    backs = [parting.delay + parting.retry_after for parting in partings(2000, 5, random.Random(1))]
    per_second = [sum(6 + second <= back < 7 + second for back in backs) for second in range(5)]
    assert sum(per_second) == 2000
    assert max(per_second) < 500


def test_who_is_cut_off_in_one_moment_does_not_return_in_one():
    chance = random.Random(1).random
    backs = [cut_off(chance).retry_after for _ in range(1000)]
    assert min(backs) >= RESTART
    assert max(backs) <= RESTART + CUT_SPREAD
    per_second = [sum(RESTART + second <= back < RESTART + second + 1 for back in backs) for second in range(5)]
    assert sum(per_second) == 1000
    assert max(per_second) < 300
    assert cut_off(chance).delay == 0
