import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.backplane.envelope import pack, unpack
from realtime.messages import published

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 2**63 - 1), json_values)
def test_what_was_packed_comes_out_again(type, offset, data):
    unpacked_type, unpacked_offset, raw = unpack(pack(type, offset, data))
    assert (unpacked_type, unpacked_offset, msgspec.json.decode(raw)) == (type, offset, data)


def test_the_data_is_not_encoded_again_on_its_way_to_the_wire():
    type_, offset, raw = unpack(pack("event", 7, {"b": 1, "a": [1.0]}))
    assert published(type_, "events", offset, raw) == (
        b'{"type":"event","topic":"events","offset":7,"data":{"b":1,"a":[1.0]}}'
    )


def test_the_data_does_not_keep_the_frame_it_came_in():
    frame = pack("event", 7, {"a": 1})
    _, _, raw = unpack(frame)
    assert bytes(raw) == b'{"a":1}'
    assert memoryview(raw).obj is not frame


@pytest.mark.parametrize("frame", [b"", b"{}", b"[]", b'["event","7",{}]', b'["event",7]', b'["event",7,{},1]'])
def test_what_was_not_packed_is_refused(frame):
    with pytest.raises(msgspec.DecodeError):
        unpack(frame)
