import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.heartbeat import Probe, Reap, Wait, decide, first_ping, next_ping

times = st.floats(0, 1e6)
intervals = st.floats(0.01, 1e4)
chances = st.floats(0, 1, exclude_max=True)


def test_before_the_first_ping_there_is_nothing_to_do():
    assert decide(10, ping_due=30, pong_timeout=10, unanswered_since=None) == Wait(30)


def test_a_ping_that_is_due_is_sent():
    assert decide(30, ping_due=30, pong_timeout=10, unanswered_since=None) == Probe()


def test_an_unanswered_ping_is_looked_at_again_at_its_deadline():
    assert decide(31, ping_due=60, pong_timeout=10, unanswered_since=30) == Wait(40)


def test_no_sign_of_life_within_the_timeout_is_death():
    assert decide(40, ping_due=60, pong_timeout=10, unanswered_since=30) == Reap(10)


def test_the_servers_own_lag_is_taken_off_the_silence():
    assert decide(40, ping_due=60, pong_timeout=10, unanswered_since=30, lag=7) == Wait(47)
    assert decide(47, ping_due=60, pong_timeout=10, unanswered_since=30, lag=7) == Reap(10)


def test_pings_go_on_while_one_is_unanswered_if_the_timeout_is_the_longer():
    assert decide(6, ping_due=6, pong_timeout=10, unanswered_since=5) == Probe()


def test_silence_counts_from_the_oldest_unanswered_ping_though_another_is_due():
    assert decide(15, ping_due=15, pong_timeout=10, unanswered_since=5) == Reap(10)


@given(opened_at=times, interval=intervals, chance=chances)
def test_the_first_ping_comes_one_interval_after_the_handshake_spread_by_a_quarter(opened_at, interval, chance):
    due = first_ping(opened_at, interval, chance)
    assert opened_at + 0.75 * interval <= due <= opened_at + 1.25 * interval


def test_the_spread_is_even():
    assert [first_ping(0, 100, chance) for chance in (0, 0.25, 0.5, 0.75)] == [75, 87.5, 100, 112.5]


@pytest.mark.parametrize(("now", "following"), [(30, 60), (31, 60), (59.9, 60), (60, 90), (95, 120)])
def test_a_late_ping_does_not_move_those_after_it(now, following):
    assert next_ping(30, 30, now) == following


@given(due=times, interval=intervals, late=st.floats(0, 1e5))
def test_the_next_ping_is_later_than_now_and_at_most_an_interval_away(due, interval, late):
    following = next_ping(due, interval, due + late)
    assert due + late < following
    assert following <= due + late + interval * 1.001 + 1e-9


@given(
    now=times,
    ping_due=times,
    pong_timeout=st.floats(0.1, 100),
    unanswered_since=st.none() | times,
    lag=st.floats(0, 1e4),
)
def test_nobody_is_reaped_before_timeout_and_lag_have_passed_and_waits_lead_forward(
    now, ping_due, pong_timeout, unanswered_since, lag
):
    verdict = decide(now, ping_due=ping_due, pong_timeout=pong_timeout, unanswered_since=unanswered_since, lag=lag)
    if isinstance(verdict, Reap):
        assert unanswered_since is not None
        assert now >= unanswered_since + pong_timeout + lag
        assert verdict.silent_for == pytest.approx(now - unanswered_since - lag)
    elif isinstance(verdict, Wait):
        assert now < verdict.until < math.inf
    else:
        assert now >= ping_due
