"""Hypothesis strategies that several tests share."""

from hypothesis import strategies as st

from supervisors import Backoff, Exit
from supervisors.policy.intensity import RestartIntensity

restarts = st.sampled_from(["permanent", "transient", "temporary"])
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
auto_shutdowns = st.sampled_from(["never", "any_significant", "all_significant"])
overflows = st.sampled_from(["wait", "refuse", "drop_oldest", "drop_newest"])

exits = st.sampled_from(
    [Exit("normal"), Exit("shutdown"), Exit("killed"), Exit("crashed", RuntimeError("a crash"))],
)

seconds = st.floats(min_value=0.001, max_value=1000.0)
"""Durations as people write them."""

times = st.lists(st.floats(min_value=0.0, max_value=100.0), max_size=60).map(sorted)
"""Moments in order, many of them close together."""

budgets = st.builds(
    RestartIntensity,
    max_restarts=st.integers(min_value=0, max_value=6),
    max_seconds=st.floats(min_value=0.01, max_value=50.0),
)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    first = draw(st.floats(min_value=0.01, max_value=10.0))
    return Backoff(
        first=first,
        maximum=first * draw(st.floats(min_value=1.0, max_value=100.0)),
        healthy_uptime=draw(seconds),
        max_failures=draw(st.none() | st.integers(min_value=1, max_value=10)),
    )
