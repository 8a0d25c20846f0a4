import pytest
import structlog.contextvars

from ..in_process import OWN, error_of, make_settings, refused, running

FRIEND = "https://friend.example"
FOREIGN = [
    "null",
    "",
    "http://evil.example",
    "http://localhost:3000",
    "https://localhost",
    "http://localhost.evil.example",
]
EVENT = {"type": "door_opened"}


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost@evil.example", ""])
@pytest.mark.parametrize("path", ["/", "/api/health", "/api/nothing", "/static/main.js"])
async def test_a_host_that_we_do_not_go_by_is_400(system, host, path):
    await error_of(await system.client.get(path, headers={"Host": host}), 400, "bad_host")


async def test_so_is_it_on_a_websocket_before_the_handshake(system):
    answer = await refused(system.websocket("/ws/events", headers={"Host": "evil.example"}))
    await error_of(answer, 400, "bad_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_a_host_of_ours_is_served_whatever_the_port(system, host):
    assert (await system.client.get("/api/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_origin_may_not_post(system, origin):
    answer = await system.client.post("/api/events", json=EVENT, headers={"Origin": origin})
    await error_of(answer, 403, "bad_origin")
    assert (await system.get("/api/events"))["events"] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nor_change_anything_by_any_other_method(system, method):
    answer = await system.client.open("/api/events", method=method, headers={"Origin": "http://evil.example"})
    await error_of(answer, 403, "bad_origin")


@pytest.mark.parametrize("origin", FOREIGN)
async def test_nor_open_a_websocket(system, origin):
    answer = await refused(system.websocket("/ws/events", headers={"Origin": origin}))
    await error_of(answer, 403, "bad_origin")


@pytest.mark.parametrize("origin", [None, OWN])
async def test_our_own_page_and_what_is_no_browser_may_post_and_connect(system, origin):
    headers = {} if origin is None else {"Origin": origin}
    answer = await system.client.post("/api/events", json=EVENT, headers=headers)
    assert answer.status_code == 201
    async with system.websocket("/ws/events", headers=headers) as socket:
        assert (await socket.receive_json())["type"] == "subscribed"


async def test_a_foreign_page_may_load_but_not_read(system):
    """Without CORS headers a browser keeps the answer from the page."""
    answer = await system.client.get("/api/events", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.fixture
async def with_friend():
    async with running(make_settings(server={"allowed_origins": (FRIEND,)})) as system:
        yield system


async def test_an_allowed_origin_may_read_and_post_and_connect(with_friend):
    headers = {"Origin": FRIEND}
    answer = await with_friend.client.post("/api/events", json=EVENT, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    async with with_friend.websocket("/ws/events", headers=headers) as socket:
        assert (await socket.receive_json())["type"] == "subscribed"


async def test_an_allowed_origin_is_told_its_errors_too(with_friend):
    answer = await with_friend.client.get("/api/nothing", headers={"Origin": FRIEND})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (404, FRIEND)


async def test_a_preflight_is_answered_for_an_allowed_origin_only(with_friend):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = await with_friend.client.options("/api/events", headers={"Origin": FRIEND, **asked})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    foreign = await with_friend.client.options("/api/events", headers={"Origin": "http://evil.example", **asked})
    assert not [name for name, _ in foreign.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("headers", [{}, {"Origin": FRIEND}, {"Origin": "http://evil.example"}])
async def test_a_cache_is_told_that_the_origin_makes_a_difference(with_friend, headers):
    answer = await with_friend.client.get("/api/health", headers=headers)
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/health", "/api/nothing"])
async def test_every_answer_carries_what_keeps_a_browser_safe(system, path):
    headers = (await system.client.get(path)).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_each_request_has_an_id_of_its_own_for_the_log_which_ends_with_it(system):
    ids = []

    @system.app.get("/id")
    async def show() -> str:
        ids.append(structlog.contextvars.get_contextvars()["request_id"])
        return ""

    for _ in range(2):
        await system.client.get("/id")
    assert len(set(ids)) == 2
    assert "request_id" not in structlog.contextvars.get_contextvars()
