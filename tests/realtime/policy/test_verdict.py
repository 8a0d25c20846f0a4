import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.verdict import health_verdict

phases = st.sampled_from(["starting", "serving", "draining"])
troubles = st.dictionaries(st.text(), st.text(), max_size=3)


def verdict(phase="serving", root_failing=False, troubled=None):
    return health_verdict(phase=phase, root_failing=root_failing, troubled=troubled or {})


def test_all_is_well():
    found = verdict()
    assert (found.status, found.live, found.ready, found.reasons) == ("ok", True, True, [])


def test_trouble_degrades_and_is_named_with_its_reason():
    found = verdict(troubled={"broadcasters/clock": "failed a moment ago", "hub": ""})
    assert (found.status, found.live, found.ready) == ("degraded", True, True)
    assert found.reasons == ["broadcasters/clock: failed a moment ago", "hub"]


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_who_starts_or_drains_lives_but_is_not_ready(phase):
    found = verdict(phase)
    assert (found.status, found.live, found.ready) == ("ok", True, False)
    assert found.reasons == [f"the server is {phase}"]


def test_a_failing_root_fails_everything():
    found = verdict(root_failing=True, troubled={"hub": "given up"})
    assert (found.status, found.live, found.ready) == ("failing", False, False)
    assert found.reasons == ["hub: given up", "the root supervisor is failing"]


@given(phases, st.booleans(), troubles)
def test_only_the_root_is_a_reason_to_end_the_process(phase, root_failing, troubled):
    found = verdict(phase, root_failing, troubled)
    assert found.live == (not root_failing)
    assert (found.status == "failing") == root_failing


@given(phases, st.booleans(), troubles)
def test_whatever_is_not_ok_says_why(phase, root_failing, troubled):
    found = verdict(phase, root_failing, troubled)
    assert found.reasons or (found.status == "ok" and found.ready)
    assert found.ready <= (found.live and phase == "serving")
