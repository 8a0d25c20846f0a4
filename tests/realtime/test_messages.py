"""The contract's sections 2 and 3: names, the server's messages, and what a client may send."""

import json
import re
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import messages
from realtime.messages import (
    CLIENT_TYPES,
    RESERVED_TYPES,
    Ack,
    BadMessage,
    Call,
    ClientMessage,
    CloseCode,
    Ping,
    Pong,
    Publish,
    Subscribe,
    Unsubscribe,
    is_actor_id,
    is_session_id,
    is_task_id,
    is_topic,
    now_iso,
    parse_client_message,
)

WIRE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

# Names -----------------------------------------------------------------------------------------------------

id_characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
ids = st.text(id_characters, min_size=1, max_size=64)
parts = st.text(id_characters + ":", min_size=1, max_size=64)
topics = st.lists(parts, min_size=1, max_size=5).map("/".join).filter(lambda topic: len(topic) <= 128)


@given(topics)
def test_parts_joined_by_slashes_are_a_topic(topic: str) -> None:
    assert is_topic(topic)


@given(topics, st.characters(exclude_characters=id_characters + ":/"), st.data())
def test_a_foreign_character_anywhere_is_no_topic(topic: str, foreign: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(topic)))
    assert not is_topic(topic[:at] + foreign + topic[at:])


@pytest.mark.parametrize(
    "name", ["", "/", "a/", "/a", "a//b", "a b", "a\n", "ä", "x" * 65, "/".join(["x" * 42] * 3) + "x", "a*", "*"]
)
def test_what_is_no_topic(name: str) -> None:
    assert not is_topic(name)


@pytest.mark.parametrize("name", ["clock", "tasks/t1", "session/a.b-c_d", "a:b", "x" * 64, "/".join(["x" * 42] * 3)])
def test_what_is_a_topic(name: str) -> None:
    assert is_topic(name)


@given(ids)
def test_ids_of_tasks_and_actors(id: str) -> None:
    assert is_task_id(id)
    assert is_actor_id(id)
    assert is_topic(f"tasks/{id}")


@pytest.mark.parametrize("id", ["", "a:b", "a/b", "a b", "a\n", "x" * 65, "é", "\u0661"])
def test_what_is_no_id(id: str) -> None:
    assert not is_task_id(id)
    assert not is_actor_id(id)
    assert not is_session_id(id)


def test_the_fixed_streams_are_no_session_ids() -> None:
    assert [is_session_id(id) for id in ("events", "tasks", "supervisors", "event", "s-1")] == [
        *(False, False, False),
        *(True, True),
    ]


def test_close_codes_are_those_of_the_contract() -> None:
    assert sorted(CloseCode) == [
        *(1000, 1002, 1007, 1009, 1011, 1012),
        *(4000, 4001, 4400, 4401, 4403, 4404, 4429),
    ]


# Encoding --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (0.0009, "1970-01-01T00:00:00.000Z"),
        (1767225600.25, "2026-01-01T00:00:00.250Z"),
    ],
)
def test_times_are_utc_with_milliseconds(timestamp: float, text: str) -> None:
    assert now_iso(timestamp) == text


def test_now_is_now() -> None:
    before = datetime.now(UTC).timestamp()
    told = datetime.fromisoformat(now_iso()).timestamp()
    assert before - 0.001 <= told <= datetime.now(UTC).timestamp()


@attrs.frozen
class Reading:
    load: float
    at: datetime


def test_attrs_classes_datetimes_and_mappings_are_encoded() -> None:
    value = {"reading": Reading(0.5, datetime(2026, 1, 1, tzinfo=UTC)), "view": MappingProxyType({"a": (1, None)})}
    assert json.loads(messages.encode(value)) == {
        "reading": {"load": 0.5, "at": "2026-01-01T00:00:00Z"},
        "view": {"a": [1, None]},
    }


def test_what_has_no_json_form_is_an_error_that_names_its_type() -> None:
    with pytest.raises(TypeError, match="Terminal has no JSON form"):
        messages.encode({"a": type("Terminal", (), {})()})


# From the server -------------------------------------------------------------------------------------------


def test_a_published_message_has_its_keys_in_order() -> None:
    expected = b'{"type":"time_update","topic":"clock","offset":7,"data":{"date":"2026"}}'
    assert messages.published("time_update", "clock", 7, {"date": "2026"}) == expected
    assert messages.published("time_update", "clock", 7, msgspec.Raw(b'{"date":"2026"}')) == expected


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            messages.subscribed("events", "k3v9", 41),
            '{"type":"subscribed","topic":"events","epoch":"k3v9","offset":41,"recovered":false}',
        ),
        (
            messages.subscribed("clock", "k3v9", 41, recovered=True, conflate=True),
            '{"type":"subscribed","topic":"clock","epoch":"k3v9","offset":41,"recovered":true,"conflate":true}',
        ),
        (
            messages.unsubscribed("clock", "requested", "as asked"),
            '{"type":"unsubscribed","topic":"clock","code":"requested","message":"as asked"}',
        ),
        (messages.pong("t0"), '{"type":"pong","timestamp":"t0"}'),
        (messages.pong(""), '{"type":"pong","timestamp":""}'),
        (messages.gap("events", 54, 12), '{"type":"gap","topic":"events","offset":54,"missed":12}'),
        (messages.result("c1", {}), '{"type":"result","id":"c1","data":{}}'),
        (messages.error("bad_message", "no"), '{"type":"error","code":"bad_message","message":"no"}'),
        (
            messages.error("unknown_topic", "no", topic="x", id="c1"),
            '{"type":"error","code":"unknown_topic","message":"no","topic":"x","id":"c1"}',
        ),
    ],
)
def test_a_message_of_the_server_is_as_in_the_contract(message: bytes, text: str) -> None:
    assert message.decode() == text


@pytest.mark.parametrize(
    ("message", "type"),
    [(messages.ping(), "ping"), (messages.heartbeat(), "heartbeat"), (messages.pong(), "pong")],
)
def test_a_sign_of_life_carries_our_time(message: bytes, type: str) -> None:
    body = json.loads(message)
    assert list(body) == ["type", "timestamp"]
    assert body["type"] == type
    assert WIRE_TIME.fullmatch(body["timestamp"])


def test_an_emitted_event_carries_an_id_where_it_is_to_be_acknowledged() -> None:
    plain = json.loads(messages.emitted("door", {"open": True}))
    asked = json.loads(messages.emitted("door", None, id="m1"))
    assert WIRE_TIME.fullmatch(plain.pop("timestamp"))
    assert plain == {"type": "door", "data": {"open": True}}
    assert (list(asked), asked["id"]) == (["type", "data", "timestamp", "id"], "m1")


@pytest.mark.parametrize("type", sorted(RESERVED_TYPES))
def test_the_protocols_own_types_cannot_be_emitted(type: str) -> None:
    with pytest.raises(ValueError, match=f"event '{type}' is reserved"):
        messages.emitted(type, {})


def test_every_type_of_the_contract_is_reserved() -> None:
    own = [
        *(messages.subscribed("a", "e", 0), messages.unsubscribed("a", "c", "m"), messages.gap("a", 1, 1)),
        *(messages.ping(), messages.heartbeat(), messages.pong(), messages.result("i", 1), messages.error("c", "m")),
    ]
    others = "event time_update snapshot queue_update progress failed completed cancelled interrupted supervisor_event"
    expected = {json.loads(message)["type"] for message in own} | {*others.split(), "presence"} | set(CLIENT_TYPES)
    assert expected == RESERVED_TYPES


# From the client -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type":"ping"}', Ping()),
        ('{"type":"ping","timestamp":"2026-01-01T00:00:00.000Z"}', Ping("2026-01-01T00:00:00.000Z")),
        ('{"type":"pong","timestamp":null}', Pong()),
        ('{"type":"subscribe","topic":"tasks/t1"}', Subscribe("tasks/t1")),
        ('{"offset":41,"epoch":"k3v9","topic":"events","type":"subscribe"}', Subscribe("events", "k3v9", 41)),
        ('{"type":"unsubscribe","topic":"clock"}', Unsubscribe("clock")),
        ('{"type":"publish","topic":"room","data":[1,{"a":null}]}', Publish("room", [1, {"a": None}])),
        ('{"type":"publish","topic":"room","data":null,"id":"p1"}', Publish("room", None, "p1")),
        ('{"type":"call","id":"c1","method":"add"}', Call("c1", "add")),
        ('{"type":"call","id":"c1","method":"add","params":{"a":1}}', Call("c1", "add", {"a": 1})),
        ('{"type":"ack","id":"m1"}', Ack("m1")),
    ],
)
def test_a_message_of_a_client_is_understood(text: str, message: ClientMessage) -> None:
    assert parse_client_message(text) == message


KNOWN = "ping, pong, subscribe, unsubscribe, publish, call, ack"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"type":"ping"}', "a binary message is not understood; send a JSON object as text"),
        ("", "cannot be read as JSON: input data was truncated"),
        ("{'type':'ping'}", "cannot be read as JSON: object keys must be strings (byte 1)"),
        ('{"type":"publish","topic":"a","data":NaN}', "cannot be read as JSON: invalid character (byte 37)"),
        ('"\ud800"', "not UTF-8: surrogates not allowed"),
        ("[]", "must be a JSON object, got an array"),
        ("[" * 100_000, "nested more than 64 levels deep"),
        ('{"type":"publish","topic":"a","data":' + "[" * 64 + "]" * 64 + "}", "nested more than 64 levels deep"),
        ("{}", f"type is missing; it is one of {KNOWN}"),
        ('{"type":{}}', f"type must be a string, one of {KNOWN}; got {{}}"),
        ('{"type":"subscibe"}', f"type 'subscibe' is not known; the nearest is subscribe; all are {KNOWN}"),
        ('{"type":"subscribe"}', "subscribe: topic is missing"),
        ('{"type":"subscribe","topic":1}', "subscribe: topic: expected `str`, got `int`"),
        (
            '{"type":"subscribe","topic":"a b"}',
            f"subscribe: topic must be {messages.TOPIC_GRAMMAR}, got 'a b'",
        ),
        (
            '{"type":"subscribe","topic":"a","offset":-1}',
            "subscribe: offset must be from 0 to 2**63 - 1, got -1",
        ),
        (
            '{"type":"subscribe","topic":"a","offset":9223372036854775808}',
            "subscribe: offset must be from 0 to 2**63 - 1, got 9223372036854775808",
        ),
        (
            '{"type":"subscribe","topic":"a","offset":1.5}',
            "subscribe: offset: expected `int | null`, got `float`",
        ),
        ('{"type":"unsubscribe","topics":"a"}', "unsubscribe: topics is not known; the nearest is topic"),
        ('{"type":"publish","topic":"a"}', "publish: data is missing"),
        ('{"type":"call","id":1,"method":"m"}', "call: id: expected `str`, got `int`"),
        ('{"type":"call","id":"1","method":"m","params":[]}', "call: params: expected `object`, got `array`"),
        ('{"type":"ack"}', "ack: id is missing"),
    ],
)
def test_malformed_input_is_told_what_was_wrong_and_what_was_wanted(text: str | bytes, problem: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_client_message(text)
    assert str(caught.value) == problem


def test_an_integer_of_any_length_is_read_or_refused() -> None:
    for digits in (20, 400, 4300, 4301, 20_000):
        for text in ('{"type":"publish","topic":"a","data":%s}', '{"type":"subscribe","topic":"a","offset":%s}'):
            outcome = parsed(text % ("9" * digits))
            assert isinstance(outcome, Publish | BadMessage)
            if isinstance(outcome, Publish):
                messages.published("a_update", "a", 1, outcome.data)


def test_a_message_of_unknown_keys_costs_one_comparison_and_a_short_answer() -> None:
    text = json.dumps({"type": "ping", **{"x" * 500 + str(n): n for n in range(100)}})
    with pytest.raises(BadMessage) as caught:
        parse_client_message(text)
    assert len(str(caught.value)) < 200


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
field_names = st.sampled_from(["topic", "epoch", "offset", "data", "id", "method", "params", "timestamp"])
near_misses = st.builds(
    lambda type, fields: {"type": type, **fields},
    st.sampled_from(sorted(CLIENT_TYPES)) | json_values,
    st.dictionaries(field_names | st.text(), json_values | topics, max_size=4),
)


def parsed(text: str | bytes) -> ClientMessage | BadMessage:
    try:
        return parse_client_message(text)
    except BadMessage as problem:
        return problem


@given(st.text(st.characters()) | st.binary())
def test_any_text_or_bytes_are_a_message_or_a_bad_one(text: str | bytes) -> None:
    assert isinstance(parsed(text), ClientMessage | BadMessage)


@given(near_misses | json_values)
def test_any_json_is_a_message_that_can_go_on_or_a_bad_one(value: object) -> None:
    outcome = parsed(json.dumps(value))
    assert isinstance(outcome, ClientMessage | BadMessage)
    assert json.loads(messages.encode(str(outcome) if isinstance(outcome, BadMessage) else outcome)) is not None


@given(topics, st.none() | st.text(), st.none() | st.integers(0, 2**63 - 1))
def test_a_subscription_survives_its_way_over_the_wire(topic: str, epoch: str | None, offset: int | None) -> None:
    sent = {"type": "subscribe", "topic": topic, "epoch": epoch, "offset": offset}
    assert parse_client_message(json.dumps(sent)) == Subscribe(topic, epoch, offset)
