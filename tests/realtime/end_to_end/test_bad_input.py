"""What strangers may send: each gets the documented error, and nobody else notices."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from tests.realtime.server_process import Answer, ServerProcess

from .clients import Listener, ask, in_thread, listening, raw_client, wait_until

FRIEND = "https://example.org"
MAX_BYTES = 65_536


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    clock = {"use": "realtime.actors.clock", "interval": 0.25}
    settings = {"server": {"allowed_origins": [FRIEND]}, "actors.clock": clock}
    with ServerProcess(tmp_path_factory.mktemp("server"), settings) as process:
        yield process
        errors = [line for line in process.log if line.get("level") == "error"]
    assert not errors, errors


@pytest.fixture
async def witness(server: ServerProcess) -> AsyncIterator[Listener]:
    """Somebody else, who is connected all the time and has to notice nothing."""
    async with listening(server, "/ws/witness") as client:
        await client.ask({"type": "subscribe", "topic": "events"}, "subscribed", topic="events")
        yield client
        seen = len(client.all("event"))
        stored = (await ask(server, "POST", "/api/events", {"type": "still_served"})).json()
        messages = await client.several(seen + 1, "event")
        assert messages[-1]["data"] == stored
        assert not client.all("error")
        assert client.closed is None


def is_error(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check the form that every error has; returns its details."""
    assert answer.status == status, answer
    body = answer.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]
    assert not re.search(rb"<(!doctype|html|p>|h1)", answer.body.lower())
    details: dict[str, Any] = body["error"]["details"]
    return details


async def refused(server: ServerProcess, path: str, **options: Any) -> Answer:
    """How a handshake for *path* is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(server.ws(path), proxy=None, **options):
            pass
    response = refusal.value.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return Answer(response.status_code, headers, bytes(response.body or b""))


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "[]",
        '"ping"',
        "{}",
        '{"type":5}',
        '{"type":"nonsense"}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","topic":5}',
        '{"type":"subscribe","topic":"not a topic"}',
        '{"type":"subscribe","topic":"events","offset":-1}',
        '{"type":"subscribe","topic":"events","surplus":1}',
        '{"type":"ping","timestamp":1}',
        '{"type":"ping"}{"type":"ping"}',
        '{"type":"publish","topic":"clock","data":NaN}',
        "[" * 30_000,
        b'{"type":"ping"}',
    ],
    ids=lambda message: repr(message)[:40],
)
async def test_malformed_input_is_answered_logged_and_otherwise_ignored(server, witness, message):
    """Contract 3: the error ``bad_message``, logged as a warning with the connection's id."""
    seen = len(server.log)
    async with listening(server, "/ws/stranger") as client:
        error = await client.ask(message, "error")
        assert error["code"] == "bad_message"
        assert error["message"]
        warning = await in_thread(server.wait_for_log, "bad_message", since=seen, level="warning")
        await client.ask({"type": "ping"}, "pong")
    await in_thread(server.wait_for_log, "disconnected", since=seen, connection_id=warning["connection_id"])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "subscribe", "topic": "nothing"}, {"code": "unknown_topic", "topic": "nothing"}),
        ({"type": "subscribe", "topic": "session/other"}, {"code": "not_allowed", "topic": "session/other"}),
        ({"type": "unsubscribe", "topic": "events"}, {"code": "not_subscribed", "topic": "events"}),
        ({"type": "call", "id": "c1", "method": "m"}, {"code": "unknown_method", "id": "c1"}),
    ],
    ids=lambda value: value.get("type", value.get("code")),
)
async def test_what_is_refused_is_an_error_and_the_socket_stays(server, witness, message, expected):
    """Contract 3: a refused ``subscribe`` or ``call`` is an ``error``; the socket and its other topics stay."""
    async with listening(server, "/ws/stranger") as client:
        error = await client.ask(message, "error")
        assert {key: error.get(key) for key in expected} == expected
        assert error["message"]
        seen = len(client.all("time_update"))
        await client.several(seen + 1, "time_update")


@pytest.mark.parametrize("path", ["/ws/events", "/ws/supervisors"])
@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscribe", "topic": "clock"},
        {"type": "unsubscribe", "topic": "events"},
        {"type": "publish", "topic": "events", "data": 1, "id": "p1"},
        {"type": "call", "id": "c1", "method": "m"},
    ],
    ids=lambda message: message["type"],
)
async def test_a_fixed_stream_accepts_ping_and_pong_only(server, witness, path, message):
    """Contract 3: anything else gets the error ``not_supported``."""
    async with listening(server, path) as client:
        error = await client.ask(message, "error")
        assert error["code"] == "not_supported"
        assert (error.get("id"), error.get("topic")) == (message.get("id"), message.get("topic"))
        await client.send({"type": "pong"})
        await client.ask({"type": "ping"}, "pong")
        assert len(client.all("error")) == 1


async def test_more_topics_than_a_connection_may_have_are_refused(make_server):
    """Contract 1: ``max_topics_per_connection``."""
    server = make_server({"delivery": {"max_topics_per_connection": 3}}).start()
    async with listening(server, "/ws/greedy") as client:  # has the clock and its own already
        await client.ask({"type": "subscribe", "topic": "events"}, "subscribed", topic="events")
        error = await client.ask({"type": "subscribe", "topic": "system"}, "error")
        assert (error["code"], error["topic"]) == ("too_many_topics", "system")


async def test_the_21st_bad_message_closes_with_4400(server, witness):
    """Contract 3: the 21st within 10 s."""
    async with listening(server, "/ws/stubborn") as client:
        for number in range(20):
            await client.ask("nonsense", "error")
            assert client.closed is None, number
        await client.send("nonsense")
        assert (await client.end()).code == 4400


async def test_too_many_messages_close_with_4429(server, witness):
    """Contract 1 and 3: ``max_inbound_per_second``."""
    async with listening(server, "/ws/hasty") as client:
        with pytest.raises(ConnectionClosed), trio.fail_after(5):
            while True:
                await client.send({"type": "pong"})
        assert (await client.end()).code == 4429


async def test_a_message_of_just_the_allowed_size_is_understood(server):
    """Contract 1: ``max_message_bytes`` is 65536."""
    message = json.dumps({"type": "ping", "timestamp": ""})
    message = message.replace('""', f'"{"x" * (MAX_BYTES - len(message))}"')
    assert len(message) == MAX_BYTES
    async with listening(server, "/ws/long") as client:
        assert len((await client.ask(message, "pong"))["timestamp"]) > 65_000


@pytest.mark.parametrize("message", ["x" * (MAX_BYTES + 1), "x" * 3_000_000, b"x" * (MAX_BYTES + 1)])
async def test_a_larger_message_closes_with_1009(server, witness, message):
    """Contract 3: larger than ``max_message_bytes`` closes with 1009."""
    async with listening(server, "/ws/huge") as client:
        with suppress(ConnectionClosed):  # it may be refused before all of it was sent
            await client.send(message)
        assert (await client.end()).code == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x82\0\0\0\0\xc3\x28", 1007),  # text that is not UTF-8
        (b"\x81\x02{}", 1002),  # not masked
        (b"\xc1\x82\0\0\0\0{}", 1002),  # a reserved bit
        (b"\x83\x80\0\0\0\0", 1002),  # a reserved opcode
        (b"\x89\xfe\0\x7e\0\0\0\0" + b"x" * 126, 1002),  # a control frame that is too long
        (b"\x80\x80\0\0\0\0", 1002),  # a continuation of nothing
    ],
)
async def test_a_breach_of_the_protocol_closes_with_its_code(server, witness, frame, code):
    """Contract 3: 1002 and 1007."""
    async with raw_client(server, "/ws/wrong") as client:
        await client.stream.send_all(frame)
        assert (await client.read_until_closed()).code == code


# --- handshakes -----------------------------------------------------------------------------------------------------


async def test_an_unknown_task_is_closed_with_4404(server, witness):
    """Contract 3: accepted first and then closed, because a browser cannot read the status of a handshake."""
    async with raw_client(server, "/ws/tasks/unknown") as client:
        assert (await client.read_until_closed()).code == 4404


@pytest.mark.parametrize(
    "path",
    [
        *("/ws/tasks", "/ws/", "/ws", "/ws/a/b", "/ws/a%20b", "/ws/%00", "/ws/" + "x" * 65, "/ws/tasks/a%20b"),
        *("/", "/api/health", "/nothing"),
    ],
)
async def test_a_socket_that_does_not_exist_is_404_before_the_handshake(server, witness, path):
    """Contract 3: ``events``, ``tasks``, ``supervisors`` are no session ids; 404 no such path."""
    is_error(await refused(server, path), 404, "not_found")


@pytest.mark.parametrize("path", ["/ws/events", "/ws/supervisors", "/ws/session", "/ws/tasks/t1"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", "http://", "x"]
)
async def test_a_foreign_origin_is_403_before_the_handshake(server, witness, path, origin):
    """Contract 4: an origin other than our own or an allowed one is refused; ``null`` too."""
    is_error(await refused(server, path, origin=origin), 403, "bad_origin")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::2]"])
async def test_a_host_that_is_not_ours_is_400_before_the_handshake(server, witness, host):
    """Contract 4: ``Host`` must be in ``allowed_hosts``."""

    def with_host() -> Answer:
        upgrade = {
            "Host": host,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        return server.request("GET", "/ws/events", headers=upgrade)

    is_error(await in_thread(with_host), 400, "bad_host")


async def test_our_own_and_allowed_origins_and_none_at_all_are_let_in(server):
    """Contract 4: no ``Origin`` is fine, since that is no browser."""
    for origin in (server.url, f"http://localhost:{server.port}", FRIEND, None):
        headers = {"Host": f"localhost:{server.port}"} if origin and "localhost" in origin else {}
        if headers:
            connection = connect(f"ws://localhost:{server.port}/ws/events", origin=origin, host="127.0.0.1", proxy=None)
            async with connection as socket:
                assert json.loads(await socket.recv())["type"] == "subscribed"
        else:
            async with listening(server, "/ws/events", origin=origin) as client:
                await client.ask({"type": "ping"}, "pong")


# --- requests -------------------------------------------------------------------------------------------------------


def post(server: ServerProcess, body: bytes, **headers: str) -> Answer:
    """An event's POST with *body* as it is."""
    return server.request("POST", "/api/events", body, {"Content-Type": "application/json"} | headers)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b"{}", "type"),
        (b'{"type":5}', "type"),
        (b'{"type":""}', "type"),
        (b'{"type":"a","severity":"loud"}', "severity"),
        (b'{"type":"a","data":[]}', "data"),
        (b'{"type":"a","source":5}', "source"),
        (b'{"type":"a","tags":"b"}', "tags"),
        (b'{"type":"a","surplus":1}', "surplus"),
    ],
)
async def test_a_bad_body_is_400_and_names_the_field(server, witness, body, field):
    """Contract 4: 400 with ``details.field``; unknown fields are refused and named."""
    details = is_error(await in_thread(post, server, body), 400, "bad_request")
    if field is not None:
        assert details["field"].split("[")[0] == field


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/html"])
async def test_a_body_that_is_declared_as_something_else_is_415(server, witness, content_type):
    """Contract 4: 415 wrong type: no form of a stranger's page can post it."""
    answer = await in_thread(post, server, b'{"type":"a"}', **{"Content-Type": content_type})
    is_error(answer, 415, "wrong_type")


async def test_a_body_that_is_too_big_is_413(server, witness):
    """Contract 4: 413 too big."""
    for size in (MAX_BYTES + 1, 2_000_000):
        body = json.dumps({"type": "a", "data": {"x": "x" * size}}).encode()
        is_error(await in_thread(post, server, body), 413, "too_large")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "since=yesterday", "severity=loud", "after=!", "surplus=1"]
)
async def test_a_bad_query_is_400_and_names_the_parameter(server, witness, query):
    """Contract 4: ``limit`` is 1 to 1000."""
    details = is_error(await ask(server, "GET", f"/api/events?{query}"), 400, "bad_request")
    assert details["field"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/api", "/api/", "/api/nothing", "/static/nothing.js", "/static/../app.py", "/static/"),
        *("/static/%2e%2e/app.py", "/api/events/unknown", "/api/supervisors/nothing", "/<script>", "/%3Cscript%3E"),
    ],
)
async def test_what_is_not_there_is_404_in_json(server, witness, path):
    """Contract 4: also what a library would answer in HTML."""
    is_error(await ask(server, "GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/events", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/api/health", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/api/supervisors/server/restart", {"GET", "HEAD", "POST", "OPTIONS"}),
    ],
)
async def test_a_method_that_is_not_allowed_is_405_and_says_which_are(server, witness, method, path, allowed):
    """RFC 9110 section 15.5.6: with ``Allow``."""
    answer = await ask(server, method, path)
    is_error(answer, 405, "method_not_allowed")
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize("path", ["/api/events", "/api/supervisors/server/restart", "/api/supervisors/server/crash"])
async def test_a_post_with_a_foreign_origin_is_403(server, witness, path, origin):
    """Contract 4: refused on every POST alike, whatever its body."""
    is_error(await ask(server, "POST", path, {"type": "a"}, Origin=origin), 403, "bad_origin")


async def test_a_page_from_elsewhere_may_read_only_if_it_is_allowed(server):
    """Contract 4: CORS is off unless ``allowed_origins`` says otherwise."""
    stranger = await ask(server, "GET", "/api/events", Origin="https://evil.example")
    assert "access-control-allow-origin" not in stranger.headers
    friend = await ask(server, "POST", "/api/events", {"type": "a"}, Origin=FRIEND)
    assert friend.status == 201
    assert friend.headers["access-control-allow-origin"] == FRIEND
    assert "origin" in friend.headers["vary"].lower()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "localhost.evil.example"])
async def test_a_request_for_another_host_is_400(server, witness, host):
    """Contract 4: ``Host`` must be in ``allowed_hosts``, against rebinding of names."""
    for method, path in (("GET", "/"), ("GET", "/api/health"), ("POST", "/api/events"), ("GET", "/static/main.js")):
        is_error(await ask(server, method, path, Host=host), 400, "bad_host")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nNo colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
        (b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_http_is_refused_in_json(server, witness, request_bytes, status):
    """Contract 4: every error has the one form."""
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(request_bytes)
        answer = b""
        with trio.fail_after(5):
            async for data in stream:
                answer += data
                if answer.endswith(b"}}"):
                    break
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert b"application/json" in head
    assert json.loads(body)["error"]["code"]


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_one_connection_too_many_is_503_until_another_leaves(make_server):
    """Contract 3: 503 too many connections, before the handshake; nobody who is in notices."""
    server = make_server({"server": {"max_connections": 3}}).start()
    async with listening(server, "/ws/one") as one, listening(server, "/ws/two"):
        async with listening(server, "/ws/three"):
            answer = await refused(server, "/ws/four")
            is_error(answer, 503, "too_many_connections")
            assert int(answer.headers["retry-after"]) >= 1
            is_error(await ask(server, "GET", "/api/health"), 503, "too_many_connections")
        assert (await wait_until(lambda: server.request("GET", "/api/health").status == 200)) is True
        await one.ask({"type": "ping"}, "pong")
    assert not server.complaints()


async def test_one_connection_too_many_from_one_address_is_503(make_server):
    """Contract 1: ``max_connections_per_address``."""
    server = make_server({"server": {"max_connections_per_address": 1}}).start()
    async with listening(server, "/ws/one"):
        is_error(await refused(server, "/ws/two"), 503, "too_many_connections")


async def test_an_incomplete_handshake_is_given_up_after_its_time(make_server):
    """Contract 1: ``handshake_timeout``."""
    server = make_server({"server": {"handshake_timeout": 0.5}}).start()
    for begun in (b"", b"GET /ws/events HTTP/1.1\r\nHost: loc"):
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(begun)
            began = trio.current_time()
            with trio.fail_after(5):
                while await stream.receive_some():
                    pass
            assert 0.3 < trio.current_time() - began < 2
