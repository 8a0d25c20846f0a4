"""Every refusal has the one form, whoever makes it."""

import pytest
import structlog.testing
import trio
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from realtime.ports import AppendFailed, StoreStopped
from realtime.web.errors import CODES, ApiError

from ..in_process import error_of, make_settings, running


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/nothing", "/api/events/", "/api//events", "/ws/", "/%00"])
async def test_an_unknown_path_is_404_and_no_redirect(system, path):
    await error_of(await system.client.get(path), 404, "not_found")


async def test_a_long_path_is_not_repeated_whole(system):
    error = await error_of(await system.client.get("/" + "x" * 5000), 404, "not_found")
    assert len(error["message"]) < 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/events", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/api/events/x", "GET, HEAD, OPTIONS"),
        ("POST", "/api/health", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("PATCH", "/api/supervisors/hub/restart", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_a_method_that_is_not_for_the_path_is_405_and_says_which_are(system, method, path, allowed):
    answer = await system.client.open(path, method=method)
    error = await error_of(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed
    assert error["message"] == f"{method} is not for this path; it takes {allowed}"


@pytest.mark.parametrize("path", ["/", "/api/events", "/api/health", "/static/main.js"])
async def test_head_has_the_headers_of_get(system, path):
    get, head = await system.client.get(path), await system.client.head(path)
    assert head.status_code == get.status_code == 200
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_options_tells_the_methods(system):
    answer = await system.client.options("/api/events")
    assert answer.status_code == 200
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


async def test_a_websocket_that_is_asked_for_like_a_page_says_what_it_is(system):
    answer = await system.client.get("/ws/events")
    error = await error_of(answer, 426, "upgrade_required")
    assert answer.headers["Upgrade"] == "websocket"
    assert "ws://" in error["message"]


async def test_http_2_gets_no_header_that_it_forbids(system):
    answer = await system.client.get("/ws/events", http_version="2")
    await error_of(answer, 426, "upgrade_required")
    assert "Upgrade" not in answer.headers
    assert "Connection" not in answer.headers


async def test_a_body_that_is_too_big_is_413_before_it_was_sent():
    async with running(make_settings(server={"max_message_bytes": 100})) as system:
        answer = await system.client.post("/api/events", json={"type": "t", "data": {"x": "y" * 200}})
        error = await error_of(answer, 413, "too_large")
        assert "at most 100 bytes" in error["message"]


async def test_a_body_of_unknown_length_is_413_as_soon_as_it_is_too_big():
    async with running(make_settings(server={"max_message_bytes": 100})) as system:
        request = system.client.request(
            "/api/events", method="POST", headers={"Content-Type": "application/json", "Host": "localhost"}
        )
        async with request as connection:
            for _ in range(5):
                await connection.send(b"x" * 50)
            await connection.send_complete()
        error = await error_of(await connection.as_response(), 413, "too_large")
        assert "at most 100 bytes" in error["message"]


async def test_a_body_that_never_ends_is_given_up(system, autojump_clock):
    request = system.client.request(
        "/api/events", method="POST", headers={"Content-Type": "application/json", "Host": "localhost"}
    )
    async with request as connection:
        await connection.send(b'{"type":')
    error = await error_of(await connection.as_response(), 408, "timeout")
    assert "10 s" in error["message"]


@pytest.fixture
async def failing():
    """A system with a route that raises whatever is put into ``system.app.config["ERROR"]``."""
    async with running() as system:

        @system.app.get("/fail")
        async def fail():
            await trio.lowlevel.checkpoint()
            raise system.app.config["ERROR"]

        yield system


async def answer_to(failing, error):
    failing.app.config["ERROR"] = error
    return await failing.client.get("/fail")


async def test_our_own_failure_is_500_logged_with_its_path_and_tells_nothing_of_the_code(failing):
    with structlog.testing.capture_logs() as logs:
        error = await error_of(await answer_to(failing, RuntimeError("secret")), 500, "internal_error")
    assert "secret" not in str(error)
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["path"], str(line["exc_info"])) == ("request_failed", "/fail", "secret")


async def test_a_group_of_failures_is_500_as_well_and_logged_whole(failing):
    error = ExceptionGroup("several", [RuntimeError("one"), ValueError("two")])
    with structlog.testing.capture_logs() as logs:
        await error_of(await answer_to(failing, error), 500, "internal_error")
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["exc_info"]) == ("request_failed", error)


@pytest.mark.parametrize("refusal", [RequestEntityTooLarge, RequestTimeout])
async def test_the_words_of_a_module_that_refuses_a_body_stay(failing, refusal):
    answer = await answer_to(failing, refusal("one picture at a time"))
    assert (await answer.get_json())["error"]["message"] == "one picture at a time"


async def test_a_refusal_carries_its_details_and_headers(failing):
    refusal = ApiError(429, "slower", headers={"Retry-After": "7"}, limit=5)
    answer = await answer_to(failing, refusal)
    error = await error_of(answer, 429, "too_many_requests")
    assert (error["details"], answer.headers["Retry-After"]) == ({"limit": 5}, "7")


async def test_a_store_that_is_not_there_is_503_for_a_moment(failing):
    answer = await answer_to(failing, StoreStopped())
    await error_of(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1"


async def test_an_event_that_could_not_be_stored_is_503_and_logged(failing):
    failure = AppendFailed("01J")
    failure.__cause__ = OSError("disk full")
    with structlog.testing.capture_logs() as logs:
        error = await error_of(await answer_to(failing, failure), 503, "not_stored")
    assert "send it again" in error["message"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["event_not_stored"]


def test_every_code_of_ours_has_a_name_of_its_own():
    assert len(set(CODES.values())) == len(CODES)
