"""A client of HTTP/2 that takes everything and allows nothing, in virtual time: over no socket at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import trio
from h2.errors import ErrorCodes
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState

from realtime.transport import ServerConfig
from realtime.transport.http2 import HTTP2
from realtime.transport.tasks import ConnectionContext, ConnectionTasks

WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
TIMEOUT = 10
CALM = ErrorCodes.ENHANCE_YOUR_CALM


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The path says how many bytes, and after a comma how many seconds later the answer ends."""
    size, _, seconds = scope["path"][1:].partition(",")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * int(size), "more_body": True})
    with trio.move_on_after(float(seconds or 0)):
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Pair:
    """Our side of a connection and a client's, each fed what the other one says."""

    def __init__(self, window: int | None = None) -> None:
        settings = ServerConfig(write_timeout=TIMEOUT)
        hypercorn = settings.hypercorn()
        self.tasks = ConnectionTasks(None, hypercorn, {})  # type: ignore[arg-type]
        common = (ASGIWrapper(app), hypercorn, ConnectionContext(trio.Event()), self.tasks, ConnectionState({}))
        link: Any = SimpleNamespace(settings=settings)
        self.server = HTTP2(link, *common, False, None, None, self.take)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            self.client.local_settings = h2.settings.Settings(client=True, initial_values={WINDOW: window})
        self.client.initiate_connection()
        self.ends: dict[int, tuple[float, Any]] = {}
        """When each stream ended, and with what: an error's code, or None."""
        self.idle: list[tuple[float, bool]] = []

    async def take(self, event: Event) -> None:
        """What our side wants done."""
        now = trio.current_time()
        if isinstance(event, RawData):
            for told in self.client.receive_data(event.data):
                if isinstance(told, h2.events.StreamReset):
                    self.ends[told.stream_id] = (now, told.error_code)
                elif isinstance(told, h2.events.StreamEnded):
                    self.ends[told.stream_id] = (now, None)
        elif isinstance(event, Updated):
            self.idle.append((now, event.idle))

    async def say(self) -> None:
        await self.server.handle(RawData(self.client.data_to_send()))

    async def get(self, size: int, seconds: float = 0) -> int:
        id: int = self.client.get_next_available_stream_id()
        path = f"/{size},{seconds}"
        headers = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "localhost")]
        self.client.send_headers(id, headers, end_stream=True)
        await self.say()
        return id

    async def allow(self, size: int, id: int | None = None) -> None:
        self.client.increment_flow_control_window(size, id)
        await self.say()


@asynccontextmanager
async def talking(window: int | None = None) -> AsyncIterator[Pair]:
    pair = Pair(window)
    async with pair.tasks:
        await pair.server.initiate()
        await pair.say()
        yield pair
        await pair.server.handle(Closed())
        pair.tasks.cancel_within(ServerConfig().disconnect_grace)


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["a little", "more than is kept"])
async def test_a_stream_whose_window_stays_closed_is_reset(autojump_clock: Any, size: int) -> None:
    async with talking(window=0) as pair:
        id = await pair.get(size)
        await trio.sleep(100)
        assert pair.ends == {id: (TIMEOUT, CALM)}
        assert pair.idle[-1] == (TIMEOUT, True)  # from then on the connection's own deadline runs


async def test_one_whose_application_waits_for_something_else_is_reset_as_well(autojump_clock: Any) -> None:
    """As an event stream does, with less to be sent than is kept."""
    async with talking(window=0) as pair:
        id = await pair.get(100, seconds=1000)
        await trio.sleep(100)
        assert pair.ends == {id: (TIMEOUT, CALM)}


async def test_all_are_reset_that_the_connection_s_window_holds_back(autojump_clock: Any) -> None:
    async with talking(window=2**20) as pair:
        ids = [await pair.get(100_000) for _ in range(3)]
        await trio.sleep(100)
        assert pair.ends == dict.fromkeys(ids, (TIMEOUT, CALM))


async def test_who_takes_a_little_now_and_then_stays(autojump_clock: Any) -> None:
    async with talking(window=0) as pair:
        id = await pair.get(10)
        for _ in range(9):
            await trio.sleep(TIMEOUT - 1)
            await pair.allow(1, id)
        assert pair.ends == {}
        await trio.sleep(100)
        assert pair.ends == {id: (9 * (TIMEOUT - 1) + TIMEOUT, CALM)}


async def test_who_takes_a_little_over_the_connection_s_window_stays_with_all_streams(autojump_clock: Any) -> None:
    async with talking(window=2**20) as pair:
        ids = [await pair.get(40_000) for _ in range(2)]
        for _ in range(9):
            await trio.sleep(TIMEOUT - 1)
            await pair.allow(1)
        assert pair.ends == {}
        await pair.allow(2**20)
        await trio.sleep(1)
        assert pair.ends == dict.fromkeys(ids, (9 * (TIMEOUT - 1), None))


async def test_others_are_not_disturbed_and_do_not_help_it(autojump_clock: Any) -> None:
    async with talking() as pair:
        stalled = await pair.get(2**16)
        for _ in range(20):
            await trio.sleep(1)
            other = await pair.get(1000)
            await pair.allow(2000)
        await trio.sleep(1)
        assert pair.ends.pop(stalled) == (TIMEOUT, CALM)
        assert {code for _, code in pair.ends.values()} == {None}
        assert other in pair.ends


async def test_one_that_has_nothing_to_send_waits_as_long_as_it_likes(autojump_clock: Any) -> None:
    async with talking() as pair:
        id = await pair.get(100, seconds=50)
        await trio.sleep(100)
        assert pair.ends == {id: (50, None)}


async def test_the_end_of_the_connection_is_not_held_up(autojump_clock: Any) -> None:
    async with talking(window=0) as pair:
        await pair.get(100, seconds=1000)
        await trio.sleep(3)
    assert trio.current_time() == 3
