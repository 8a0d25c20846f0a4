"""Who gets in, and what they may: every route and every WebSocket behind one question."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from realtime.actors.tasks import job
from realtime.policy.access import Principal
from realtime.sections import TopicRule

from ..in_process import OWN, closed, error_of, make_settings, receive, receive_until, running
from .tokens import ADMIN, ANN, BOB, TOKENS, settings_of


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def offering(token: str) -> dict[str, object]:
    """For a WebSocket, as a browser does it; Quart's client takes subprotocols and forgets them."""
    return {"scope_base": {"subprotocols": ["realtime", f"realtime.bearer.{token}"]}}


def told_to_ask(answer) -> bool:
    return answer.headers.get("WWW-Authenticate") == "Bearer"


EVENT = {"json": {"type": "door_opened"}, "headers": {"Origin": OWN}}


# --- requests ------------------------------------------------------------------------------------------------------


async def test_with_nothing_set_clients_are_anonymous_and_tokens_mean_nothing(system):
    for headers in ({}, bearer("anything")):
        answer = await system.client.post("/api/events", json={"type": "x"}, headers=headers)
        assert answer.status_code == 201
    answer = await system.client.post("/api/supervisors/hub/restart", headers=bearer("anything"))
    error = await error_of(answer, 403, "not_allowed")
    assert "set auth.admin_token_file" in error["message"]


@pytest.mark.parametrize("token", ["wrong", ANN[:-1], "a.b.c", "ü"])
async def test_a_wrong_token_is_401_wherever_it_goes(tmp_path, token):
    """Contract 4: 401 is told from 403; whoever sends a token means to be somebody."""
    async with running(settings_of(tmp_path)) as system:
        for path in ("/api/events", "/api/metrics", "/nothing", "/sse/clock"):
            answer = await system.client.get(path, headers=bearer(token))
            error = await error_of(answer, 401, "not_authenticated")
            assert error["message"] == "the token is not known"
            assert told_to_ask(answer)


async def test_health_and_the_page_ask_nobody(tmp_path):
    async with running(settings_of(tmp_path, required=True)) as system:
        for path in ("/", "/static/main.js", "/api/health", "/api/health/live", "/api/health/ready"):
            for headers in ({}, bearer("wrong")):
                assert (await system.client.get(path, headers=headers)).status_code == 200, path


async def test_where_signing_in_is_required_all_else_is_401(tmp_path):
    settings = settings_of(tmp_path, required=True, server={"allowed_origins": ("https://else.example",)})
    async with running(settings) as system:
        for path in ("/api/events", "/api/tasks", "/api/metrics", "/api/connections", "/api/supervisors", "/sse/clock"):
            answer = await system.client.get(path)
            await error_of(answer, 401, "not_authenticated")
            assert told_to_ask(answer)
        await error_of(await system.client.post("/api/events", json={"type": "x"}), 401, "not_authenticated")
        # What a browser asks before it shows who it is.
        asked = await system.client.options("/api/events", headers={"Origin": "https://else.example"})
        assert asked.status_code == 200
        assert (await system.client.get("/api/events", headers=bearer(BOB))).status_code == 200


@pytest.mark.parametrize(
    ("rule", "method", "path", "options"),
    [
        ("may_read", "GET", "/api/metrics", {}),
        ("may_read", "GET", "/api/connections", {}),
        ("may_create_event", "POST", "/api/events", {"json": {"type": "x"}}),
        ("may_start_task", "POST", "/api/tasks", {"json": {"job": "nothing"}}),
        ("may_cancel_task", "DELETE", "/api/tasks/nothing", {}),
    ],
)
async def test_each_route_has_the_rule_of_its_action(tmp_path, rule, method, path, options):
    """401 for the anonymous, 403 for who is signed in and lacks the scope, and neither for who has it."""
    async with running(settings_of(tmp_path, **{rule: "editors"})) as system:

        async def ask(headers):
            return await system.client.open(path, method=method, headers=headers, **options)

        error = await error_of(await ask({}), 401, "not_authenticated")
        assert "the scope 'editors'" in error["message"]
        error = await error_of(await ask(bearer(BOB)), 403, "not_allowed")
        assert error["message"].endswith("needs the scope 'editors', which 'bob' does not have")
        for token in (ANN, ADMIN):
            assert (await ask(bearer(token))).status_code in (200, 201, 400, 404)


async def test_who_may_subscribe_may_read_the_past_and_nobody_else(tmp_path):
    topics = {"events": TopicRule(subscribe="editors"), "supervisors": TopicRule(subscribe="admin")}
    async with running(settings_of(tmp_path, topics=topics)) as system:
        created = await (await system.client.post("/api/events", **EVENT)).get_json()
        for path in ("/api/events", f"/api/events/{created['event_id']}", "/api/events/nothing", "/sse/events"):
            await error_of(await system.client.get(path), 401, "not_authenticated")
            await error_of(await system.client.get(path, headers=bearer(BOB)), 403, "not_allowed")
        assert (await system.get("/api/events", headers=bearer(ANN)))["events"]
        await error_of(await system.client.get("/api/supervisors", headers=bearer(ANN)), 403, "not_allowed")
        await error_of(await system.client.get("/api/supervisors/hub"), 401, "not_authenticated")
        assert (await system.get("/api/supervisors", headers=bearer(ADMIN)))["kind"] == "supervisor"


async def test_a_task_is_shown_to_who_may_watch_it(tmp_path):
    async with running(settings_of(tmp_path, topics={"tasks/*": TopicRule(subscribe="editors")})) as system:

        @job("wait")
        async def wait(progress):
            await trio.sleep_forever()

        system.system.services.tasks.register(wait)
        answer = await system.client.post("/api/tasks", json={"job": "wait"})
        task = await answer.get_json()
        assert (await system.get("/api/tasks"))["tasks"] == []
        shown = await system.get("/api/tasks", headers=bearer(ANN))
        assert [each["task_id"] for each in shown["tasks"]] == [task["task_id"]]
        await error_of(await system.client.get(f"/api/tasks/{task['task_id']}"), 401, "not_authenticated")
        await error_of(await system.client.get("/api/tasks/nothing"), 401, "not_authenticated")


async def test_where_there_is_nothing_to_sign_in_with_it_is_403():
    settings = make_settings(topics={"events": TopicRule(subscribe="editors")})
    async with running(settings) as system:
        error = await error_of(await system.client.get("/api/events"), 403, "not_allowed")
        assert "set auth.tokens_file" in error["message"]
        async with system.websocket("/ws/events") as socket:
            assert await closed(socket) == 4403


async def test_only_the_admin_scope_operates(tmp_path):
    """Contract 4: 403 without the admin scope."""
    async with running(settings_of(tmp_path)) as system:
        for headers in ({}, bearer(ANN), bearer("wrong")):
            answer = await system.client.post("/api/supervisors/heartbeat/restart", headers=headers)
            await error_of(answer, 403, "not_allowed")
        assert system.tree.find("heartbeat").generation == 1
        answer = await system.client.post("/api/supervisors/heartbeat/restart", headers=bearer(ADMIN))
        assert answer.status_code == 202


async def test_a_principal_that_asks_too_often_is_429(tmp_path, mock_clock):
    """Contract 4: 429 with ``Retry-After``; over HTTP and all its connections together."""
    async with running(settings_of(tmp_path, max_inbound_per_second=3)) as system:
        for _ in range(3):
            assert (await system.client.get("/api/topics", headers=bearer(ANN))).status_code == 200
        answer = await system.client.get("/api/topics", headers=bearer(ANN))
        await error_of(answer, 429, "too_many_requests")
        assert answer.headers["Retry-After"] == "1"
        for headers in (bearer(BOB), {}):
            assert (await system.client.get("/api/topics", headers=headers)).status_code == 200
        async with system.websocket("/ws/s1", headers=bearer(ANN)) as socket:
            assert await closed(socket) == 4429
        mock_clock.jump(1)
        assert (await system.client.get("/api/topics", headers=bearer(ANN))).status_code == 200


# --- WebSockets ----------------------------------------------------------------------------------------------------

PATHS = ("/ws/events", "/ws/supervisors", "/ws/tasks/t1", "/ws/s1")


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_a_socket_is_accepted_and_closed_with_4401(tmp_path, path):
    """Contract 3: 4401 not authenticated; a browser cannot read the status of a failed handshake."""
    async with running(settings_of(tmp_path, required=True)) as system:
        for options in ({}, {"headers": bearer("wrong")}, offering("wrong"), {"headers": {"Authorization": "Basic x"}}):
            async with system.websocket(path, **options) as socket:
                assert await closed(socket) == 4401
        assert (await system.get("/api/metrics", headers=bearer(BOB)))["refusals"]["closes"] == {"4401": 4}


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_scope_a_socket_is_closed_with_4403(tmp_path, path):
    """Contract 3: 4403 not allowed, where another sign-in would be needed; 4401 for who has none."""
    topics = {name: TopicRule(subscribe="editors") for name in ("events", "supervisors", "tasks/*", "session/*")}
    async with running(settings_of(tmp_path, topics=topics)) as system:
        async with system.websocket(path, headers=bearer(BOB)) as socket:
            assert await closed(socket) == 4403
        async with system.websocket(path) as socket:
            assert await closed(socket) == 4401
        async with system.websocket(path, headers=bearer(ANN)) as socket:
            if path == "/ws/tasks/t1":  # who may know it is told
                assert await closed(socket) == 4404
            else:
                assert (await receive(socket, 1))[0]["type"] == "subscribed"


@pytest.mark.parametrize("path", ["/ws/events", "/ws/supervisors", "/ws/s1"])
async def test_a_browser_offers_its_token_as_a_subprotocol(tmp_path, path):
    async with running(settings_of(tmp_path, required=True)) as system:
        async with system.websocket(path, **offering(BOB)) as socket:
            assert (await receive(socket, 1))[0]["type"] == "subscribed"
            (shown,) = (await system.get("/api/connections", headers=bearer(BOB)))["connections"]
            assert shown["principal"] == "bob"
        async with system.websocket(path, **offering(ADMIN.replace(" ", "%20"))) as socket:
            assert (await receive(socket, 1))[0]["type"] == "subscribed"


async def test_the_anonymous_have_no_name_in_the_listing(system):
    async with system.websocket("/ws/s1") as socket:
        await receive(socket, 1)
        (shown,) = (await system.get("/api/connections"))["connections"]
        assert "principal" not in shown


async def test_a_topic_that_is_not_allowed_is_refused_and_the_socket_stays(tmp_path):
    """Contract 3: a refused ``subscribe`` is an ``error``."""
    topics = {"events": TopicRule(subscribe="editors"), "clock": TopicRule(subscribe="editors")}
    async with running(settings_of(tmp_path, topics=topics)) as system:
        async with system.websocket("/ws/s1") as socket:
            error = await receive_until(socket, "error")
            assert (error["code"], error["topic"]) == ("not_allowed", "clock")
            assert (await receive_until(socket, "subscribed"))["topic"] == "session/s1"
            await socket.send_json({"type": "subscribe", "topic": "events"})
            error = await receive_until(socket, "error")
            assert (error["code"], error["topic"]) == ("not_allowed", "events")
            assert "the scope 'editors'" in error["message"]
            await socket.send_json({"type": "ping"})
            await receive_until(socket, "pong")
        async with system.websocket("/ws/s1", headers=bearer(ANN)) as socket:
            await receive_until(socket, "time_update")
            await socket.send_json({"type": "subscribe", "topic": "events"})
            assert (await receive_until(socket, "subscribed"))["topic"] == "session/s1"
            assert (await receive_until(socket, "subscribed"))["topic"] == "events"
        assert (await system.get("/api/metrics"))["refusals"]["errors"] == {"not_allowed": 2}


async def test_messages_of_all_connections_of_a_principal_count_together(tmp_path, mock_clock):
    """Contract 3: 4429."""
    async with running(settings_of(tmp_path, max_inbound_per_second=6)) as system:
        headers = bearer(ANN)
        async with system.websocket("/ws/a", headers=headers) as a, system.websocket("/ws/b", headers=headers) as b:
            for socket in (a, b, a, b):
                await socket.send_json({"type": "ping"})
                await receive_until(socket, "pong")
            await a.send_json({"type": "ping"})
            assert await closed(a) == 4429
            # It is the principal's rate, not the connection's: pongs are free, the next message is not.
            await b.send_json({"type": "pong"})
            await b.send_json({"type": "ping"})
            assert await closed(b) == 4429


async def test_an_operator_sees_tracebacks_in_the_stream_of_the_tree(tmp_path):
    async with running(settings_of(tmp_path)) as system:
        system.tree.crash("broadcasters/clock", RuntimeError("x"))
        await trio.testing.wait_all_tasks_blocked()
        for headers, shown in ((bearer(ADMIN), True), (bearer(ANN), False), ({}, False)):
            async with system.websocket("/ws/supervisors", headers=headers) as socket:
                root = (await receive_until(socket, "snapshot"))["data"]
            broadcasters = next(node for node in root["children"] if node["id"] == "broadcasters")
            clock = next(node for node in broadcasters["children"] if node["id"] == "clock")
            assert ("traceback" in clock["last_exit"]) is shown


# --- while a connection is open ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws/events", "/ws/supervisors", "/ws/s1"])
async def test_a_token_that_expires_closes_its_connections_with_4401(tmp_path, path):
    """Contract 3: 4401 expired."""
    async with running(settings_of(tmp_path)) as system:
        access = system.system.services.access
        now = [1000.0]
        access._now = lambda: now[0]

        async def soon(headers):
            return Principal("guest", expires_at=1010.0) if "x-guest" in headers else None

        access._hook = soon
        async with system.websocket(path, headers={"X-Guest": "1"}) as socket, system.websocket(path) as other:
            await receive(socket, 1)
            await receive(other, 1)
            now[0] = 1009.9
            access.look()
            assert access.statistics().connections == 1
            now[0] = 1010.0
            access.look()
            assert await closed(socket) == 4401
            await other.send_json({"type": "ping"})
            await receive_until(other, "pong")
        assert access.statistics().connections == 0


async def test_a_token_that_is_taken_back_closes_its_connections_and_no_others(tmp_path):
    async with running(settings_of(tmp_path)) as system:
        access = system.system.services.access
        with_ann = system.websocket("/ws/a", headers=bearer(ANN))
        with_bob = system.websocket("/ws/b", headers=bearer(BOB))
        async with with_ann as ann, with_bob as bob:
            await receive(ann, 1)
            await receive(bob, 1)
            path = tmp_path / "tokens.toml"
            path.write_text(TOKENS.replace(ANN, "new-0123456789abcdef"))
            os.utime(path, (1, 1))
            await access.look_at_files()
            access.look()
            assert await closed(ann) == 4401
            await bob.send_json({"type": "ping"})
            await receive_until(bob, "pong")


async def test_the_files_are_watched_by_a_child_where_there_are_any(tmp_path, system):
    assert all(node.id != "access" for node in system.tree.snapshot().children)
    async with running(settings_of(tmp_path)) as other:
        assert other.tree.find("access").state == "running"


async def test_a_hook_that_does_not_answer_is_503(tmp_path, autojump_clock):
    async with running(settings_of(tmp_path)) as system:

        async def hook(headers):
            await trio.sleep_forever()

        system.system.services.access._hook = hook
        answer = await system.client.get("/api/topics")
        await error_of(answer, 503, "unavailable")


async def test_refusals_are_counted_by_their_code(tmp_path):
    async with running(settings_of(tmp_path)) as system:
        await system.client.get("/nothing")
        await system.client.get("/api/topics", headers=bearer("wrong"))
        await system.client.post("/api/supervisors/hub/restart")
        await system.client.post("/api/events", json={"type": "x"}, headers={"Origin": "https://evil.example"})
        async with system.websocket("/ws/s1") as socket:
            await socket.send("nonsense")
            await socket.send_json({"type": "subscribe", "topic": "nothing"})
            await socket.send_json({"type": "unsubscribe", "topic": "events"})
            await receive_until(socket, "error")
            await receive_until(socket, "error")
            await receive_until(socket, "error")
        figures = await system.get("/api/metrics")
    assert figures["refusals"] == {
        "http": {"not_found": 1, "not_authenticated": 1, "not_allowed": 1, "bad_origin": 1},
        "errors": {"bad_message": 1, "unknown_topic": 1, "not_subscribed": 1},
        "closes": {},
    }
    assert figures["access"] == {"principals": 0, "connections": 0, "refused": 1}


async def test_a_page_can_ask_who_has_signed_in(tmp_path):
    async with running(settings_of(tmp_path, required=True)) as system:
        assert await system.get("/api/me") == {"name": None, "scopes": []}
        assert await system.get("/api/me", headers=bearer(ANN)) == {"name": "ann", "scopes": ["editors"]}
        assert await system.get("/api/me", headers=bearer(ADMIN)) == {"name": "admin", "scopes": ["admin"]}
        await error_of(await system.client.get("/api/me", headers=bearer("wrong")), 401, "not_authenticated")
