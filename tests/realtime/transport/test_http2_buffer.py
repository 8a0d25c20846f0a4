"""What a stream of HTTP/2 has to send is bounded, also while its peer takes nothing."""

import pytest
import trio
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BufferCompleteError, StreamBuffer
from hypercorn.trio.worker_context import EventWrapper
from trio.testing import wait_all_tasks_blocked

from realtime.transport.http2 import BoundedBuffer

PIECE = b"x" * 16384


async def pushed(buffer, nursery, count=10):
    """How many pieces can be added while the window is closed and whoever sends asks again and again."""
    added = []

    async def push():
        for _ in range(count):
            await buffer.push(PIECE)
            added.append(PIECE)

    nursery.start_soon(push)
    for _ in range(2 * count):
        await wait_all_tasks_blocked()
        assert await buffer.pop(0) == b""
    return len(added)


async def test_who_adds_waits_while_nothing_can_be_taken(nursery):
    buffer = BoundedBuffer(EventWrapper)
    assert await pushed(buffer, nursery) == 1
    assert len(buffer.buffer) == BUFFER_HIGH_WATER
    assert await buffer.pop(100) == PIECE[:100]
    await wait_all_tasks_blocked()
    assert len(buffer.buffer) == BUFFER_HIGH_WATER - 100 + len(PIECE)
    nursery.cancel_scope.cancel()


async def test_that_of_hypercorn_is_not_bounded(nursery):
    assert await pushed(StreamBuffer(EventWrapper), nursery) == 10


async def test_all_of_it_comes_out_in_order(nursery):
    buffer = BoundedBuffer(EventWrapper)
    data = bytes(range(256)) * 1000
    taken = bytearray()

    async def push():
        for start in range(0, len(data), 999):
            await buffer.push(data[start : start + 999])
        buffer.set_complete()
        await buffer.drain()

    nursery.start_soon(push)
    while not buffer.complete:
        await wait_all_tasks_blocked()
        taken += await buffer.pop(5000)
    assert taken == data
    with pytest.raises(BufferCompleteError):
        await buffer.push(b"more")


async def test_a_stream_that_is_closed_lets_go_of_who_waits(nursery):
    buffer = BoundedBuffer(EventWrapper)
    async with trio.open_nursery() as waiting:
        waiting.start_soon(buffer.push, b"x" * BUFFER_HIGH_WATER)
        await wait_all_tasks_blocked()
        await buffer.close()
    assert buffer.complete
