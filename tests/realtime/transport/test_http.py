"""HTTP/1.1 through our server: what Hypercorn does, with deadlines, JSON errors and an end."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from .harness import connect, get, http, make_app, read_all, read_to_end, reset, running, until, vanish


async def read_response(stream: trio.abc.ReceiveStream) -> bytes:
    """One response with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
    while len(body) < length:
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_several_requests_on_one_connection() -> None:
    async with running(make_app().quart) as server, await connect(server.port) as client:
        for _ in range(3):
            await client.send_all(get("/"))
            assert (await read_response(client)).endswith(b'{"hello":"world"}\n')
        assert server.admission.statistics().accepted == 1


async def test_a_body_arrives_whole_and_the_answer_too() -> None:
    body = b"0123456789" * 50_000
    async with running(make_app().quart) as server:
        answer = await http(server.port, post("/echo", body, "Connection: close"))
    assert answer.endswith(b"\r\n\r\n" + body)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running(make_app().quart) as server:
        both = post("/echo", b"first") + post("/echo", b"second", "Connection: close")
        answer = await http(server.port, both)
    assert answer.index(b"first") < answer.index(b"second")


async def test_a_request_of_two_lengths_is_the_last_of_its_connection() -> None:
    """RFC 9112 section 6.1: what follows may be what somebody before us took for a part of it."""
    body = b"5\r\nfirst\r\n0\r\n\r\n"
    async with running(make_app().quart) as server:
        request = post("/echo", body, "Transfer-Encoding: chunked")
        answer = await http(server.port, request + get("/"))
        await until(lambda: server.open == 0)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answer
    assert answer.endswith(b"\r\n\r\nfirst")


async def test_the_end_is_told_each_time() -> None:
    """Quart cancels a request's task once it is over, also while that is closing the connection."""
    async with running(make_app().quart) as server:
        for _ in range(50):
            with trio.fail_after(1):
                assert b"200" in await http(server.port, get("/", "Connection: close"))
        await until(lambda: server.open == 0)


async def test_the_server_does_not_name_itself() -> None:
    async with running(make_app().quart) as server:
        answer = await http(server.port, get("/", "Connection: close"))
    assert b"\r\nserver:" not in answer.lower()


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"nonsense\r\n\r\n", b"400", b"bad_request"),
        (get("/", "X: " + "x" * 100_000)[:-4], b"431", b"headers_too_large"),
    ],
)
async def test_what_is_no_request_is_answered_in_json(request_bytes: bytes, status: bytes, code: bytes) -> None:
    async with running(make_app().quart) as server:
        answer = await http(server.port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'{"error":{"code":"' + code in answer


@pytest.mark.parametrize(
    ("request_bytes", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the request has no Host header"),
        (get("/", "Host: elsewhere"), "the request has more than one Host header"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "this port speaks HTTP without TLS, and what came is TLS"),
        (b"nonsense\r\n\r\n", "what came begins with no request line of HTTP/1.1"),
        (get("/", "no colon"), "a line among the headers is no header"),
        (get("/", "Content-Length: x"), "the request is not as HTTP/1.1 has it: bad Content-Length"),
    ],
)
async def test_what_is_no_request_is_told_what_is_wrong(request_bytes: bytes, told: str) -> None:
    async with running(make_app().quart) as server:
        answer = await http(server.port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error == {"code": "bad_request", "message": told, "details": {}}


async def test_an_application_without_an_answer_is_answered_for_in_json() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async with running(silent) as server:
        answer = await http(server.port, get("/"))
    assert answer.startswith(b"HTTP/1.1 500")
    assert b'{"error":{"code":"internal_error","message":"Internal Server Error","details":{}}}' in answer


async def test_an_application_that_raises_is_logged_with_its_connection() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("on purpose")

    async with running(failing, fails=True) as server:
        answer = await http(server.port, get("/some/where"))
        assert b"500" in answer.split(b"\r\n")[0]
        assert b"500" in (await http(server.port, get("/")))
    lines = [(line["event"], line["path"], line["connection_id"], line["log_level"]) for line in server.log]
    assert lines == [
        ("application failed", "/some/where", "c1", "error"),
        ("application failed", "/", "c2", "error"),
    ]
    assert repr(server.log[0]["exc_info"].exceptions[0]) == "RuntimeError('on purpose')"


async def test_an_answer_cut_short_by_a_failure_does_not_look_whole() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("on purpose")

    async with running(failing, fails=True) as server:
        answer = await http(server.port, get("/"))
    assert b"half" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_a_client_still_sending_gets_its_answer() -> None:
    """Closing with unread data would reset the connection, and the answer might be lost with it."""

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"big"})

    async with running(refuse) as server, await connect(server.port) as client:
        await client.send_all(post("/", b"")[:-4].replace(b"Length: 0", b"Length: 99999999") + b"\r\n\r\n")
        await client.send_all(b"x" * 3_000_000)
        answer = await read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"big")


async def test_a_client_that_goes_on_sending_is_not_listened_to_for_ever() -> None:
    async with running(make_app().quart, close_timeout=0.1) as server, await connect(server.port) as client:
        await client.send_all(b"nonsense\r\n\r\n")
        with trio.fail_after(2), pytest.raises(trio.BrokenResourceError):
            while True:
                await client.send_all(b"x" * 10_000)
        await until(lambda: server.open == 0)


# --- deadlines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: "])
async def test_slow_headers_are_not_waited_for(begin: bytes) -> None:
    async with running(make_app().quart, handshake_timeout=0.1) as server, await connect(server.port) as client:
        await client.send_all(begin)
        with trio.fail_after(1):
            assert await read_all(client) == b""


async def test_trickling_headers_are_not_waited_for_either() -> None:
    async with running(make_app().quart, handshake_timeout=0.15) as server, await connect(server.port) as client:
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for byte in get("/", "X: " + "x" * 1000):
                await client.send_all(bytes([byte]))
                await trio.sleep(0.02)
        assert trio.current_time() - begun < 1


async def test_slow_headers_of_a_later_request_are_not_waited_for() -> None:
    async with running(make_app().quart, handshake_timeout=0.1) as server, await connect(server.port) as client:
        await client.send_all(get("/"))
        await read_response(client)
        await client.send_all(b"GET / HT")
        with trio.fail_after(1):
            assert await read_all(client) == b""


async def test_an_idle_connection_is_closed() -> None:
    async with running(make_app().quart, keep_alive_timeout=0.1) as server, await connect(server.port) as client:
        await client.send_all(get("/"))
        await read_response(client)
        with trio.fail_after(1):
            assert await read_all(client) == b""
        await until(lambda: server.open == 0)


async def test_a_running_request_has_no_such_deadline() -> None:
    app = make_app()
    limits = {"keep_alive_timeout": 0.05, "handshake_timeout": 0.05}
    async with running(app.quart, **limits) as server, await connect(server.port) as client:
        await client.send_all(get("/wait"))
        await trio.sleep(0.2)  # longer than both
        app.release.set()
        assert b"waited" in await read_response(client)


async def test_a_client_that_does_not_read_its_answer_is_reset() -> None:
    async with running(make_app().quart, write_timeout=0.1) as server:
        client = await connect(server.port, receive_buffer=4096)
        async with client:
            await client.send_all(get("/endless"))
            await until(lambda: server.open == 1)
            await until(lambda: server.open == 0)


# --- leaving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipelined", [b"", get("/")])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_ends_its_request(pipelined: bytes, how: str) -> None:
    app = make_app()
    async with running(app.quart) as server:
        client = await connect(server.port)
        await client.send_all(get("/wait") + pipelined)
        await app.opened.wait()
        await wait_all_tasks_blocked()
        await vanish(client, how)
        await until(lambda: server.open == 0)


async def test_a_client_that_leaves_in_its_body_is_noticed_by_an_application_that_does_not_read() -> None:
    events = []

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        while not events or events[-1]["type"] != "http.disconnect":
            events.append(await receive())
        events.append(await receive())

    release = trio.Event()
    async with running(deaf) as server:
        client = await connect(server.port)
        await client.send_all(post("/", b"")[:-4].replace(b"Length: 0", b"Length: 9999999") + b"\r\n\r\n")
        with trio.move_on_after(0.1):
            await client.send_all(b"x" * 9_000_000)
        await client.aclose()
        await wait_all_tasks_blocked()  # the server has seen it
        release.set()
        await until(lambda: server.open == 0)
    assert [event["type"] for event in events[-2:]] == ["http.disconnect"] * 2
    assert len(events) < 20


async def test_an_application_that_only_sends_does_not_spin_when_nobody_is_left() -> None:
    rounds = 0

    async def spin(scope: Any, receive: Any, send: Any) -> None:
        nonlocal rounds
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while rounds < 1_000_000:
            rounds += 1
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async with running(spin, disconnect_grace=0.1) as server:
        client = await connect(server.port)
        await client.send_all(get("/"))
        await client.receive_some()
        reset(client)
        await until(lambda: server.open == 0)
    assert rounds < 1_000_000


# --- being stopped --------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_a_moment_after_it_was_asked_to_stop() -> None:
    async with running(make_app().quart, last_request=0.3) as server, await connect(server.port) as client:
        await client.send_all(get("/"))
        await read_response(client)
        begun = trio.current_time()
        await server.stop(5)
        assert 0.3 <= trio.current_time() - begun < 0.8
        assert await read_to_end(client) == b""


@pytest.mark.parametrize("requests_before", [0, 1])
async def test_a_request_that_comes_in_that_moment_is_answered_as_the_last(requests_before: int) -> None:
    """Nobody who has just connected, or just been answered, finds the connection closed when it asks."""
    async with running(make_app().quart) as server, await connect(server.port) as client:
        await until(lambda: server.open == 1)
        for _ in range(requests_before):
            await client.send_all(get("/"))
            await read_response(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            await until(lambda: server.tree.find("server").state == "stopped")
            await client.send_all(get("/"))
            answer = await read_to_end(client)
            await client.aclose()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


async def test_a_request_that_only_begins_in_that_moment_does_not_make_it_longer() -> None:
    async with running(make_app().quart, last_request=0.3) as server, await connect(server.port) as client:
        await client.send_all(get("/"))
        await read_response(client)
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            await until(lambda: server.tree.find("server").state == "stopped")
            await client.send_all(b"GET / HT")
            await read_all(client)
        assert trio.current_time() - begun < 0.8


async def test_a_running_request_is_finished_first() -> None:
    app = make_app()
    async with running(app.quart) as server, await connect(server.port) as client:
        await client.send_all(get("/wait"))
        await app.opened.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            await until(lambda: server.tree.find("server").state == "stopped")
            app.release.set()
            answer = await read_to_end(client)
            await client.aclose()
    assert b"waited" in answer
    assert b"connection: close" in answer.lower()


async def test_a_request_that_does_not_end_is_cancelled_in_time() -> None:
    app = make_app()
    async with running(app.quart) as server, await connect(server.port) as client:
        await client.send_all(get("/wait"))
        await app.opened.wait()
        await server.stop(0.1)
        assert await read_all(client) == b""


async def test_an_endless_answer_to_a_client_that_does_not_read_is_cancelled_in_time() -> None:
    async with running(make_app().quart) as server, await connect(server.port, receive_buffer=4096) as client:
        await client.send_all(get("/endless"))
        await until(lambda: server.open == 1)
        await wait_all_tasks_blocked(0.01)  # the socket takes no more
        begun = trio.current_time()
        await server.stop(0.1)
        assert trio.current_time() - begun < 0.5
