import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.fields import BadField
from realtime.policy.pages import Cursor, can_replay, is_whole, next_cursor, offset_after

KNOWN = {"01A": 3, "01B": 4}


def start(after):
    return offset_after(after, epoch="e1", last_offset=7, offset_of=KNOWN.get)


@given(st.text(), st.integers(0, 2**63 - 1))
def test_reading_a_cursor_undoes_writing_it(epoch, offset):
    assert Cursor.parse(str(Cursor(epoch, offset))) == Cursor(epoch, offset)


@given(st.text())
def test_only_what_is_written_for_a_cursor_is_one(text):
    cursor = Cursor.parse(text)
    assert cursor is None or str(cursor) == text


@pytest.mark.parametrize("text", ["", "e1", "e1:", "e1:x", "e1:01", "e1:-1", "e1:1 ", "e1:²", "e1:" + "9" * 20])
def test_what_is_no_cursor(text):
    assert Cursor.parse(text) is None


def test_no_position_is_the_beginning():
    assert start(None) == 0


def test_a_cursor_and_an_event_id_name_the_same_kind_of_position():
    assert start("e1:3") == start("01A") == 3


@pytest.mark.parametrize("after", ["e1:8", "e2:3", "01C", "", "e1:x"])
def test_a_position_that_cannot_be_known_is_refused_by_name(after):
    """Of the future, of another store, of an event that is not there, or nonsense."""
    with pytest.raises(BadField, match=r"^after must be") as caught:
        start(after)
    assert caught.value.field == "after"
    assert repr(after) in str(caught.value)


@given(st.lists(st.integers(1, 100), max_size=20, unique=True).map(sorted), st.integers(1, 20))
def test_the_next_cursor_is_the_last_of_the_page_exactly_if_more_was_found(found, limit):
    following = next_cursor("e1", found, limit)
    assert following == (f"e1:{found[limit - 1]}" if len(found) > limit else None)


@pytest.mark.parametrize(
    ("asked", "upto", "limit", "possible"),
    [
        (Cursor("e1", 3), 7, 4, True),
        (Cursor("e1", 7), 7, 0, True),
        (Cursor("e1", 3), 7, 3, False),
        (Cursor("e2", 3), 7, 4, False),
        (Cursor("e1", 8), 7, 4, False),
        (Cursor("e1", 6), 8, 4, False),
    ],
)
def test_a_replay_needs_the_epoch_the_order_the_past_and_room(asked, upto, limit, possible):
    assert can_replay(asked, upto=upto, limit=limit, epoch="e1", last_offset=7) is possible


@pytest.mark.parametrize(
    ("found", "whole"), [([4, 5, 6], True), ([4, 6], False), ([5, 6], False), ([4, 5], False), ([], False)]
)
def test_a_story_is_whole_when_no_offset_is_missing(found, whole):
    assert is_whole(found, offset=3, upto=6) is whole


def test_the_empty_story_is_whole():
    assert is_whole([], offset=3, upto=3)
