import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.lag import Room
from realtime.policy.pages import Cursor
from realtime.policy.resume import CONFIRMATION_BYTES, MOST, replay

AMPLE = Room(10_000, 100_000_000)


def judge(asked, *, epoch="e", offset=10, kept=(1,) * 10, room=AMPLE):
    return replay(asked, epoch=epoch, offset=offset, kept=kept, room=room)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (None, None),
        (Cursor("e", 10), 0),
        (Cursor("e", 9), 1),
        (Cursor("e", 0), 10),
        (Cursor("e", 11), None),
        (Cursor("e", -1), None),
        (Cursor("other", 9), None),
        (Cursor("other", 10), None),
    ],
)
def test_a_position_of_this_epoch_is_followed_by_everything_after_it(asked, sent):
    assert judge(asked) == sent


def test_what_is_no_longer_kept_cannot_be_told():
    assert judge(Cursor("e", 7), kept=(1, 1, 1)) == 3
    assert judge(Cursor("e", 6), kept=(1, 1, 1)) is None


def test_more_than_the_most_is_not_begun_even_if_it_is_kept():
    kept = (1,) * (MOST + 1)
    assert judge(Cursor("e", 1), offset=MOST + 1, kept=kept) == MOST
    assert judge(Cursor("e", 0), offset=MOST + 1, kept=kept) is None


def test_what_does_not_fit_into_the_outbox_is_not_begun():
    assert judge(Cursor("e", 7), room=Room(3, AMPLE.bytes)) == 3
    assert judge(Cursor("e", 7), room=Room(2, AMPLE.bytes)) is None
    assert judge(Cursor("e", 8), kept=(10, 20, 30), room=Room(9, CONFIRMATION_BYTES + 50)) == 2
    assert judge(Cursor("e", 8), kept=(10, 20, 30), room=Room(9, CONFIRMATION_BYTES + 49)) is None


@given(
    asked=st.none() | st.builds(Cursor, st.sampled_from(["e", "f"]), st.integers(-2, 600)),
    offset=st.integers(0, 600),
    sizes=st.integers(1, 50),
    count=st.integers(0, 600),
    room=st.builds(Room, st.integers(0, 700), st.integers(0, 40_000)),
)
def test_it_is_all_or_nothing(asked, offset, sizes, count, room):
    kept = [sizes] * min(count, offset)
    sent = replay(asked, epoch="e", offset=offset, kept=kept, room=room)
    if sent is not None:
        # Just what lies between, and all of it is there and has room.
        assert asked is not None
        assert (asked.epoch, asked.offset + sent) == ("e", offset)
        assert 0 <= sent <= min(len(kept), MOST, room.messages)
        assert sent * sizes <= room.bytes
    elif asked is not None and asked.epoch == "e" and 0 <= asked.offset <= offset:
        # It was refused for one of the reasons that there are.
        missed = offset - asked.offset
        too_much = missed > room.messages or missed * sizes + CONFIRMATION_BYTES > room.bytes
        assert missed > len(kept) or missed > MOST or too_much
