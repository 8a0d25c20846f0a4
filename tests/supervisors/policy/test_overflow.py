import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.policy.overflow import Verdict, admit
from supervisors.spec import Overflow
from tests import strategies


@given(strategies.overflows, st.integers(min_value=0, max_value=50), st.integers(min_value=1, max_value=50))
def test_whatever_has_room_is_accepted(overflow: Overflow, depth: int, capacity: int) -> None:
    assert (admit(overflow, depth, capacity) is Verdict.ACCEPT) == (depth < capacity)


@pytest.mark.parametrize(
    ("overflow", "verdict"),
    [
        ("wait", Verdict.WAIT),
        ("refuse", Verdict.REFUSE),
        ("drop_oldest", Verdict.EVICT_OLDEST),
        ("drop_newest", Verdict.DROP),
    ],
)
def test_a_full_mailbox_does_what_its_policy_says(overflow: Overflow, verdict: Verdict) -> None:
    assert admit(overflow, 3, 3) is verdict
