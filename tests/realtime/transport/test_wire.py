"""The wire of our own server: frames out, messages in, and every way in which it can end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from quart import websocket
from quart_trio import QuartTrio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect as ws_connect

from realtime.delivery import frames
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, WriteStalled, ping_payload
from realtime.transport import SocketWire, WebsocketConnection, open_wire

from .harness import HOST, close_code, masked, open_websocket, read_all, read_to_end, reset, running, until

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


@attrs.define
class Ends:
    """Our wire, the client's socket, and the handler between them, which does nothing."""

    wire: SocketWire
    client: trio.SocketStream
    server: Any
    done: trio.Event
    """Lets the handler return."""


@asynccontextmanager
async def ends(receive_buffer: int | None = None, **settings: Any) -> AsyncIterator[Ends]:
    """A wire whose owner is the test."""
    quart = QuartTrio("tests")
    quart.asgi_websocket_class = WebsocketConnection
    send, receive = trio.open_memory_channel[Any](1)
    done = trio.Event()

    @quart.websocket("/ws")
    async def handler() -> None:
        send.send_nowait(await open_wire(websocket))
        await done.wait()

    async with running(quart, **settings) as server:
        client = await open_websocket(server.port, "/ws", receive_buffer=receive_buffer)
        async with client:
            wire = await receive.receive()
            try:
                yield Ends(wire, client, server, done)
            finally:
                done.set()


async def test_several_frames_go_out_in_one_call() -> None:
    async with ends() as e:
        with assert_checkpoints():
            await e.wire.send([frames.text(b"one"), frames.text(b"two"), frames.ping(b"?")])
        assert await e.client.receive_some() == b"\x81\x03one\x81\x03two\x89\x01?"
        with assert_checkpoints():
            await e.wire.send([])


async def test_what_the_kernel_takes_goes_out_at_once_and_the_rest_before_all_else() -> None:
    async with ends(receive_buffer=4096) as e:
        whole = frames.text(b"x" * 8_000_000)
        write = e.wire.writer()
        assert write is not None
        taken = write(whole.data)
        assert 0 < taken < len(whole.data)
        rest = frames.rest(whole.data[taken:])
        e.wire.owe(rest)
        assert e.wire.writer() is None
        with pytest.raises(trio.BrokenResourceError, match="cut off"):
            await e.wire.send([frames.text(b"in between")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(e.wire.send, [rest, frames.text(b"after it")])
            received = b""
            while not received.endswith(b"after it"):
                received += await e.client.receive_some()
        assert received == whole.data + frames.text(b"after it").data
        write = e.wire.writer()
        assert write is not None
        assert write(frames.text(b"again").data) == 7


async def test_nothing_follows_half_a_frame_but_a_reset() -> None:
    async with ends(receive_buffer=4096) as e:
        whole = frames.text(b"x" * 8_000_000)
        write = e.wire.writer()
        assert write is not None
        taken = write(whole.data)
        e.wire.owe(frames.rest(whole.data[taken:]))
        await e.wire.aclose(1001)
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(e.client)


@pytest.mark.parametrize("end", ["aclose", "abort"])
async def test_what_was_handed_out_for_writing_is_of_no_use_after_the_end(end: str) -> None:
    async with ends() as e:
        await e.client.send_all(masked(CLOSE, b"\x03\xe8"))
        await until(lambda: e.wire.ended)
        write = e.wire.writer()
        assert write is not None
        if end == "abort":
            e.wire.abort()
        else:
            await e.wire.aclose(1001)
        with pytest.raises(OSError, match="Bad file descriptor"):
            write(frames.text(b"late").data)


async def test_messages_come_in_order_as_text_and_bytes() -> None:
    async with ends() as e:
        await e.client.send_all(masked(TEXT, "grüße".encode()) + masked(2, b"\xff") + masked(TEXT))
        with assert_checkpoints():
            assert await e.wire.receive() == "grüße"
        assert await e.wire.receive() == b"\xff"
        assert await e.wire.receive() == ""


async def test_it_knows_who_it_is() -> None:
    async with ends() as e:
        assert e.wire.address == HOST
        assert e.wire.id == "c1"
        assert e.wire.supports_frames
        assert not e.wire.stopping.is_set()


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with ends() as e:
        with trio.move_on_after(0.01):
            await e.wire.receive()
        await e.client.send_all(masked(TEXT, b"hello"))
        assert await e.wire.receive() == "hello"


# --- liveness -------------------------------------------------------------------------------------------------


async def test_any_byte_is_a_sign_of_life() -> None:
    async with ends() as e:
        before = e.wire.last_seen
        await e.client.send_all(masked(TEXT, b"hello")[:1])
        await until(lambda: e.wire.last_seen > before)


async def test_the_answer_to_our_ping_tells_the_round_trip_time() -> None:
    async with ends() as e:
        assert e.wire.rtt is None
        await e.client.send_all(masked(PONG, b"not ours"))
        await e.client.send_all(masked(PONG, ping_payload(trio.current_time() - 0.25)))
        await until(lambda: e.wire.rtt is not None)
        assert 0.25 <= (e.wire.rtt or 0) < 0.5


async def test_a_client_answers_our_ping() -> None:
    quart = QuartTrio("tests")
    answered = trio.Event()

    @quart.websocket("/ws")
    async def handler() -> None:
        wire = await open_wire(websocket)
        await wire.send([frames.ping(ping_payload(trio.current_time()))])
        await until(lambda: wire.rtt is not None)
        answered.set()
        await wire.aclose(1000)

    async with running(quart) as server, ws_connect(server.url("/ws")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert answered.is_set()


async def test_the_peer_s_pings_go_to_the_owner() -> None:
    async with ends() as e:
        pings: list[bytes] = []
        e.wire.on_ping = pings.append
        await e.client.send_all(masked(PING, b"one") + masked(PING, b"two"))
        await until(lambda: pings == [b"one", b"two"])
        await e.wire.send([frames.pong(b"two")])
        assert await e.client.receive_some() == b"\x8a\x03two"


async def test_without_an_owner_for_pings_they_are_answered_all_the_same() -> None:
    async with ends() as e:
        await e.client.send_all(masked(PING, b"one"))
        assert await e.client.receive_some() == b"\x8a\x03one"


# --- ends -----------------------------------------------------------------------------------------------------


async def test_the_peer_s_code_and_reason_arrive_after_its_messages() -> None:
    async with ends() as e:
        await e.client.send_all(masked(TEXT, b"last") + masked(CLOSE, b"\x0f\xa1bye"))
        assert await e.wire.receive() == "last"
        for _ in range(2):
            with pytest.raises(PeerClosed) as caught, assert_checkpoints():
                await e.wire.receive()
            assert (caught.value.code, caught.value.reason) == (4001, "bye")
        with pytest.raises(trio.BrokenResourceError), assert_checkpoints():
            await e.wire.send([frames.text(b"too late")])


async def test_the_peer_s_close_is_answered_with_its_own_code() -> None:
    async with ends() as e:
        await e.client.send_all(masked(CLOSE, b"\x0f\xa1bye"))
        with pytest.raises(PeerClosed):
            await e.wire.receive()
        await e.wire.aclose(1000, "ours does not matter")
        assert await read_to_end(e.client) == b"\x88\x05\x0f\xa1bye"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_peer_that_vanishes_is_1006(how: str) -> None:
    async with ends() as e:
        if how == "close":
            await e.client.aclose()
        else:
            reset(e.client)
        with pytest.raises(PeerClosed) as caught:
            await e.wire.receive()
        assert caught.value.code == 1006
        with pytest.raises(trio.BrokenResourceError):
            await e.wire.send([frames.text(b"too late")])


@pytest.mark.parametrize(("sent", "code"), [(masked(3), 1002), (masked(TEXT, b"\xff"), 1007)])
async def test_a_broken_rule_is_told_with_the_code_that_is_due(sent: bytes, code: int) -> None:
    async with ends() as e:
        await e.client.send_all(masked(TEXT, b"fine") + sent + masked(TEXT, b"ignored"))
        assert await e.wire.receive() == "fine"
        with pytest.raises(PeerMisbehaved) as caught:
            await e.wire.receive()
        assert caught.value.code == code
        async with trio.open_nursery() as nursery:
            nursery.start_soon(e.wire.aclose, 1000)  # what is due goes out, whatever is said here
            assert close_code(await read_to_end(e.client)) == code
            await e.client.aclose()


async def test_who_broke_a_rule_still_hears_what_was_on_its_way() -> None:
    """Its owner may be writing just then, and a write that failed would be taken for a peer that is gone."""
    async with ends() as e:
        await e.client.send_all(masked(3))
        with pytest.raises(PeerMisbehaved):
            await e.wire.receive()
        await e.wire.send([frames.text(b"on its way")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(e.wire.aclose, 1000)
            heard = await read_to_end(e.client)
            await e.client.aclose()
    assert b"on its way" in heard
    assert close_code(heard) == 1002


async def test_too_much_is_told_with_the_limit() -> None:
    async with ends(max_message_bytes=10) as e:
        await e.client.send_all(masked(TEXT, b"x" * 11))
        with pytest.raises(PeerMisbehaved, match="1009 a message has at most 10 bytes"):
            await e.wire.receive()


async def test_closing_waits_for_the_answer() -> None:
    async with ends(close_timeout=5) as e, trio.open_nursery() as nursery:

        async def answer() -> None:
            assert await e.client.receive_some() == b"\x88\x06\x0f\xa0slow"
            await e.client.send_all(masked(TEXT, b"crossed it") + masked(CLOSE, b"\x0f\xa0"))
            assert await read_to_end(e.client) == b""

        nursery.start_soon(answer)
        with trio.fail_after(1):
            await e.wire.aclose(4000, "slow")
        with pytest.raises(PeerClosed):
            await e.wire.receive()


async def test_closing_does_not_wait_for_ever() -> None:
    async with ends(close_timeout=0.1) as e:
        begun = trio.current_time()
        await e.wire.aclose(1000)
        assert 0.1 <= trio.current_time() - begun < 1
        assert await read_to_end(e.client) == b"\x88\x02\x03\xe8"


async def test_closing_does_not_wait_for_a_peer_that_is_gone() -> None:
    async with ends(close_timeout=5) as e:
        await e.client.aclose()
        with trio.fail_after(1):
            await e.wire.aclose(1000)
            await e.wire.aclose(1000)


async def test_closing_finds_the_answer_behind_everything_unread() -> None:
    """The reader is held back by messages that nobody will take any more."""
    async with ends(close_timeout=5) as e, trio.open_nursery() as nursery:
        await e.client.send_all(masked(TEXT, b"unread") * 1000)
        await wait_all_tasks_blocked()

        async def answer() -> None:
            assert close_code(await e.client.receive_some()) == 1000
            await e.client.send_all(masked(CLOSE, b"\x03\xe8"))

        nursery.start_soon(answer)
        with trio.fail_after(1):
            await e.wire.aclose(1000)


async def test_a_close_frame_among_the_frames_is_the_one_and_only() -> None:
    async with ends(close_timeout=0.1) as e:
        await e.wire.send([frames.text(b"last"), frames.close(4000, "slow")])
        await e.wire.aclose(4000, "slow")
        assert await read_to_end(e.client) == b"\x81\x04last\x88\x06\x0f\xa0slow"


async def test_a_cancelled_close_leaves_no_socket() -> None:
    async with ends() as e:
        with trio.CancelScope() as scope:
            scope.cancel()
            await e.wire.aclose(1000)
        assert await read_to_end(e.client) == b""


async def test_a_stalled_write_is_told_and_nothing_holds_up_the_end() -> None:
    async with ends(receive_buffer=4096, write_timeout=0.1) as e:
        with pytest.raises(WriteStalled):
            await e.wire.send([frames.text(b"x" * 8_000_000)])
        with trio.fail_after(0.5):
            await e.wire.aclose(4000)
        e.done.set()
        await until(lambda: e.server.open == 0)


async def test_after_a_write_was_cut_off_no_close_frame_is_torn_into_it() -> None:
    async with ends(receive_buffer=4096) as e:
        with trio.move_on_after(0.05):
            await e.wire.send([frames.text(b"x" * 8_000_000)])
        with trio.fail_after(0.5):
            await e.wire.aclose(1000)
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(e.client)


async def test_closing_towards_a_peer_that_does_not_read_has_its_deadline() -> None:
    async with ends(receive_buffer=4096, close_timeout=0.1) as e, trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await e.wire.send([frames.text(b"x" * 8_000_000)])

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            await e.wire.aclose(1000)


async def test_abort_says_nothing_and_frees_everybody() -> None:
    async with ends(receive_buffer=4096) as e, trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await e.wire.send([frames.text(b"x" * 8_000_000)])

        async def receive() -> None:
            with pytest.raises(PeerClosed):
                await e.wire.receive()

        nursery.start_soon(write)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        e.wire.abort()
        e.wire.abort()
        await e.wire.aclose(1000)
        e.wire.abort()


async def test_an_owner_that_does_not_receive_is_freed_when_the_peer_leaves() -> None:
    freed = trio.Event()
    async with ends(receive_buffer=4096, disconnect_grace=0.1) as e, trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await e.wire.send([frames.text(b"x" * 8_000_000)])
            freed.set()

        nursery.start_soon(write)
        await e.client.send_all(masked(TEXT, b"unread") * 1000)
        await wait_all_tasks_blocked()
        await e.client.send_eof()  # and still does not read
        with trio.fail_after(1):
            await freed.wait()


async def test_what_is_read_ahead_is_bounded() -> None:
    async with ends() as e:
        with trio.move_on_after(0.2) as sending:
            await e.client.send_all(masked(TEXT, b"x" * 60_000) * 500)
        assert sending.cancelled_caught
        assert len(await e.wire.receive()) == 60_000


async def test_a_handler_that_returns_without_closing_has_failed() -> None:
    quart = QuartTrio("tests")

    @quart.websocket("/ws")
    async def handler() -> None:
        await open_wire(websocket)

    async with running(quart) as server, ws_connect(server.url("/ws")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011


async def test_the_owner_is_told_to_stop_and_closes_in_its_own_time() -> None:
    async with ends() as e, trio.open_nursery() as nursery:
        nursery.start_soon(e.server.stop, 5)
        await e.wire.stopping.wait()
        await e.wire.send([frames.text(b"one more thing")])
        nursery.start_soon(e.wire.aclose, 1012, "retry-after=1.0")
        assert await e.client.receive_some() == b"\x81\x0eone more thing"
        assert close_code(await e.client.receive_some()) == 1012
        await e.client.send_all(masked(CLOSE, b"\x03\xf4"))
        assert await read_all(e.client) == b""
        e.done.set()


# --- taking it ------------------------------------------------------------------------------------------------


async def test_it_is_taken_once_and_before_the_handshake() -> None:
    failures: list[str] = []
    quart = QuartTrio("tests")

    @quart.websocket("/ws")
    async def handler() -> None:
        await websocket.accept()
        wire = websocket.scope["extensions"]["realtime.wire"]
        try:
            wire.take()
        except RuntimeError as error:
            failures.append(str(error))
        for use in (wire.receive, lambda: wire.send([])):
            try:
                await use()
            except RuntimeError as error:
                failures.append(str(error))

    async with running(quart) as server, ws_connect(server.url("/ws")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert len(failures) == 3
    assert "before the WebSocket is accepted" in failures[0]
    assert "get it from open_wire" in failures[1]
    assert "get it from open_wire" in failures[2]


async def test_once_taken_asgi_cannot_write_beside_it() -> None:
    failures: list[str] = []
    quart = QuartTrio("tests")

    @quart.websocket("/ws")
    async def handler() -> None:
        wire = await open_wire(websocket)
        try:
            await websocket.send("beside it")
        except RuntimeError as error:
            failures.append(str(error))
        await wire.aclose(1000)

    async with running(quart) as server, ws_connect(server.url("/ws")) as client:
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert failures == ["the wire was taken: send through it, not through the websocket"]


async def test_a_message_right_behind_the_handshake_is_not_lost_to_asgi() -> None:
    for _ in range(20):
        async with ends() as e:
            await e.client.send_all(masked(TEXT, b"early bird"))
            with trio.fail_after(1):
                assert await e.wire.receive() == "early bird"


async def test_frames_are_never_torn_whoever_writes_and_however_little_fits() -> None:
    """Pongs by the reader, frames by the owner, a client that takes a little at a time."""
    async with ends(receive_buffer=4096) as e, trio.open_nursery() as nursery:
        payloads = [bytes([65 + number % 26]) * (number * 997 % 40_000) for number in range(120)]

        async def write() -> None:
            for payload in payloads:
                await e.wire.send([frames.text(payload)])
            await e.wire.aclose(1000)

        async def ping() -> None:
            for number in range(200):
                await e.client.send_all(masked(PING, b"%d" % number))
                await trio.sleep(0.001)

        nursery.start_soon(write)
        nursery.start_soon(ping)
        data = bytearray()
        while (b"\x88\x02\x03\xe8") not in data[-4:]:
            data += await e.client.receive_some(3000)
        nursery.cancel_scope.cancel()
    texts, pongs = parse(bytes(data))
    assert texts == payloads
    assert pongs == [b"%d" % number for number in range(len(pongs))]
    assert pongs


def parse(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The text and the Pong payloads of a server's frames; fails on anything that is no whole frame."""
    found: dict[int, list[bytes]] = {TEXT: [], PONG: [], CLOSE: []}
    while data:
        length, start = data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4]), 4
        assert data[0] & 0x70 == 0
        assert length <= len(data) - start
        found[data[0] & 0x0F].append(data[start : start + length])
        data = data[start + length :]
    return found[TEXT], found[PONG]
