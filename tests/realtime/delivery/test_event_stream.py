"""Contract section 3, SSE: ``id: <epoch>:<offset>``, ``event: <type>``, ``data: <the whole message>``."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from realtime import messages
from realtime.delivery.event_stream import EventStream, comment, retry
from realtime.policy.pages import Cursor

from ..event_source import EventSource, SentEvent


def sent(*texts, since=None):
    stream, source = EventStream(since), EventSource()
    for text in texts:
        source.feed(stream.event(text))
    return source


def test_each_line_is_as_the_contract_has_it():
    stream = EventStream()
    text = messages.subscribed("events", "k3v9", 41)
    assert stream.event(text) == b"id: k3v9:41\nevent: subscribed\ndata: " + text + b"\n\n"
    text = messages.published("event", "events", 42, {"a": 1})
    assert stream.event(text) == b"id: k3v9:42\nevent: event\ndata: " + text + b"\n\n"


def test_until_what_was_missed_has_come_the_id_stays_where_the_client_was():
    missed = messages.published("event", "events", 40, None)
    source = sent(messages.subscribed("events", "e", 41, recovered=True), missed, since=Cursor("e", 39))
    assert [event.last_event_id for event in source.events] == ["e:39", "e:40"]


def test_a_new_epoch_is_in_the_ids_from_its_confirmation_on():
    published = messages.published("event", "t", 1, None)
    source = sent(messages.subscribed("t", "a", 0), published, messages.subscribed("t", "b", 0), published)
    assert [event.last_event_id for event in source.events] == ["a:0", "a:1", "b:0", "b:1"]


def test_a_gap_moves_the_id_and_a_message_without_an_offset_does_not():
    texts = messages.subscribed("t", "e", 0), messages.gap("t", 5, 5), messages.emitted("hello", None)
    assert [event.last_event_id for event in sent(*texts).events] == ["e:0", "e:5", "e:5"]


def test_heartbeats_are_comments():
    source = sent(messages.ping(), messages.heartbeat())
    assert source.events == []
    assert [text.partition(" ")[0] for text in source.comments] == ["ping", "heartbeat"]


def test_comments_and_the_time_to_come_back():
    assert comment("x") == b": x\n\n"
    assert retry(2.5) == b"retry: 2500\n\n"


def test_json_of_others_may_have_lines():
    data = msgspec.Raw(b'{\n"a":\r\n1,\r"b":2}')
    (event,) = sent(messages.published("m", "t", 1, data)).events
    assert event.json()["data"] == {"a": 1, "b": 2}


def test_a_type_that_fits_no_line_is_in_the_data_alone():
    texts = [messages.published(type, "t", 1, None) for type in ("a\nid: x", "a\rb", "a\0b", "")]
    source = sent(messages.subscribed("t", "e", 0), *texts)
    assert [(event.type, event.last_event_id) for event in source.events[1:]] == [("message", "e:1")] * 4


texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.integers(-5, 5) | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
)


@given(st.lists(st.tuples(texts, st.integers(1, 10), values), max_size=5), st.lists(st.integers(1, 40)))
def test_what_arrives_is_what_was_published_however_it_is_cut(published, cuts):
    stream, source = EventStream(), EventSource()
    told = [messages.published(*(type, "t", offset, data)) for type, offset, data in published]
    whole = stream.event(messages.subscribed("t", "e", 0)) + b"".join(map(stream.event, told))
    for length in [*cuts, len(whole)]:
        source.feed(whole[:length])
        whole = whole[length:]
    wanted = [(json.loads(text), f"e:{json.loads(text)['offset']}") for text in told]
    assert [(event.json(), event.last_event_id) for event in source.events[1:]] == wanted
    assert all(isinstance(event, SentEvent) for event in source.events)
