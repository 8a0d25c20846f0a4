"""How many connections are let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.transport.admission import Admission, AdmissionStatistics, TooManyConnections


def test_a_limit_in_all_names_itself() -> None:
    admission = Admission(2, 2)
    admission.admit("a")
    admission.admit("b")
    with pytest.raises(TooManyConnections, match="already 2 connections; try again later"):
        admission.admit("c")
    admission.release("a")
    admission.admit("c")
    assert admission.statistics() == AdmissionStatistics(
        open=2, addresses=2, accepted=3, refused=1, refused_of_address=0
    )


def test_a_limit_of_one_address_leaves_the_others() -> None:
    admission = Admission(10, 1)
    admission.admit("a")
    with pytest.raises(TooManyConnections, match="already 1 connections from a"):
        admission.admit("a")
    admission.admit("b")


def test_ids_are_unique() -> None:
    admission = Admission(10, 10)
    ids = [admission.admit("a")]
    admission.release("a")
    ids += [admission.admit("a"), admission.admit("b")]
    assert len(set(ids)) == 3


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))), st.integers(1, 5), st.integers(1, 5))
def test_never_more_than_either_limit_and_none_is_forgotten(
    steps: list[tuple[bool, str]], in_all: int, each: int
) -> None:
    admission = Admission(in_all, each)
    inside: list[str] = []
    for come, address in steps:
        if come:
            try:
                admission.admit(address)
            except TooManyConnections:
                assert len(inside) == in_all or inside.count(address) == each
            else:
                inside.append(address)
        elif address in inside:
            inside.remove(address)
            admission.release(address)
        assert len(inside) <= in_all
        assert all(inside.count(one) <= each for one in "abc")
        assert admission.statistics().open == len(inside)
        assert admission.statistics().addresses == len(set(inside))
