"""WebSockets of plain handlers, through ASGI's events, on our server."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect as ws_connect

from .harness import (
    close_code,
    connect,
    get,
    http,
    make_app,
    masked,
    open_websocket,
    read_all,
    read_to_end,
    running,
    until,
    upgrade,
    vanish,
)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def test_text_and_binary_come_back() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as client:
        for message in ("hello", "grüße", b"\x00\xff", "x" * 60_000):
            await client.send(message)
            assert await client.recv() == message


async def test_fragments_with_a_ping_between_them() -> None:
    async with running(make_app().quart) as server, await open_websocket(server.port, "/ws/plain") as client:
        # The character is cut in two, which is allowed (RFC 6455 section 5.6).
        first, second = "grü".encode()[:3], "grü".encode()[3:]
        await client.send_all(masked(TEXT, first, fin=False) + masked(PING, b"?") + masked(0, second))
        expected = b"\x8a\x01?" + b"\x81\x04" + "grü".encode()
        assert await read_exactly(client, len(expected)) == expected


async def read_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


async def test_empty_fragments_are_not_kept() -> None:
    async with running(make_app().quart) as server, await open_websocket(server.port, "/ws/plain") as client:
        await client.send_all(masked(TEXT, b"", fin=False) + masked(0, b"", fin=False) * 100 + masked(0, b"!"))
        assert await client.receive_some() == b"\x81\x01!"


async def test_the_handler_closes_with_its_code_and_reason() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/close/4404")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4404, "as asked")


@pytest.mark.parametrize("path", ["/ws/fail", "/ws/fail-wire"])
async def test_a_handler_that_fails_closes_with_1011(path: str) -> None:
    async with running(make_app().quart) as server, ws_connect(server.url(path)) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011


@pytest.mark.parametrize("asgi", [True, False])
async def test_an_application_that_fails_closes_with_1011(asgi: bool) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if not asgi:
            scope["extensions"]["realtime.wire"].take()
        await send({"type": "websocket.accept"})
        raise RuntimeError("on purpose")

    async with running(failing, fails=True) as server, ws_connect(server.url("/x")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011
    assert [(line["event"], line["path"]) for line in server.log] == [("application failed", "/x")]


async def test_other_connections_do_not_notice() -> None:
    async with running(make_app().quart) as server, ws_connect(server.url("/ws/plain")) as bystander:
        for path in ("/ws/fail", "/ws/fail-wire"):
            async with ws_connect(server.url(path)) as client:
                with pytest.raises(ConnectionClosed):
                    await client.recv()
        await bystander.send("still here")
        assert await bystander.recv() == "still here"


# --- the handshake --------------------------------------------------------------------------------------------


async def test_a_refusal_has_its_status_and_its_body() -> None:
    async with running(make_app().quart) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with ws_connect(server.url("/ws/forbidden")):
                pass
        assert caught.value.response.status_code == 403
        assert caught.value.response.body == b'{"error":{"code":"forbidden","details":{},"message":"no"}}\n'
        answer = await http(server.port, upgrade("/ws/forbidden"))
        assert b"connection: close" in answer.lower()


async def test_a_refusal_is_no_failure() -> None:
    async with running(make_app().quart) as server:
        assert (await http(server.port, upgrade("/ws/forbidden"))).startswith(b"HTTP/1.1 403")
        assert (await http(server.port, upgrade("/ws/nowhere"))).startswith(b"HTTP/1.1 404")
        await until(lambda: server.open == 0)
    assert server.log == []


async def test_a_path_that_is_not_there() -> None:
    async with running(make_app().quart) as server:
        assert (await http(server.port, upgrade("/ws/nowhere"))).startswith(b"HTTP/1.1 404")


async def test_closed_before_it_was_accepted_is_403() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async with running(refusing) as server:
        answer = await http(server.port, upgrade("/"))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b'{"error":{"code":"forbidden"' in answer


async def test_not_answered_at_all_is_500() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    async with running(silent) as server:
        answer = await http(server.port, upgrade("/"))
    assert answer.startswith(b"HTTP/1.1 500")


async def test_another_version_is_told_ours() -> None:
    async with running(make_app().quart) as server:
        answer = await http(server.port, upgrade("/ws/plain").replace(b"Version: 13", b"Version: 12"))
    assert answer.startswith(b"HTTP/1.1 426")
    assert b"sec-websocket-version: 13" in answer.lower()
    assert b'"message":"the version of WebSocket that is spoken here is 13; ask for that one alone"' in answer


@pytest.mark.parametrize(
    ("request_bytes", "told"),
    [
        (upgrade("/ws/plain").replace(b"Sec-WebSocket-Key", b"X"), "the request has to have one Sec-WebSocket-Key"),
        (upgrade("/ws/plain", "Sec-WebSocket-Key: a"), "the request has to have one Sec-WebSocket-Key"),
        (
            upgrade("/ws/plain").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl"),
            "Sec-WebSocket-Key has to be 16 bytes in base64",
        ),
        (
            upgrade("/ws/plain").replace(b"Sec-WebSocket-Version", b"X"),
            "the request has to have a Sec-WebSocket-Version",
        ),
        (upgrade("/ws/plain").replace(b"HTTP/1.1", b"HTTP/1.0"), "a WebSocket needs HTTP/1.1"),
        (
            upgrade("/ws/plain", "Sec-WebSocket-Protocol: \xff"),
            "Sec-WebSocket-Protocol and Sec-WebSocket-Extensions have to be ASCII",
        ),
        (upgrade("/ws/plain") + masked(TEXT, b"too early"), "frames came before the handshake was answered"),
    ],
)
async def test_a_bad_handshake_is_400_and_told_what_is_wrong(request_bytes: bytes, told: str) -> None:
    app = make_app()
    async with running(app.quart) as server:
        answer = await http(server.port, request_bytes)
        await until(lambda: server.open == 0)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'{"error":{"code":"bad_request","message":"%b"' % told.encode() in answer


async def test_frames_before_the_answer_end_the_handshake_and_the_handler_learns() -> None:
    events: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        events.append(await receive())
        arrived.set()
        await release.wait()
        await send({"type": "websocket.accept"})  # nothing comes of it
        events.append(await receive())

    arrived, release = trio.Event(), trio.Event()
    async with running(slow) as server, await connect(server.port) as client:
        await client.send_all(upgrade("/"))
        await arrived.wait()
        await client.send_all(masked(TEXT, b"too early"))
        assert (await client.receive_some()).startswith(b"HTTP/1.1 400")
        release.set()
        await client.aclose()
        await until(lambda: server.open == 0)
    assert [event["type"] for event in events] == ["websocket.connect", "websocket.disconnect"]


async def test_a_subprotocol_is_agreed_on() -> None:
    async def agreeing(scope: Any, receive: Any, send: Any) -> None:
        assert scope["subprotocols"] == ["a", "b"]
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-more", b"1")]})
        await receive()
        await receive()

    protocols: Any = ["a", "b"]
    async with running(agreeing) as server, ws_connect(server.url("/"), subprotocols=protocols) as client:
        assert client.subprotocol == "b"
        assert client.response is not None
        assert client.response.headers["x-more"] == "1"


async def test_compression_is_not_agreed_on() -> None:
    async with running(make_app().quart) as server, await connect(server.port) as client:
        await client.send_all(upgrade("/ws/plain", "Sec-WebSocket-Extensions: permessage-deflate"))
        answer = await client.receive_some()
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in answer.lower()


async def test_an_upgrade_to_something_else_is_an_ordinary_request() -> None:
    async with running(make_app().quart) as server:
        answer = await http(server.port, get("/", "Upgrade: other", "Connection: upgrade, close"))
    assert answer.startswith(b"HTTP/1.1 200")


async def test_only_get_becomes_a_websocket() -> None:
    async with running(make_app().quart) as server:
        answer = await http(server.port, upgrade("/", "Connection: close").replace(b"GET", b"PUT"))
    assert answer.startswith(b"HTTP/1.1 405")


async def test_an_answer_over_http_may_come_in_parts() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"one", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"two"})

    async with running(refusing) as server:
        answer = await http(server.port, upgrade("/"))
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"one" in answer
    assert b"two" in answer


# --- what the peer does wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(3), 1002),
        (masked(TEXT, b"x", rsv=4), 1002),
        (b"\x81\x01x", 1002),
        (masked(0, b"no beginning"), 1002),
        (masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"), 1002),
        (masked(PING, b"x", fin=False), 1002),
        (masked(CLOSE, b"\x03"), 1002),
        (masked(CLOSE, b"\x03\xed"), 1002),
        (masked(TEXT, b"\xff"), 1007),
        (masked(CLOSE, b"\x03\xe8\xff"), 1007),
        (masked(TEXT, b"x" * 1001), 1009),
        (masked(TEXT, b"x" * 501, fin=False) + masked(0, b"x" * 500), 1009),
        (masked(TEXT, "ü".encode() * 501), 1009),
    ],
    ids=[
        "opcode",
        "reserved bit",
        "unmasked",
        "continues nothing",
        "message in a message",
        "fragmented control frame",
        "close of one byte",
        "reserved close code",
        "bad utf-8",
        "bad utf-8 in close",
        "too big",
        "too big in fragments",
        "too big in bytes",
    ],
)
async def test_a_broken_rule_is_answered_with_its_code(path: str, sent: bytes, code: int) -> None:
    async with running(make_app().quart, max_message_bytes=1000) as server:
        async with await open_websocket(server.port, path) as client:
            await client.send_all(sent)
            with trio.fail_after(1):  # the end follows at once: there is no answer to wait for
                assert close_code(await read_to_end(client)) == code
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_exactly_as_much_as_allowed_is_allowed(path: str) -> None:
    async with running(make_app().quart, max_message_bytes=1000) as server, ws_connect(server.url(path)) as client:
        await client.send("ü" * 500)
        assert await client.recv() == "ü" * 500


async def test_a_huge_message_is_refused_before_it_has_arrived() -> None:
    """And the Close frame reaches a client that is still sending it."""
    async with running(make_app().quart, max_message_bytes=1000) as server:
        client = await open_websocket(server.port, "/ws/plain")
        async with client:
            await client.send_all(masked(TEXT, b"x" * 2_000_000))
            assert close_code(await read_to_end(client)) == 1009


async def test_what_follows_a_close_frame_does_not_count() -> None:
    async with running(make_app().quart) as server, await open_websocket(server.port, "/ws/plain") as client:
        await client.send_all(masked(CLOSE, b"\x0f\xa0bye") + masked(TEXT, b"late") + masked(3))
        assert await read_to_end(client) == b"\x88\x05\x0f\xa0bye"


async def test_a_close_frame_without_a_code_is_answered_with_one_like_it() -> None:
    async with running(make_app().quart) as server, await open_websocket(server.port, "/ws/plain") as client:
        await client.send_all(masked(CLOSE))
        assert await read_to_end(client) == b"\x88\x00"


# --- leaving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire", "/ws/deaf", "/ws/pour", "/ws/flood"])
async def test_a_client_that_vanishes_ends_its_handler(path: str, how: str) -> None:
    app = make_app()
    async with running(app.quart) as server:
        client = await open_websocket(server.port, path)
        await app.opened.wait()
        await vanish(client, how)
        with trio.fail_after(1):
            await app.ended.wait()
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_handler_that_does_not_receive_learns_it_behind_any_number_of_messages(how: str) -> None:
    app = make_app()
    async with running(app.quart, disconnect_grace=0.1) as server:
        client = await open_websocket(server.port, "/ws/deaf")
        await client.send_all(masked(TEXT, b"unread") * 1000)
        await wait_all_tasks_blocked()
        await vanish(client, how)
        with trio.fail_after(1):
            await app.ended.wait()
        await until(lambda: server.open == 0)


async def test_messages_before_the_end_are_received_by_whoever_is_slow() -> None:
    received: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while not received or received[-1]["type"] != "websocket.disconnect":
            await trio.sleep(0.001)
            received.append(await receive())

    async with running(slow) as server:
        async with await open_websocket(server.port, "/") as client:
            await client.send_all(masked(TEXT, b"m") * 100 + masked(CLOSE, b"\x0f\xa1so"))
            await read_all(client)
        await until(lambda: server.open == 0)
    assert [event["type"] for event in received] == ["websocket.receive"] * 100 + ["websocket.disconnect"]
    assert (received[-1]["code"], received[-1]["reason"]) == (4001, "so")


async def test_a_client_outruns_a_handler_that_does_not_receive_only_so_far() -> None:
    """What is read ahead is bounded, so the client feels that nobody listens."""
    async with running(make_app().quart) as server, await open_websocket(server.port, "/ws/deaf") as client:
        with trio.move_on_after(0.2) as sending:
            await client.send_all(masked(TEXT, b"x" * 60_000) * 500)
        assert sending.cancelled_caught
        await server.stop(0)


async def test_after_the_end_sending_does_nothing_but_yields() -> None:
    done = trio.Event()

    async def talking(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        for _ in range(3):
            with assert_checkpoints():
                await send({"type": "websocket.send", "text": "too late"})
        done.set()

    async with running(talking) as server:
        client = await open_websocket(server.port, "/")
        await client.aclose()
        with trio.fail_after(1):
            await done.wait()


async def test_what_is_no_message_is_refused() -> None:
    failures: list[Exception] = []

    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        for event in ({"type": "websocket.send", "text": 7}, {"type": "websocket.unknown"}):
            try:
                await send(event)
            except Exception as error:
                failures.append(error)

    async with running(wrong) as server, ws_connect(server.url("/")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert "must carry text (str) or bytes, not 7" in str(failures[0])
    assert "websocket.unknown" in str(failures[1])


# --- being stopped --------------------------------------------------------------------------------------------


async def test_a_plain_handler_s_client_is_told_when_to_come_back() -> None:
    app = make_app()
    async with running(app.quart) as server, ws_connect(server.url("/ws/plain")) as client:
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 5)
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert trio.current_time() - begun < 1
        assert client.close_code == 1012
        assert client.close_reason is not None
        assert client.close_reason.startswith("retry-after=")
        assert app.ended.is_set()


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_one_that_is_cancelled_is_told_too(path: str) -> None:
    app = make_app()
    async with running(app.quart) as server, ws_connect(server.url(path)) as client:
        await app.opened.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop, 0)
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert client.close_code == 1012


async def test_one_that_stops_during_its_handshake_is_told_after_it() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        arrived.set()
        await release.wait()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    arrived, release = trio.Event(), trio.Event()
    async with running(slow) as server, await connect(server.port) as client, trio.open_nursery() as nursery:
        await client.send_all(upgrade("/"))
        await arrived.wait()
        nursery.start_soon(server.stop, 2)
        await wait_all_tasks_blocked()
        release.set()
        answer = await read_until_close(client)
        assert b"101" in answer
        assert b"\x03\xf4retry-after=" in answer


async def read_until_close(client: trio.SocketStream) -> bytes:
    """What comes until the server's Close frame, which is then answered."""
    data = b""
    while b"retry-after" not in data:
        data += await client.receive_some()
    await client.send_all(masked(CLOSE, b"\x03\xf4"))
    await read_all(client)
    return data


async def test_a_client_that_does_not_read_cannot_hold_up_the_stop() -> None:
    app = make_app()
    async with running(app.quart) as server, await open_websocket(server.port, "/ws/pour", receive_buffer=4096):
        await app.opened.wait()
        await wait_all_tasks_blocked(0.01)  # the socket takes no more
        begun = trio.current_time()
        await server.stop(0.2)
        assert trio.current_time() - begun < 0.6


async def test_a_client_that_does_not_read_is_let_go_after_the_write_deadline() -> None:
    app = make_app()
    async with running(app.quart, write_timeout=0.1) as server:
        client = await open_websocket(server.port, "/ws/pour", receive_buffer=4096)
        async with client:
            with trio.fail_after(1):
                await app.ended.wait()
            await until(lambda: server.open == 0)


async def test_pongs_to_a_client_that_does_not_read_are_given_up_too() -> None:
    app = make_app()
    async with running(app.quart, write_timeout=0.1, max_frames_per_second=1e9) as server:
        client = await open_websocket(server.port, "/ws/deaf", receive_buffer=4096)
        async with client:
            with trio.fail_after(2), pytest.raises(trio.BrokenResourceError):
                while True:
                    await client.send_all(masked(PING, b"x" * 100) * 1000)
            await until(lambda: server.open == 0)


# --- being flooded --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
@pytest.mark.parametrize(
    "flood",
    [
        masked(PING, b"?") * 30,
        masked(PONG) * 30,
        masked(TEXT, b"", fin=False) + masked(0, b"", fin=False) * 30,
        masked(TEXT, b"x", fin=False) + masked(0, b"x", fin=False) * 30,
        (masked(TEXT, b"x", fin=False) + masked(0)) * 15,
    ],
    ids=["pings", "pongs", "empty fragments", "small fragments", "messages in two"],
)
async def test_more_control_frames_and_fragments_than_allowed_close_with_4429(path: str, flood: bytes) -> None:
    async with running(make_app().quart, max_frames_per_second=20) as server:
        async with await open_websocket(server.port, path) as client:
            await client.send_all(flood)
            assert close_code(await read_to_end(client)) == 4429
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire"])
async def test_whole_messages_are_not_counted_as_frames(path: str) -> None:
    async with running(make_app().quart, max_frames_per_second=20) as server, ws_connect(server.url(path)) as client:
        for number in range(50):
            await client.send(str(number))
        assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]
