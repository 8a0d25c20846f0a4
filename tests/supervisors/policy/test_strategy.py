from hypothesis import given
from hypothesis import strategies as st

from supervisors.policy.strategy import restart_group
from supervisors.spec import Strategy
from tests import strategies

families = st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=8, unique=True)


@given(strategies.strategies, families, st.data())
def test_a_group_is_the_failed_child_and_whoever_must_not_outlive_it(
    strategy: Strategy, ids: list[str], data: st.DataObject
) -> None:
    failed = data.draw(st.sampled_from(ids))
    group = restart_group(strategy, ids, failed)
    place = ids.index(failed)
    expected = {"one_for_one": [failed], "one_for_all": ids, "rest_for_one": ids[place:]}
    assert list(group) == expected[strategy]


@given(strategies.strategies, families)
def test_a_group_keeps_the_start_order(strategy: Strategy, ids: list[str]) -> None:
    group = list(restart_group(strategy, ids, ids[0]))
    assert group == sorted(group, key=ids.index)
