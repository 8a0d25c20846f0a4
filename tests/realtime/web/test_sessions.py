"""Sessions: emitting to them over HTTP, who is in a topic, and what their clients may say."""

import json

import pytest
import trio

from realtime.actors import emitter
from realtime.actors.methods import method
from realtime.policy.lag import Overflow
from realtime.sections import TopicRule

from ..in_process import error_of, make_settings, receive, receive_until, running

TOPICS = {
    "room/*": TopicRule(publish="anyone", presence=True),
    "state/*": TopicRule(publish="anyone", overflow=Overflow.CONFLATE),
    "patient/*": TopicRule(publish="anyone", overflow=Overflow.WAIT),
    "stage": TopicRule(publish="actors"),
    "session/*": TopicRule(publish="anyone"),
}


@pytest.fixture
async def system():
    async with running(make_settings(topics=TOPICS)) as found:
        yield found


async def say(socket, **message):
    await socket.send(json.dumps(message))


async def subscribed(socket, topic):
    await say(socket, type="subscribe", topic=topic)
    while (await receive_until(socket, "subscribed"))["topic"] != topic:
        pass


async def emit(system, **body):
    return await system.client.post("/api/emit", json=body)


# --- emitting over HTTP --------------------------------------------------------------------------------------------


async def test_what_is_posted_reaches_the_session(system):
    """Contract 4: ``POST /api/emit`` gives 202 with the numbers of sessions and connections."""
    async with (
        system.websocket("/ws/s1") as one,
        system.websocket("/ws/s1") as two,
        system.websocket("/ws/s2") as other,
    ):
        for socket in (one, two, other):
            await receive(socket, 2)
        answer = await emit(system, event="greeting", data={"text": "hello"}, to={"session": "s1"})
        assert (answer.status_code, await answer.get_json()) == (202, {"sessions": 1, "connections": 2})
        assert (await (await emit(system, event="all", data=None)).get_json()) == {"sessions": 2, "connections": 3}
        greeting, everyone = await receive(one, 2)
        assert (greeting["type"], greeting["data"], everyone["type"]) == ("greeting", {"text": "hello"}, "all")
        assert "topic" not in greeting
        assert [message["type"] for message in await receive(other, 1)] == ["all"]


async def test_a_topic_s_subscribers_are_reached(system):
    async with system.websocket("/ws/s1") as inside, system.websocket("/ws/s2") as outside:
        await receive(outside, 2)
        await subscribed(inside, "room/1")
        answer = await emit(system, event="note", data=1, to={"topic": "room/1"})
        assert await answer.get_json() == {"sessions": 1, "connections": 1}
        assert (await receive_until(inside, "note"))["data"] == 1


async def test_nobody_there_is_no_error(system):
    """Contract 4: 0 is no error."""
    for to in ({"session": "nobody"}, {"topic": "no/such/topic"}):
        answer = await emit(system, event="x", data=1, to=to)
        assert (answer.status_code, await answer.get_json()) == (202, {"sessions": 0, "connections": 0})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": "event", "data": 1}, "event"),
        ({"event": "presence", "data": 1}, "event"),
        ({"event": "two words", "data": 1}, "event"),
        ({"event": 1, "data": 1}, "event"),
        ({"data": 1}, "event"),
        ({"event": "x"}, "data"),
        ({"event": "x", "data": 1, "to": {}}, "to"),
        ({"event": "x", "data": 1, "to": {"session": "a", "topic": "b"}}, "to"),
        ({"event": "x", "data": 1, "to": {"room": "a"}}, "to"),
        ({"event": "x", "data": 1, "to": {"session": "a b"}}, "to.session"),
        ({"event": "x", "data": 1, "to": {"session": "events"}}, "to.session"),
        ({"event": "x", "data": 1, "to": {"topic": "a//b"}}, "to.topic"),
        ({"event": "x", "data": 1, "to": "a"}, "to"),
        ({"event": "x", "data": 1, "ack": "all"}, "ack"),
        ({"event": "x", "data": 1, "within": 31}, "within"),
        ({"event": "x", "data": 1, "within": 0}, "within"),
        ({"event": "x", "data": 1, "too": 1}, "too"),
    ],
)
async def test_what_does_not_fit_is_named(system, body, field):
    error = await error_of(await emit(system, **body), 400, "bad_request")
    assert error["details"] == {"field": field}


async def test_acknowledgements_are_counted_when_they_are_asked_for(system, nursery):
    """Contract 3: an ``id`` where an acknowledgement is asked; the client answers ``ack``."""
    async with system.websocket("/ws/s1") as socket:
        await receive(socket, 2)

        async def acknowledge():
            message = await receive_until(socket, "x")
            await say(socket, type="ack", id=message["id"])

        nursery.start_soon(acknowledge)
        answer = await emit(system, event="x", data=1, ack=True)
        assert await answer.get_json() == {"sessions": 1, "connections": 1, "acknowledged": 1}
        silent = await emit(system, event="y", data=1, ack="first", within=0.01)
        assert (await silent.get_json())["acknowledged"] == 0


async def test_a_full_inbox_is_503_and_says_when_to_come_back(system, monkeypatch):
    monkeypatch.setattr(emitter, "MAX_WAITING", 0)
    answer = await emit(system, event="x", data=1)
    assert "try again in a moment" in (await error_of(answer, 503, "unavailable"))["message"]
    assert answer.headers["Retry-After"] == "1"


async def test_an_emitter_that_does_not_take_it_up_is_503(system, autojump_clock, monkeypatch):
    monkeypatch.setattr(system.system.backend.emit, "_next", lambda: None)
    answer = await emit(system, event="x", data=1)
    assert "could not be handed over" in (await error_of(answer, 503, "unavailable"))["message"]


# --- presence ------------------------------------------------------------------------------------------------------


async def test_who_is_in_a_topic_can_be_asked(system):
    """Contract 4: ``GET /api/presence/<topic>``."""
    assert await system.get("/api/presence/room/1") == {"topic": "room/1", "members": []}
    async with (
        system.websocket("/ws/s2") as one,
        system.websocket("/ws/s1") as two,
        system.websocket("/ws/s2") as three,
    ):
        for socket in (one, two, three):
            await subscribed(socket, "room/1")
        assert await system.get("/api/presence/room/1") == {
            "topic": "room/1",
            "members": [{"session": "s1", "connections": 1}, {"session": "s2", "connections": 2}],
        }


async def test_joins_and_leaves_are_told(system):
    """Contract 3: ``presence``."""
    async with system.websocket("/ws/s1") as one:
        await subscribed(one, "room/1")
        assert (await receive_until(one, "presence"))["data"] == {"joined": [], "left": []}
        assert (await receive_until(one, "presence"))["data"] == {"joined": [{"session": "s1"}], "left": []}
        async with system.websocket("/ws/s2") as two:
            await subscribed(two, "room/1")
            assert (await receive_until(one, "presence"))["data"]["joined"] == [{"session": "s2"}]
            assert (await receive_until(two, "presence"))["data"]["joined"] == [{"session": "s1"}]
        assert (await receive_until(one, "presence"))["data"] == {"joined": [], "left": [{"session": "s2"}]}


@pytest.mark.parametrize("topic", ["nowhere", "stage", "events", "a//b"])
async def test_a_topic_without_presence_is_404(system, topic):
    await error_of(await system.client.get(f"/api/presence/{topic}"), 404, "not_found")


# --- publishing ----------------------------------------------------------------------------------------------------


async def test_a_client_publishes_to_a_topic_whose_rule_allows_it(system):
    """Contract 3: ``publish`` gives ``result`` where an id was given; subscribers get ``<name>_update``."""
    async with system.websocket("/ws/s1") as one, system.websocket("/ws/s2") as two:
        for socket in (one, two):
            await subscribed(socket, "room/1")
        await say(one, type="publish", topic="room/1", data={"text": "hi"}, id="p1")
        result = await receive_until(one, "result")
        update = await receive_until(two, "room_update")
        assert update["data"] == {"text": "hi"}
        assert result == {"type": "result", "id": "p1", "data": {"topic": "room/1", "offset": update["offset"]}}


async def test_a_state_is_a_snapshot(system):
    async with system.websocket("/ws/s1") as socket:
        await subscribed(socket, "state/1")
        await say(socket, type="publish", topic="state/1", data=[1])
        message = await receive_until(socket, "snapshot")
        assert (message["topic"], message["data"]) == ("state/1", [1])


async def test_without_an_id_nothing_is_answered(system):
    async with system.websocket("/ws/s1") as socket:
        await receive(socket, 2)
        await say(socket, type="publish", topic="room/1", data=1)
        await say(socket, type="ping", timestamp="t")
        assert [message["type"] for message in await receive(socket, 1)] == ["pong"]


async def test_a_patient_topic_is_published_to_as_well(system):
    async with system.websocket("/ws/s1") as socket:
        await subscribed(socket, "patient/1")
        await say(socket, type="publish", topic="patient/1", data=1, id="p1")
        assert (await receive_until(socket, "patient_update"))["offset"] == 1
        assert (await receive_until(socket, "result"))["data"] == {"topic": "patient/1", "offset": 1}


async def test_a_session_s_own_topic_joins_its_connections_where_a_rule_allows_it(system):
    async with system.websocket("/ws/s1") as one, system.websocket("/ws/s1") as two:
        for socket in (one, two):
            await receive(socket, 2)
        await say(one, type="publish", topic="session/s1", data="draft")
        assert (await receive_until(two, "session_update"))["data"] == "draft"


@pytest.mark.parametrize(
    ("topic", "code", "said"),
    [
        ("clock", "not_allowed", "publishing to 'clock' is the server's alone"),
        ("events", "not_allowed", "publishing to 'events' is the server's alone"),
        ("session/s2", "not_allowed", "this topic belongs to another session"),
        ("stage", "not_allowed", "publishing to 'stage' needs the scope 'actors'"),
        ("nowhere", "unknown_topic", "topic 'nowhere' is not known"),
    ],
)
async def test_elsewhere_publishing_is_refused(system, topic, code, said):
    """Contract 3: a refused ``publish`` is an ``error``; the socket stays."""
    async with system.websocket("/ws/s1") as socket:
        await receive(socket, 2)
        await say(socket, type="publish", topic=topic, data=1, id="p1")
        error = await receive_until(socket, "error")
        assert (error["code"], error["topic"], error["id"]) == (code, topic, "p1")
        assert error["message"].startswith(said)
        await say(socket, type="ping")
        await receive_until(socket, "pong")


# --- calling -------------------------------------------------------------------------------------------------------


async def test_a_client_calls_a_method(system):
    """Contract 3: ``call`` gives ``result`` or ``error`` with its id."""

    @method("add")
    async def add(caller, a: int, b: int):
        return {"sum": a + b, "for": caller.session}

    system.system.services.methods.register(add)
    async with system.websocket("/ws/s1") as socket:
        await receive(socket, 2)
        await say(socket, type="call", id="c1", method="add", params={"a": 1, "b": 2})
        assert await receive_until(socket, "result") == {"type": "result", "id": "c1", "data": {"sum": 3, "for": "s1"}}
        await say(socket, type="call", id="c2", method="sub")
        error = await receive_until(socket, "error")
        assert (error["code"], error["id"]) == ("unknown_method", "c2")


async def test_a_call_ends_when_its_client_leaves(system):
    ended = trio.Event()

    @method("wait")
    async def wait(caller):
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    methods = system.system.services.methods
    methods.register(wait)
    async with system.websocket("/ws/s1") as socket:
        await receive(socket, 2)
        await say(socket, type="call", id="c1", method="wait")
        while not methods.statistics().running:
            await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(5):
        await ended.wait()
