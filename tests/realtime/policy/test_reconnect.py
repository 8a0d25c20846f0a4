import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.messages import CloseCode
from realtime.policy.closing import Parting
from realtime.policy.reconnect import FINAL_CODES, FIRST, LATER, LONGEST_TOLD, MAXIMUM, reconnect_delay

RESTARTING = [code for code in (None, 1001, 1006, *CloseCode) if code not in FINAL_CODES]

chances = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)
attempts = st.integers(min_value=1, max_value=10_000)


def most(code, reason, attempt):
    """The longest delay that chance can bring."""
    return reconnect_delay(code, reason, attempt, lambda: 1.0)


def least(code, reason="", attempt=1):
    return reconnect_delay(code, reason, attempt, lambda: 0.0)


@pytest.mark.parametrize("code", sorted(FINAL_CODES))
@pytest.mark.parametrize("reason", ["", "retry-after=3.0"])
def test_there_is_no_coming_back_after_a_final_code(code, reason):
    assert reconnect_delay(code, reason, 1, lambda: 0.5) is None


def test_the_final_codes_are_those_that_the_protocol_calls_so():
    """Signing in again is not something that a reconnect does."""
    wanted = {CloseCode.NORMAL, CloseCode.NOT_AUTHENTICATED, CloseCode.NOT_ALLOWED, CloseCode.NO_SUCH_TASK}
    assert wanted == FINAL_CODES


@pytest.mark.parametrize("code", RESTARTING)
def test_after_every_other_code_the_client_comes_back(code):
    assert reconnect_delay(code, "", 1, lambda: 0.5) is not None


def test_the_longest_delay_doubles_up_to_a_maximum():
    assert [most(None, "", attempt) for attempt in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert most(1006, "", 10_000) == MAXIMUM


@given(st.sampled_from([None, 1006, 1011]), attempts, chances)
def test_a_delay_is_within_its_bounds(code, attempt, chance):
    delay = reconnect_delay(code, "", attempt, lambda: chance)
    assert 0 <= delay <= min(MAXIMUM, FIRST * 2 ** min(attempt - 1, 20))


@given(st.floats(min_value=0, max_value=100), attempts, chances)
def test_nobody_comes_back_before_the_server_has_said(told, attempt, chance):
    parting = Parting(0.0, told)
    delay = reconnect_delay(1012, parting.reason, attempt, lambda: chance)
    assert delay >= round(told, 1)
    assert delay <= round(told, 1) + MAXIMUM


@given(st.lists(chances, min_size=2, max_size=20, unique=True))
def test_clients_that_were_told_the_same_still_come_back_at_different_moments(draws):
    delays = [reconnect_delay(1012, "retry-after=1.0", 1, lambda draw=draw: draw) for draw in draws]
    assert max(delays) - min(delays) == pytest.approx(FIRST * (max(draws) - min(draws)))


@pytest.mark.parametrize("code", [4400, 4429])
def test_who_sent_too_much_comes_back_later_even_the_first_time(code):
    assert least(code) == LATER
    assert most(code, "", 1) == LATER + FIRST


@pytest.mark.parametrize("reason", ["retry-after=", "retry-after=soon", "retry-after=-1", "retry after 5", ""])
def test_a_reason_that_tells_no_time_delays_nothing(reason):
    assert least(1012, reason) == 0


def test_a_server_cannot_send_a_client_away_for_ever():
    assert least(1012, "retry-after=" + "9" * 400) == LONGEST_TOLD


def test_a_refusal_over_http_tells_the_time_too():
    assert least(None, "HTTP 503 retry-after=5") == 5
