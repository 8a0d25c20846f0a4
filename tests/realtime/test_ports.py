import math
from datetime import datetime
from enum import StrEnum

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.fields import BadField, build, raise_first
from realtime.policy import checks
from realtime.ports import AppendFailed, EventQuery, NewEvent, StoredEvent

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
JSON = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


class Colour(StrEnum):
    RED = "red"


def nested(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def refused(cls, field, **values):
    with pytest.raises(BadField) as caught:
        cls(**values)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)
    return str(caught.value)


def test_an_event_needs_no_more_than_a_type():
    event = NewEvent("door_opened")
    assert attrs.asdict(event) == {
        "type": "door_opened",
        "data": {},
        "severity": "info",
        "source": None,
        "tags": (),
        "data_json": "{}",
    }


@pytest.mark.parametrize("type_", ["a", "Door.opened:2-b_c", "x" * 128])
def test_types_within_the_grammar(type_):
    assert NewEvent(type_).type == type_


@pytest.mark.parametrize("type_", ["", "x" * 129, "a b", "a/b", "é", "a\n", None, 5, b"a"])
def test_types_outside_the_grammar(type_):
    refused(NewEvent, "type", type=type_)


@pytest.mark.parametrize("severity", checks.SEVERITIES)
def test_severities(severity):
    assert NewEvent("t", severity=severity).severity == severity


@pytest.mark.parametrize("severity", ["", "INFO", "fatal", None, []])
def test_other_severities_are_refused_with_the_list_of_the_right_ones(severity):
    assert "debug, info, warning, error, critical" in refused(NewEvent, "severity", type="t", severity=severity)


@pytest.mark.parametrize("source", ["", "x" * 257, "a\nb", "a\x00", "\ud800", 5])
def test_sources_that_are_no_short_line(source):
    refused(NewEvent, "source", type="t", source=source)


def test_tags_may_come_as_a_list_and_become_a_tuple():
    assert NewEvent("t", tags=["a", "b c", "é"]).tags == ("a", "b c", "é")


@pytest.mark.parametrize("tags", ["abc", None, {"a"}, ["x"] * 33])
def test_tags_have_to_be_a_list_of_at_most_32(tags):
    refused(NewEvent, "tags", type="t", tags=tags)


@pytest.mark.parametrize("tag", ["", "x" * 65, "a\nb", 5, None])
def test_a_bad_tag_is_named_by_its_place(tag):
    refused(NewEvent, "tags[1]", type="t", tags=["a", tag])


def test_the_longest_values_fit():
    NewEvent("t" * 128, source="s" * 256, tags=["x" * 64] * 32, data=nested(64))


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON))
def test_any_json_object_is_data_and_reads_back_the_same(data):
    assert msgspec.json.decode(NewEvent("t", data=data).data_json) == data


@pytest.mark.parametrize("data", [None, [], "x", 5])
def test_data_has_to_be_an_object(data):
    assert "must be a JSON object" in refused(NewEvent, "data", type="t", data=data)


@pytest.mark.parametrize("value", [math.nan, math.inf, datetime(2026, 1, 1), b"x", {1}, Colour.RED, object()])
def test_a_value_that_json_lacks_is_named_by_its_path(value):
    assert "must be a JSON value" in refused(NewEvent, "data.a[1].b", type="t", data={"a": [0, {"b": value}]})


def test_keys_have_to_be_strings():
    assert "got 5" in refused(NewEvent, "data.a", type="t", data={"a": {5: 1}})


@pytest.mark.parametrize("data", [{"a": "\ud800"}, {"\udfff": 1}, {"a": 10**5000}])
def test_data_that_cannot_be_written(data):
    assert "cannot be written as JSON" in refused(NewEvent, "data", type="t", data=data)


def test_data_nested_too_deep():
    with pytest.raises(BadField, match="nested more than 64 levels"):
        NewEvent("t", data=nested(66))


def test_data_that_contains_itself():
    data = {}
    data["a"] = [data]
    with pytest.raises(BadField, match="nested more than 64 levels"):
        NewEvent("t", data=data)


def test_data_up_to_its_bound():
    room = checks.MAX_DATA_BYTES - len('{"a":""}')
    NewEvent("t", data={"a": "x" * room})
    assert "262144 bytes" in refused(NewEvent, "data", type="t", data={"a": "x" * (room + 1)})


def test_a_path_of_long_keys_does_not_make_a_long_error():
    with pytest.raises(BadField) as caught:
        NewEvent("t", data={"k" * 10_000: {"k" * 10_000: math.nan}})
    assert len(str(caught.value)) < 200


def test_changing_the_dict_afterwards_changes_nothing_that_is_stored():
    data = {"a": [1]}
    event = NewEvent("t", data=data)
    data["a"].append(2)
    assert event.data_json == '{"a":[1]}'


def test_an_event_is_built_of_decoded_json():
    body = {"type": "t", "data": {"a": 1}, "severity": "error", "source": "s", "tags": ["x"]}
    assert build(NewEvent, body, raise_first) == NewEvent("t", {"a": 1}, "error", "s", ("x",))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": "t", "colour": 1}, "colour"),
        ({"type": "t", "data_json": "{}"}, "data_json"),
        ({"type": "t", "tags": ["a", ""]}, "tags[1]"),
        ({"type": "t", "severity": "loud"}, "severity"),
        ({"type": "t", "data": {"a": {"b": math.nan}}}, "data.a.b"),
    ],
)
def test_a_bad_body_is_refused_by_field(body, field):
    with pytest.raises(BadField) as caught:
        build(NewEvent, body, raise_first)
    assert caught.value.field == field


def test_contract_4_the_stored_event_on_the_wire():
    event = StoredEvent("01J", 42, "t", "2026-01-01T00:00:00.000Z", "info", None, ("a",), {"b": 1})
    assert list(event.to_wire().items()) == [
        ("event_id", "01J"),
        ("type", "t"),
        ("timestamp", "2026-01-01T00:00:00.000Z"),
        ("severity", "info"),
        ("source", None),
        ("tags", ["a"]),
        ("data", {"b": 1}),
    ]


def test_a_query_asks_for_the_first_hundred_by_default():
    assert EventQuery() == EventQuery(
        after=None, limit=100, type=None, since=None, until=None, severity=None, tag=None, q=None
    )


@pytest.mark.parametrize("limit", [0, 1001, -1, True, 1.0, "5", None])
def test_limits_are_whole_numbers_from_1_to_1000(limit):
    refused(EventQuery, "limit", limit=limit)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("after", ""),
        ("after", "x" * 201),
        ("type", "a b"),
        ("since", "yesterday"),
        ("until", ""),
        ("since", 5),
        ("severity", "loud"),
        ("tag", ""),
        ("q", ""),
        ("q", "a\nb"),
        ("q", "x" * 201),
    ],
)
def test_a_query_names_its_bad_field(field, value):
    refused(EventQuery, field, **{field: value})


def test_a_query_is_read_from_the_parameters_of_a_url():
    params = {"after": "e:5", "limit": "7", "type": "t", "since": "2026-01-01", "severity": "info", "q": "x"}
    query = EventQuery.from_params(params)
    assert query == EventQuery(after="e:5", limit=7, type="t", since="2026-01-01", severity="info", q="x")
    assert (query.since_ms, query.until_ms) == (1767225600000, None)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "many"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "\u0665"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"page": "2"}, "page"),
        ({"since": "x"}, "since"),
        ({"severity": "loud"}, "severity"),
    ],
)
def test_bad_parameters_are_refused_by_name(params, field):
    with pytest.raises(BadField) as caught:
        EventQuery.from_params(params)
    assert caught.value.field == field


def test_a_failed_append_says_which_event_and_why():
    error = AppendFailed("01J")
    error.__cause__ = OSError("no space left")
    assert str(error) == "event 01J could not be stored: no space left"
