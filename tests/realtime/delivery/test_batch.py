"""Messages joined once in each form, and what is left of them when a socket takes only a part."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from realtime.delivery import frames
from realtime.delivery.batch import Batch
from realtime.delivery.message import Message

payloads = st.lists(st.binary(max_size=300) | st.just(b"x" * 1000), max_size=5)


def batch_of(payloads):
    return Batch([Message(frames.text(payload), "t", number) for number, payload in enumerate(payloads)])


def forms(messages, *, deflated):
    return [message.frame.deflated if deflated else message.frame.data for message in messages]


@given(payloads)
def test_both_forms_are_all_frames_in_order(payloads):
    batch = batch_of(payloads)
    assert batch.data == b"".join(forms(batch, deflated=False))
    assert batch.deflated == b"".join(forms(batch, deflated=True))
    assert batch.size == len(batch.data)
    assert batch.largest == max(map(len, forms(batch, deflated=False)), default=0)


@given(payloads, st.booleans(), st.data())
def test_what_is_left_goes_on_where_it_was_cut_off(payloads, deflated, data):
    batch = batch_of(payloads)
    whole = batch.deflated if deflated else batch.data
    taken = data.draw(st.integers(0, len(whole)))
    rest, messages = batch.left(taken, deflated=deflated)
    following = [b"" if rest is None else rest.data, *forms(messages, deflated=deflated)]
    assert whole[:taken] + b"".join(following) == whole
    assert all(earlier.offset < later.offset for earlier, later in pairwise(messages))
    # Between two frames there is nothing that has to come first.
    starts = [0]
    for form in forms(batch, deflated=deflated):
        starts.append(starts[-1] + len(form))
    assert (rest is None) == (taken in starts)


def test_a_lone_frame_is_not_copied():
    (message,) = batch = batch_of([b"x" * 1000])
    assert batch.data is message.frame.data
    assert batch.deflated is message.frame.deflated


def test_each_form_is_made_once():
    batch = batch_of([b"x" * 1000] * 2)
    assert batch.data is batch.data
    assert batch.deflated is batch.deflated
