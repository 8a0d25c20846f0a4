import pytest
import structlog.testing
import trio
import trio.testing

from realtime.messages import CloseCode, encode
from realtime.sections import Delivery
from realtime.tree import build
from realtime.web import sockets
from realtime.web.app import create_app

from ..in_process import CLOCK, closed, error_of, make_settings, receive, receive_until, refused, running

FIXED = ["/ws/events", "/ws/supervisors"]


def confirmation(message):
    return {key: message[key] for key in ("type", "topic", "recovered")}


async def say(socket, **message):
    await socket.send(encode(message).decode())


# --- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/ws/tasks",
        "/ws/",
        "/ws//",
        "/ws/a%20b",
        "/ws/a%2Fb",
        "/ws/" + "x" * 65,
        "/ws/%F0%9F%9A%AA",
        "/ws/events/",
        "/ws/events/more",
        "/ws/tasks/a%20b",
        "/ws/tasks/" + "x" * 65,
        "/elsewhere",
        "/",
        "/api/events",
        "/api/supervisors/hub/restart",
        "/static/main.js",
    ],
)
async def test_where_there_is_no_stream_the_handshake_is_404(system, path):
    await error_of(await refused(system.websocket(path)), 404, "not_found")


@pytest.mark.parametrize("id", ["a", "x" * 64, "A-b_c.9", "..", "Events"])
async def test_a_session_has_any_id_of_the_grammar(system, id):
    async with system.websocket(f"/ws/{id}") as socket:
        clock, own = await receive(socket, 2)
    assert confirmation(clock) == {"type": "subscribed", "topic": "clock", "recovered": False}
    assert confirmation(own) == {"type": "subscribed", "topic": f"session/{id}", "recovered": False}


async def test_an_unknown_task_is_told_so_after_the_handshake(system):
    async with system.websocket("/ws/tasks/t1") as socket:
        assert await closed(socket) == CloseCode.NO_SUCH_TASK


# --- sessions ------------------------------------------------------------------------------------------------------


async def test_a_session_hears_the_clock_from_the_start(autojump_clock):
    async with running(make_settings(actors={"clock": CLOCK})) as system, system.websocket("/ws/mine") as socket:
        found = await receive(socket, 5)
        times = [message for message in found if message["type"] == "time_update"]
        offsets = [message["offset"] for message in times]
        assert offsets == list(range(offsets[0], offsets[0] + len(times)))
        assert found[0]["type"] == "subscribed"
        assert found[0]["conflate"] is True


async def test_what_is_sent_to_a_session_reaches_each_of_its_connections_and_nobody_else(system):
    async with (
        system.websocket("/ws/mine") as one,
        system.websocket("/ws/mine") as two,
        system.websocket("/ws/yours") as other,
    ):
        for socket in (one, two, other):
            await receive(socket, 2)
        system.system.hub.publish_nowait("session/mine", "news", {"for": "me"})
        for socket in (one, two):
            (message,) = await receive(socket, 1)
            assert (message["type"], message["data"]) == ("news", {"for": "me"})
        await say(other, type="ping", timestamp="t")
        assert await receive(other, 1) == [{"type": "pong", "timestamp": "t"}]


async def test_a_session_subscribes_and_unsubscribes(system):
    hub = system.system.hub
    async with system.websocket("/ws/mine") as socket:
        await receive(socket, 2)
        await say(socket, type="subscribe", topic="events")
        (message,) = await receive(socket, 1)
        assert confirmation(message) == {"type": "subscribed", "topic": "events", "recovered": False}
        assert hub.subscribers("events") == 1
        await say(socket, type="unsubscribe", topic="events")
        (message,) = await receive(socket, 1)
        assert (message["type"], message["topic"], message["code"]) == ("unsubscribed", "events", "requested")
        assert hub.subscribers("events") == 0


async def test_its_own_topic_can_be_left_and_had_again(system):
    async with system.websocket("/ws/mine") as socket:
        await receive(socket, 2)
        await say(socket, type="unsubscribe", topic="session/mine")
        await say(socket, type="subscribe", topic="session/mine")
        left, back = await receive(socket, 2)
    assert (left["type"], back["type"], back["topic"]) == ("unsubscribed", "subscribed", "session/mine")


async def test_the_topic_of_another_session_is_refused(system):
    async with system.websocket("/ws/mine") as socket:
        await receive(socket, 2)
        await say(socket, type="subscribe", topic="session/yours")
        (message,) = await receive(socket, 1)
    assert (message["type"], message["code"], message["topic"]) == ("error", "not_allowed", "session/yours")


async def test_an_unknown_topic_is_refused_and_the_socket_stays(system):
    async with system.websocket("/ws/mine") as socket:
        await receive(socket, 2)
        await say(socket, type="subscribe", topic="nothing")
        await say(socket, type="subscribe", topic="events")
        refusal, message = await receive(socket, 2)
    assert (refusal["type"], refusal["code"], refusal["topic"]) == ("error", "unknown_topic", "nothing")
    assert (message["type"], message["topic"]) == ("subscribed", "events")


async def test_more_topics_than_one_may_have_are_refused():
    async with (
        running(make_settings(delivery=Delivery(max_topics_per_connection=2))) as system,
        system.websocket("/ws/mine") as socket,
    ):
        await receive(socket, 2)
        await say(socket, type="subscribe", topic="events")
        (message,) = await receive(socket, 1)
    assert (message["type"], message["code"], message["topic"]) == ("error", "too_many_topics", "events")
    assert "at most 2" in message["message"]


async def test_what_one_does_not_have_cannot_be_left(system):
    async with system.websocket("/ws/mine") as socket:
        await receive(socket, 2)
        await say(socket, type="unsubscribe", topic="events")
        (message,) = await receive(socket, 1)
    assert (message["type"], message["code"], message["topic"]) == ("error", "not_subscribed", "events")


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"type": "publish", "topic": "events", "data": 1, "id": "p1"}, {"topic": "events", "id": "p1"}),
        ({"type": "call", "id": "c1", "method": "m"}, {"id": "c1"}),
        ({"type": "ack", "id": "a1"}, {"id": "a1"}),
    ],
)
@pytest.mark.parametrize("path", FIXED)
async def test_what_is_not_supported_is_refused_by_its_name(system, path, message, named):
    async with system.websocket(path) as socket:
        await receive(socket, 2 if path != "/ws/events" else 1)
        await say(socket, **message)
        (error,) = await receive(socket, 1)
    assert {key: value for key, value in error.items() if key != "message"} == {
        "type": "error",
        "code": "not_supported",
        **named,
    }


# --- fixed streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize("path", FIXED)
async def test_a_fixed_stream_is_what_it_is(system, path, type):
    async with system.websocket(path) as socket:
        await receive(socket, 2 if path == "/ws/supervisors" else 1)
        await say(socket, type=type, topic="clock")
        (error,) = await receive(socket, 1)
        assert (error["type"], error["code"], error["topic"]) == ("error", "not_supported", "clock")
        assert "/ws/<session_id>" in error["message"]


@pytest.mark.parametrize("path", ["/ws/mine", *FIXED])
async def test_a_ping_is_answered_and_a_pong_is_not(system, path):
    async with system.websocket(path) as socket:
        await receive(socket, 2 if path != "/ws/events" else 1)
        await say(socket, type="pong", timestamp="x")
        await say(socket, type="ping", timestamp="2026-01-01T00:00:00.000Z")
        assert await receive(socket, 1) == [{"type": "pong", "timestamp": "2026-01-01T00:00:00.000Z"}]


async def test_a_watcher_gets_the_confirmation_then_the_whole_tree_then_each_change(system, autojump_clock):
    async with system.websocket("/ws/supervisors") as socket:
        subscribed, snapshot = await receive(socket, 2)
        assert (subscribed["type"], subscribed["topic"]) == ("subscribed", "supervisors")
        assert (snapshot["type"], snapshot["topic"]) == ("snapshot", "supervisors")
        assert snapshot["offset"] == subscribed["offset"]
        assert (snapshot["data"]["id"], snapshot["data"]["path"]) == ("root", "")
        system.tree.crash("heartbeat", RuntimeError("x"))
        changes = await receive(socket, 3)
    assert [change["data"]["event"] for change in changes] == ["exited", "restarting", "restarted"]
    assert {change["data"]["path"] for change in changes} == {"heartbeat"}
    assert [change["offset"] for change in changes] == [snapshot["offset"] + n for n in (1, 2, 3)]


@pytest.mark.parametrize("debug", [True, False])
async def test_a_watcher_sees_tracebacks_only_with_debug(autojump_clock, debug):
    async with running(make_settings(server={"debug": debug})) as system:
        system.tree.crash("heartbeat", RuntimeError("x"))
        await trio.sleep(1)
        async with system.websocket("/ws/supervisors") as socket:
            snapshot = await receive_until(socket, "snapshot")
    (heartbeat,) = [child for child in snapshot["data"]["children"] if child["id"] == "heartbeat"]
    assert heartbeat["last_exit"]["error"] == "RuntimeError: x"
    assert ("traceback" in heartbeat["last_exit"]) == debug


async def test_a_watcher_that_comes_before_the_tree_is_up_is_sent_away_for_a_moment():
    app = create_app(build(make_settings()).backend)
    async with app.test_client().websocket("/ws/supervisors") as socket:
        assert await closed(socket) == CloseCode.RESTART
    assert sockets.STARTING.startswith("retry-after=")


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{}", '{"type":1}', '{"type":"nonsense"}', b"\x00\x01"])
@pytest.mark.parametrize("path", ["/ws/mine", "/ws/events"])
async def test_what_cannot_be_understood_is_an_error_and_otherwise_ignored(system, path, text):
    async with system.websocket(path) as socket:
        await receive(socket, 2 if path == "/ws/mine" else 1)
        with structlog.testing.capture_logs() as logs:
            await socket.send(text)
            (error,) = await receive(socket, 1)
        assert (error["type"], error["code"]) == ("error", "bad_message")
        await say(socket, type="ping", timestamp="t")
        assert await receive(socket, 1) == [{"type": "pong", "timestamp": "t"}]
    (warning,) = [line for line in logs if line["log_level"] == "warning"]
    assert warning["connection_id"]


async def test_the_twenty_first_of_them_closes_with_4400(system, autojump_clock):
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        for _ in range(21):
            await socket.send("{")
            assert (await receive(socket, 1))[0]["code"] == "bad_message"
        assert await closed(socket) == CloseCode.TOO_MANY_BAD_MESSAGES


async def test_more_messages_than_one_may_send_close_with_4429(autojump_clock):
    delivery = Delivery(max_inbound_per_second=5)
    async with running(make_settings(delivery=delivery)) as system, system.websocket("/ws/events") as socket:
        for _ in range(6):
            await say(socket, type="ping")
        assert await closed(socket) == CloseCode.TOO_MANY_MESSAGES


# --- ends ----------------------------------------------------------------------------------------------------------


async def test_a_handler_that_fails_closes_with_1011_and_is_logged(system, monkeypatch):
    def fail(*args):
        raise RuntimeError("on purpose")

    monkeypatch.setattr(sockets, "parse_client_message", fail)
    with structlog.testing.capture_logs() as logs:
        async with system.websocket("/ws/events") as socket:
            await receive(socket, 1)
            await socket.send("anything")
            assert await closed(socket) == CloseCode.HANDLER_FAILED
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["path"]) == ("request_failed", "/ws/events")
    assert pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="on purpose")).matches(line["exc_info"])


@pytest.mark.parametrize("path", ["/ws/mine", *FIXED])
async def test_a_client_that_leaves_leaves_nothing_behind(system, path):
    hub = system.system.hub
    async with system.websocket(path) as socket:
        await receive(socket, 1)
        assert len(hub.connections) == 1
    assert len(hub.connections) == 0
    assert sum(topic.subscribers for topic in hub.topics()) == 0


async def test_connecting_and_leaving_are_logged_with_id_code_and_number(system):
    with structlog.testing.capture_logs() as logs:
        async with system.websocket("/ws/events") as socket:
            await receive(socket, 1)
    connected, disconnected = [line for line in logs if line["event"] in ("connected", "disconnected")]
    assert connected["log_level"] == disconnected["log_level"] == "info"
    assert connected["connection_id"] == disconnected["connection_id"]
    assert (connected["connections"], disconnected["connections"]) == (1, 0)
    assert "code" in disconnected


async def test_a_drain_sends_every_client_away_with_1012(autojump_clock):
    async with running() as system, system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        await system.system.send_clients_away()
        assert await closed(socket) == CloseCode.RESTART


def on_connection(id, connecting):
    connecting.scope["extensions"]["realtime.connection"] = id
    return connecting


async def test_the_connection_has_the_id_that_the_transport_gave_it(system):
    async with on_connection("c42", system.websocket("/ws/events")) as socket:
        await receive(socket, 1)
        assert [connection.id for connection in system.system.hub.connections] == ["c42"]


async def test_sockets_that_share_a_connection_over_http_2_are_told_apart(system):
    async with (
        on_connection("c42", system.websocket("/ws/events")) as one,
        on_connection("c42", system.websocket("/ws/events")) as two,
    ):
        await receive(one, 1)
        await receive(two, 1)
        first, second = [connection.id for connection in system.system.hub.connections]
    assert first == "c42"
    assert second.startswith("c42-")
