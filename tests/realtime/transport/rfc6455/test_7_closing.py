"""Section 7: how a connection is closed, by either side, and what the codes mean."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from realtime.delivery.wire import PeerClosed, PeerMisbehaved

from ..harness import connect, make_app, reset, until
from .kit import CLOSE, PING, TEXT, Client, close, closed, frame, heard_in, serving, shake_hands, talking

DEFINED = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
"""By the RFC, and with IANA since."""
OWN = [3000, 3001, 3999, 4000, 4001, 4999]
"""7.4.2: for libraries and for private use."""
NEVER = [1004, 1005, 1006, 1015]
"""7.4.1: must not be set in a Close frame."""
UNDEFINED = [0, 1, 999, 1016, 1100, 2000, 2999, 5000, 65_535]
NEITHER = (1006).to_bytes(2)


# --- the client closes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DEFINED + OWN)
@pytest.mark.parametrize("reason", [b"", b"bye"])
async def test_7_4_a_valid_code_is_echoed_and_the_server_ends_the_connection(way, code, reason):
    async with talking(way) as client:
        await client.send(close(code, reason))
        await client.hear_end(closed(code, reason))


@pytest.mark.parametrize("code", NEVER + UNDEFINED)
async def test_7_4_a_code_that_must_not_be_sent_is_a_protocol_error(way, code):
    async with talking(way) as client:
        await client.send(close(code))
        await client.hear_failure(1002)


async def test_7_1_5_a_close_without_a_code_is_answered_without_one(way):
    async with talking(way) as client:
        await client.send(close())
        await client.hear_end(closed())


async def test_5_5_1_a_body_of_one_byte_is_a_protocol_error(way):
    async with talking(way) as client:
        await client.send(frame(CLOSE, b"\x03"))
        await client.hear_failure(1002)


async def test_5_5_1_the_longest_reason_comes_back_whole(way):
    async with talking(way) as client:
        await client.send(close(1000, b"x" * 123))
        await client.hear_end(closed(1000, b"x" * 123))


async def test_5_5_1_what_was_asked_before_the_close_is_answered_before_it(way):
    async with talking(way) as client:
        await client.send(frame(TEXT, b"last"))
        await client.hear(way.echo(TEXT, b"last"))
        await client.send(close(1000))
        await client.hear_end(closed(1000))


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [(close(4001, b"bye"), 4001, "bye"), (close(1000), 1000, ""), (close(), 1005, ""), (frame(3), 1002, None)],
    ids=["code and reason", "code", "neither", "protocol error"],
)
async def test_7_1_5_the_application_is_told_code_and_reason(way, sent, code, reason):
    told: list[tuple[int, str]] = []
    app = make_app()

    async def listening(scope: Any, receive: Any, send: Any, *more: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        end = await receive()
        told.append((end["code"], end["reason"]))

    wired = way.path == "/ws/wire"
    async with serving(app.quart if wired else listening) as server, await connect(server.port) as stream:
        await shake_hands(stream, way.path)
        await Client(stream, way.byte_by_byte).send(sent)
        await until(lambda: app.seen or told)
        while await stream.receive_some():
            pass
    for end in app.seen:
        assert isinstance(end, PeerClosed | PeerMisbehaved)
        told.append((end.code, end.reason))
    ((told_code, told_reason),) = told
    assert told_code == code
    assert told_reason if reason is None else told_reason == reason


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_7_1_5_an_end_without_a_close_frame_is_1006(how):
    app = make_app()
    async with serving(app.quart) as server:
        stream = await connect(server.port)
        await shake_hands(stream, "/ws/wire")
        if how == "close":
            await stream.aclose()
        else:
            reset(stream)
        await until(lambda: app.seen)
    (end,) = app.seen
    assert isinstance(end, PeerClosed)
    assert end.code == 1006


# --- the server closes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 1012, 1013, 1014, 3000, 4000, 4404, 4999])
@pytest.mark.parametrize("answer", [None, 1000, 4999], ids=["same", "done", "another"])
async def test_7_1_2_the_server_begins_and_ends_when_it_is_answered(code, answer):
    async with serving(close_timeout=5) as server, await connect(server.port) as stream:
        await shake_hands(stream, f"/ws/close/{code}")
        client = Client(stream)
        await client.hear(closed(code, b"as asked"))
        await client.send(close(answer or code))
        with trio.fail_after(1):
            await client.hear_end()


@pytest.mark.parametrize(
    "crossing",
    [
        frame(TEXT, b"on its way"),
        frame(PING, b"?"),
        frame(TEXT, b"half", fin=False),
        b"".join(frame(TEXT, b"%d" % number) for number in range(100)),
    ],
    ids=["message", "ping", "fragment", "many messages"],
)
async def test_7_1_6_what_crosses_its_close_frame_is_borne_and_not_answered(crossing):
    async with serving(close_timeout=5) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/ws/close/4000")
        client = Client(stream)
        await client.send(crossing + close(4000))
        with trio.fail_after(1):
            await client.hear_end(closed(4000, b"as asked"))


async def test_both_close_at_once():
    """Each frame answers the other; neither is answered again."""
    release = trio.Event()

    async def waiting(scope: Any, receive: Any, send: Any, *more: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await release.wait()
        await send({"type": "websocket.close", "code": 4000})

    async with serving(waiting, close_timeout=5) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/")
        await stream.send_all(close(4001))
        release.set()  # before the server has read it
        data = b""
        while chunk := await stream.receive_some():
            data += chunk
        ((opcode, payload),) = heard_in(data)
        assert opcode == CLOSE
        assert int.from_bytes(payload) in (4000, 4001)


async def test_a_client_that_does_not_answer_is_not_waited_for_longer_than_the_deadline():
    async with serving(close_timeout=0.1) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/ws/close/4000")
        begun = trio.current_time()
        await Client(stream).hear_end(closed(4000, b"as asked"))
        assert trio.current_time() - begun < 1


async def test_a_client_that_goes_on_talking_is_not_listened_to_for_longer_either():
    async with serving(close_timeout=0.1) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/ws/close/4000")
        with trio.fail_after(2), pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(frame(TEXT, b"but"))
                await trio.sleep(0.01)


async def test_an_answer_that_breaks_the_rules_ends_it_too():
    async with serving(close_timeout=5) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/ws/close/4000")
        client = Client(stream)
        await client.hear(closed(4000, b"as asked"))
        await client.send(frame(CLOSE, b"\x03"))
        with trio.fail_after(1):
            await client.hear_end()


@pytest.mark.parametrize("code", [*NEVER, 999, 5000, 65_536, -1])
async def test_7_4_1_a_code_that_must_not_be_sent_is_not_even_if_the_application_says_so(code):
    failures: list[Exception] = []

    async def wrong(scope: Any, receive: Any, send: Any, *more: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            await send({"type": "websocket.close", "code": code})
        except ValueError as error:
            failures.append(error)

    async with serving(wrong, close_timeout=0.1) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/")
        await Client(stream).hear_end(closed(1011))
    assert "code must be one that RFC 6455 section 7.4 allows" in str(failures[0])


@pytest.mark.parametrize("reason", ["x" * 123, "x" * 200, "ü" * 62, "\U0001f600" * 31])
async def test_5_5_1_a_reason_of_ours_is_cut_between_two_characters(reason):
    async def saying(scope: Any, receive: Any, send: Any, *more: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000, "reason": reason})

    async with serving(saying, close_timeout=0.1) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/")
        data = b""
        while chunk := await stream.receive_some():
            data += chunk
    ((_, payload),) = heard_in(data)
    assert reason.startswith(payload[2:].decode())
    assert len(payload) in range(2 + 120, 2 + 124)


# --- who ends the connection ----------------------------------------------------------------------------------


async def test_7_1_1_the_server_is_the_one_to_end_tcp(way):
    """So that TIME_WAIT stays with it; the client can go on reading until then."""
    async with talking(way, close_timeout=0.2) as client:
        await client.send(close(1000))
        await client.hear_end(closed(1000))  # without closing our own side
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await client.stream.send_all(b"x")
                await trio.sleep(0.01)


async def test_7_1_7_a_failed_connection_ends_although_the_client_goes_on_sending(way):
    async with talking(way, close_timeout=0.2) as client:
        with trio.fail_after(3), pytest.raises(trio.BrokenResourceError):
            while True:
                await client.stream.send_all(frame(3) + frame(TEXT, b"x" * 1000))
                await trio.sleep(0.01)
