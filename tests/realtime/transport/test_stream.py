"""Writes that end, an end that waits for nothing, and noticing that the peer has left without reading."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from realtime.delivery.wire import WriteStalled
from realtime.transport import open_listener
from realtime.transport.listener import GuardedListener
from realtime.transport.stream import GuardedStream

from .harness import HOST, connect, read_all, read_to_end, reset

BIG = b"x" * 8_000_000  # more than the kernel takes for a peer that does not read


@asynccontextmanager
async def pair(
    write_timeout: float = 0.2, receive_buffer: int | None = 4096
) -> AsyncIterator[tuple[GuardedStream, trio.SocketStream]]:
    """Our end and the peer's, whose receive buffer is small."""
    listening = open_listener(f"{HOST}:0")
    async with GuardedListener(listening, write_timeout) as listener:
        peer = await connect(listening.getsockname()[1], receive_buffer=receive_buffer)
        ours = await listener.accept()
        async with ours, peer:
            with trio.fail_after(30):
                yield ours, peer


async def write_on(stream: GuardedStream) -> None:
    """Write until that fails: the kernel may tell of a reset only after it has taken something."""
    while True:
        await stream.send_all(b"x")


async def test_what_is_sent_arrives_whole() -> None:
    # A deadline that no machine is too slow for, and a buffer that lets it arrive in hundreds of steps, not thousands.
    async with pair(write_timeout=30, receive_buffer=None) as (ours, peer), trio.open_nursery() as nursery:
        received = []

        async def read() -> None:
            received.append(await read_all(peer))

        nursery.start_soon(read)
        with assert_checkpoints():
            await ours.send_all(BIG)
        ours.finish()
    assert received == [BIG]


async def test_a_peer_that_does_not_read_ends_the_write_and_the_connection() -> None:
    async with pair(write_timeout=0.1) as (ours, peer):
        with pytest.raises(WriteStalled, match=r"no write progress for 0\.1 s"):
            await ours.send_all(BIG)
        assert ours.closed
        with pytest.raises(trio.BrokenResourceError):  # a reset, so that nothing lingers in the kernel
            await read_to_end(peer)


class Reluctant:
    """A socket that takes a little at a time, and for which some time passes before each."""

    def __init__(self, taking: socket.socket, clock: MockClock, seconds: float) -> None:
        self._taking = taking
        self._clock = clock
        self._seconds = seconds

    def send(self, data: memoryview) -> int:
        self._clock.jump(self._seconds)
        return self._taking.send(data[:1000])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._taking, name)


async def test_the_deadline_counts_progress_and_not_time(mock_clock: MockClock) -> None:
    async with pair(write_timeout=1, receive_buffer=None) as (ours, peer):
        ours.socket = Reluctant(ours.socket, mock_clock, 0.9)  # type: ignore[assignment]
        await ours.send_all(bytes(10_000))
        assert trio.current_time() >= 9
        ours.finish()
        assert await read_all(peer) == bytes(10_000)


async def test_after_a_write_was_cut_off_nothing_more_is_written() -> None:
    async with pair(write_timeout=10) as (ours, peer):
        with trio.move_on_after(0.05):
            await ours.send_all(BIG)
        with pytest.raises(trio.BrokenResourceError, match="cut off"):
            await ours.send_all(b"more")
        ours.close()
        with pytest.raises(trio.BrokenResourceError):  # half a frame must not look like a whole stream
            await read_to_end(peer)


async def test_a_write_cancelled_before_its_first_byte_breaks_nothing() -> None:
    async with pair() as (ours, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await ours.send_all(b"never")
        await ours.send_all(b"hello")
        ours.finish()
        assert await read_all(peer) == b"hello"


async def test_two_writers_at_once_are_an_error() -> None:
    async with pair() as (ours, _), trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(BIG)

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await ours.send_all(b"me too")
        ours.abort()


async def test_abort_frees_whoever_waits_and_may_be_repeated() -> None:
    async with pair() as (ours, _), trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.receive_some()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        ours.abort()
        ours.abort()
        ours.close()
        ours.finish()
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"late")


async def test_closing_during_a_write_resets() -> None:
    async with pair() as (ours, peer), trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(BIG)

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        ours.close()
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(peer)


async def test_finishing_during_a_write_resets() -> None:
    async with pair() as (ours, _), trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(BIG)

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        ours.finish()
        assert ours.closed


async def test_a_peer_that_is_gone_breaks_the_write() -> None:
    async with pair() as (ours, peer):
        reset(peer)
        with pytest.raises(trio.BrokenResourceError, match="the peer is gone"):
            await write_on(ours)


async def test_finishing_towards_a_peer_that_is_gone_closes() -> None:
    async with pair() as (ours, peer):
        reset(peer)
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        with assert_checkpoints():
            await ours.send_eof()
        assert ours.closed


async def test_aborting_a_socket_that_the_kernel_has_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair() as (ours, _):

        def invalid(*_: object) -> None:
            raise OSError(22, "Invalid argument")

        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "setsockopt", invalid, raising=False)
            ours.abort()
        assert ours.closed


async def test_writable_is_told() -> None:
    async with pair() as (ours, _):
        with assert_checkpoints():
            await ours.wait_send_all_might_not_block()
        with assert_checkpoints():
            await ours.send_all(b"")


async def test_the_peer_s_address_is_known() -> None:
    async with pair() as (ours, _):
        assert ours.address == HOST


def writer(stream: GuardedStream) -> Callable[[bytes], int]:
    write = stream.writer()
    assert write is not None
    return write


async def test_what_the_kernel_takes_at_once_is_written_without_a_checkpoint() -> None:
    async with pair() as (ours, peer):
        with assert_no_checkpoints():
            assert writer(ours)(b"at once") == 7
        assert await peer.receive_some() == b"at once"


async def test_what_the_kernel_does_not_take_is_the_callers_to_go_on_with() -> None:
    async with pair() as (ours, peer), trio.open_nursery() as nursery:
        data = bytes(range(256)) * 31_250
        taken = writer(ours)(data)
        assert 0 < taken < len(data)
        with pytest.raises(BlockingIOError):
            writer(ours)(data[taken:])

        async def go_on() -> None:
            await ours.send_all(data[taken : taken + 100_000])
            ours.finish()

        nursery.start_soon(go_on)
        assert await read_to_end(peer) == data[: taken + 100_000]


async def test_after_a_part_only_its_other_half_can_be_written() -> None:
    async with pair() as (ours, peer):
        assert writer(ours)(b"first ha") == 8
        ours.cut_off()
        assert ours.writer() is None
        with pytest.raises(trio.BrokenResourceError, match="cut off"):
            await ours.send_all(b"in between")
        await ours.send_all(b"lf", resumes=True)
        await ours.send_all(b" and more")
        assert writer(ours)(b" at once") == 8
        ours.finish()
        assert await read_to_end(peer) == b"first half and more at once"


async def test_half_of_something_with_nothing_behind_it_ends_in_a_reset() -> None:
    async with pair() as (ours, peer):
        writer(ours)(b"first ha")
        ours.cut_off()
        ours.close()
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(peer)


async def test_an_other_half_that_was_never_begun_leaves_it_cut_off() -> None:
    async with pair() as (ours, _):
        writer(ours)(BIG)
        ours.cut_off()
        with trio.move_on_after(0) as scope:
            await ours.send_all(b"lf", resumes=True)
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError, match="cut off"):
            await ours.send_all(b"in between")


async def test_there_is_no_writing_into_another_write() -> None:
    async with pair(write_timeout=5) as (ours, _), trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, BIG)
        await wait_all_tasks_blocked()
        assert ours.writer() is None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["closed", "reset"])
async def test_a_socket_that_has_ended_takes_nothing_at_once_and_says_why_when_there_is_time(end: str) -> None:
    async with pair() as (ours, peer):
        write = writer(ours)
        if end == "closed":
            ours.close()
        else:
            reset(peer)
            await ours.wait_hangup()
        with pytest.raises(OSError, match="Bad file descriptor" if end == "closed" else "reset"):
            write(b"x")
        with pytest.raises(trio.ClosedResourceError if end == "closed" else trio.BrokenResourceError):
            await ours.send_all(b"x")


async def test_waiting_for_a_condition_that_comes_true() -> None:
    async with pair() as (ours, _), trio.open_nursery() as nursery:
        event = trio.Event()

        async def fulfil() -> None:
            await wait_all_tasks_blocked()
            event.set()

        nursery.start_soon(fulfil)
        assert await ours.holds(event.wait)


@pytest.mark.parametrize("leave", ["close", "shutdown", "reset"])
async def test_a_hang_up_behind_unread_data_is_noticed(leave: str) -> None:
    async with pair() as (ours, peer), trio.open_nursery() as nursery:
        await peer.send_all(b"unread")

        async def go() -> None:
            await wait_all_tasks_blocked()
            if leave == "shutdown":
                peer.socket.shutdown(socket.SHUT_WR)
            elif leave == "reset":
                reset(peer)
            else:
                await peer.aclose()

        nursery.start_soon(go)
        assert not await ours.holds(trio.Event().wait)


async def test_what_was_closed_here_is_not_waited_for() -> None:
    async with pair() as (ours, _):
        ours.abort()
        with assert_checkpoints():
            await ours.wait_hangup()
        assert not await ours.holds(trio.sleep_forever)


async def test_unread_data_alone_is_no_hang_up() -> None:
    async with pair() as (ours, peer):
        await peer.send_all(b"unread")
        with trio.move_on_after(0.05) as waiting:
            await ours.wait_hangup()
        assert waiting.cancelled_caught
        assert await ours.receive_some() == b"unread"


async def test_elsewhere_than_on_linux_the_next_write_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    async with pair() as (ours, peer):
        await peer.aclose()
        with trio.move_on_after(0.05) as waiting:
            await ours.wait_hangup()
        assert waiting.cancelled_caught
