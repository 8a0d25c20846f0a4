import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.ulid import ALPHABET, LENGTH, UlidSequence, decode, encode, lowest, time_ms

LAST_MS = 2**48 - 1


def test_the_first_ten_characters_are_the_time_as_in_the_specification():
    # https://github.com/ulid/spec gives 01ARZ3NDEKTSV4RRFFQ69G5FAV; its time part is 1469922850259.
    ulid = UlidSequence().next(1469922850259, lambda bits: 0)
    assert ulid == "01ARZ3NDEK0000000000000000"
    assert time_ms("01ARZ3NDEKTSV4RRFFQ69G5FAV") == 1469922850259


def test_the_other_sixteen_are_random():
    assert UlidSequence().next(0, lambda bits: 2**bits - 1) == "0000000000ZZZZZZZZZZZZZZZZ"


def test_the_same_millisecond_counts_on_from_the_last_id():
    ids = UlidSequence()
    assert ids.next(1, lambda bits: 41) == encode(1 << 80 | 41)
    assert ids.next(1, lambda bits: 7) == encode(1 << 80 | 42)


def test_an_overflow_of_the_random_part_is_carried_into_the_time():
    ids = UlidSequence()
    ids.next(1, lambda bits: 2**bits - 1)
    assert ids.next(1, lambda bits: 0) == lowest(2)


@given(st.lists(st.tuples(st.integers(0, LAST_MS - 1), st.integers(0, 2**80 - 1))))
def test_ids_ascend_as_text_whatever_the_clock_does(times):
    ids = UlidSequence()
    made = [ids.next(ms, lambda bits, r=random: r) for ms, random in times]
    assert made == sorted(set(made))
    # None claims to be older than it is, which is what finding a time among the ids rests on.
    assert all(time_ms(ulid) >= ms for ulid, (ms, _) in zip(made, times, strict=True))


@given(st.integers(0, 2**128 - 1))
def test_decoding_undoes_encoding(value):
    ulid = encode(value)
    assert len(ulid) == LENGTH
    assert set(ulid) <= set(ALPHABET)
    assert decode(ulid) == value


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "I" * 26, "01arz3ndektsv4rrffq69g5fav", "é" * 26]
)
def test_what_is_no_ulid_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="26 characters") as caught:
        decode(text)
    assert repr(text) in str(caught.value)


def test_resuming_continues_above_an_earlier_id_even_if_the_clock_is_behind():
    ids = UlidSequence()
    ids.resume(encode(500 << 80 | 3))
    assert ids.next(20, lambda bits: 9) == encode(500 << 80 | 4)


def test_resuming_from_a_lower_id_changes_nothing():
    ids = UlidSequence()
    ids.next(500, lambda bits: 3)
    ids.resume(lowest(20))
    assert ids.next(20, lambda bits: 9) == encode(500 << 80 | 4)
