import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import messages
from realtime.policy.pages import Cursor
from realtime.policy.places import Heard, Places, resuming


def heard(*texts):
    places = Places()
    return places, [places.hear(msgspec.json.decode(text, type=Heard)) for text in texts]


def confirmed(offset, epoch="e", **options):
    return messages.subscribed("t", epoch, offset, **options)


def published(offset):
    return messages.published("m", "t", offset, None)


def test_a_confirmation_is_a_place_and_each_message_moves_it():
    places, lost = heard(confirmed(3), published(4), published(5))
    assert (places.of("t"), places.only, lost) == (Cursor("e", 5), Cursor("e", 5), [None] * 3)
    assert places.of("elsewhere") is None


def test_a_gap_moves_it_too():
    assert heard(confirmed(3), messages.gap("t", 9, 6))[0].of("t") == Cursor("e", 9)


def test_until_what_was_missed_has_come_the_place_is_the_old_one():
    places, lost = heard(confirmed(3), confirmed(8, recovered=True))
    assert (places.of("t"), lost[1]) == (Cursor("e", 3), None)
    places, _ = heard(confirmed(3), confirmed(8, recovered=True), published(4))
    assert places.of("t") == Cursor("e", 4)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (confirmed(3), confirmed(8), "t: 5 messages were missed and cannot be sent again"),
        (confirmed(3), confirmed(4), "t: 1 message was missed and cannot be sent again"),
        (confirmed(3), confirmed(3), None),
        (confirmed(3), confirmed(0, "f"), "t: its numbers began anew, so what was missed meanwhile cannot be told"),
        (confirmed(3), confirmed(8, conflate=True), None),
    ],
)
def test_what_cannot_be_sent_again_is_told(before, after, said):
    places, lost = heard(before, after)
    assert lost == [None, said]
    now = msgspec.json.decode(after, type=Heard)
    assert places.of("t") == Cursor(now.epoch, now.offset)


def test_a_topic_that_was_left_is_no_place():
    assert heard(confirmed(3), messages.unsubscribed("t", "requested", ""))[0].of("t") is None


def test_what_has_no_place_moves_nothing():
    places, lost = heard(
        messages.ping(), messages.emitted("hello", None), published(3), messages.error("x", "y", topic="t")
    )
    assert (places.only, lost) == (None, [None] * 4)


def test_of_several_topics_none_is_the_only_one():
    places, _ = heard(confirmed(3), messages.subscribed("u", "e", 1))
    assert places.only is None


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("ws://h:1/ws/events", "ws://h:1/ws/events?epoch=e.1&offset=7"),
        ("ws://h:1/ws/events?a=&b=2", "ws://h:1/ws/events?a=&b=2&epoch=e.1&offset=7"),
        ("ws://h:1/ws/events?epoch=x&offset=1&b=2", "ws://h:1/ws/events?b=2&epoch=e.1&offset=7"),
    ],
)
def test_an_address_asks_to_resume(url, asked):
    assert resuming(url, Cursor("e.1", 7)) == asked
    assert resuming(url, None) == url


@given(st.lists(st.integers(0, 50), max_size=20))
def test_the_place_is_that_of_the_last_message(offsets):
    places, _ = heard(confirmed(0), *map(published, offsets))
    assert places.of("t") == Cursor("e", offsets[-1] if offsets else 0)
