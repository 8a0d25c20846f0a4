from hypothesis import given
from hypothesis import strategies as st

from supervisors import Backoff
from supervisors.policy.backoff import failures_in_a_row, next_delay
from tests import strategies

failures = st.integers(min_value=1, max_value=10_000)
chance = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


@given(strategies.backoffs(), failures, chance)
def test_a_delay_lies_between_0_and_its_ceiling(backoff: Backoff, count: int, random: float) -> None:
    delay = next_delay(backoff, count, lambda: random)
    if backoff.max_failures is not None and count >= backoff.max_failures:
        assert delay is None
    elif count == 1:
        assert delay == 0.0
    else:
        assert delay is not None
        assert 0.0 <= delay <= min(backoff.maximum, backoff.first * 2.0 ** min(count - 2, 1000))


@given(strategies.backoffs(), failures)
def test_full_jitter_reaches_from_0_to_the_ceiling(backoff: Backoff, count: int) -> None:
    """The delay is the random number times the ceiling, and nothing is added to it."""
    endless = Backoff(backoff.first, backoff.maximum)
    low, high = next_delay(endless, count, lambda: 0.0), next_delay(endless, count, lambda: 0.999999)
    assert low == 0.0
    assert high is not None
    if count > 1:
        assert high >= 0.999 * min(backoff.first, backoff.maximum)


def test_ceilings_double_up_to_the_maximum() -> None:
    backoff = Backoff(first=0.5, maximum=5.0)
    delays = [next_delay(backoff, count, lambda: 0.5) for count in range(1, 8)]
    assert delays == [0.0, 0.25, 0.5, 1.0, 2.0, 2.5, 2.5]


def test_the_first_failure_asks_for_no_random_number() -> None:
    def unexpected() -> float:
        raise AssertionError("asked for a random number")

    assert next_delay(Backoff(), 1, unexpected) == 0.0


def test_one_failure_can_be_enough_to_give_up() -> None:
    assert next_delay(Backoff(max_failures=1), 1, lambda: 0.5) is None


@given(strategies.backoffs(), st.integers(min_value=0, max_value=100), st.none() | strategies.seconds)
def test_a_row_of_failures_ends_with_a_healthy_uptime(backoff: Backoff, earlier: int, uptime: float | None) -> None:
    count = failures_in_a_row(backoff, earlier, uptime)
    healthy = uptime is not None and uptime >= backoff.healthy_uptime
    assert count == (1 if healthy else earlier + 1)


@given(strategies.backoffs(), st.integers(min_value=1, max_value=30))
def test_failed_starts_always_add_up(backoff: Backoff, attempts: int) -> None:
    """Else a child that never comes up could be started again without a delay for ever."""
    count = 0
    for number in range(1, attempts + 1):
        count = failures_in_a_row(backoff, count, None)
        assert count == number
