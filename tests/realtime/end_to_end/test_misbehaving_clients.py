"""Clients that stall, vanish or keep silent: felt by nobody else, and not kept for long."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import pairwise

import psutil
import pytest
import trio

from tests.realtime.server_process import PATIENCE, ServerProcess

from .clients import Listener, RawClient, ask, in_thread, listening, many_listening, raw_client, wait_until

INTERVAL = 1.0
PONG_TIMEOUT = 1.0
WRITE_TIMEOUT = 2.0
"""Long enough for clients that read, however busy the machine is."""
BALLAST = "x" * 32_768
"""Fills a socket's buffers with few events."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {
        "heartbeat": {"interval": INTERVAL, "pong_timeout": PONG_TIMEOUT},
        "server": {"write_timeout": WRITE_TIMEOUT},
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), settings) as process:
        yield process


async def test_stalled_and_vanished_clients_do_not_slow_the_others_down(server):
    """Design 5: no client, however slow or dead, delays another."""
    count = 400
    seen = await in_thread(server.mark_log)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        healthy: list[Listener] = await enter(many_listening(server, "/ws/events", 10))
        ticking: Listener = await enter(listening(server, "/ws/ticks"))
        for _ in range(3):
            await enter(raw_client(server, "/ws/events", receive_buffer=4096))
        resetting: RawClient = await enter(raw_client(server, "/ws/events"))
        leaving: RawClient = await enter(raw_client(server, "/ws/events"))
        for number in range(count):
            await in_thread(server.post_event, data={"number": number, "ballast": BALLAST})
            if number == count // 4:
                resetting.reset()
                leaving.leave()
        for client in healthy:
            messages = await client.several(count, "event")
            assert [message["data"]["data"]["number"] for message in messages] == list(range(count))
            assert client.closed is None
        # Each arrived with its own request, and not in a burst when somebody had given up at last.
        arrived = healthy[0].arrivals_of("event")
        assert max(later - earlier for earlier, later in pairwise(arrived)) < 0.5
        await ticking.several(3, "time_update")
        ticked = ticking.arrivals_of("time_update")[1:]
        assert all(0.5 < later - earlier < 1.5 for earlier, later in pairwise(ticked))
        # They did stall: the kernel took some for them, their outboxes a bounded part, and the rest was dropped.
        assert server.get("/api/metrics")["messages"]["dropped"] > 0

        def cut_off() -> bool:
            return [line.get("code") for line in server.log[seen:]].count(4000) >= 3

        await wait_until(cut_off)
        assert all(client.closed is None for client in healthy)


async def test_a_client_that_takes_nothing_is_cut_off_after_the_write_timeout(server):
    """Contract 3: 4000 for no write progress; it is told by a reset, as nothing else would reach it."""
    seen = await in_thread(server.mark_log)
    async with raw_client(server, "/ws/events", receive_buffer=4096) as stalled:
        connected = await in_thread(server.wait_for_log, "connected", since=seen)
        for _ in range(100):
            await in_thread(server.post_event, data={"ballast": BALLAST})
        gone = await in_thread(
            server.wait_for_log, "disconnected", since=seen, connection_id=connected["connection_id"]
        )
        assert gone["code"] == 4000
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stalled.read()


async def test_each_of_100_clients_gets_a_ping_every_interval(server):
    """Contract 3: a Ping frame and the JSON message together, the first one interval after the handshake."""
    async with many_listening(server, "/ws/pinged", 100) as clients:
        for client in clients:
            await client.several(3, "ping")
            pings = client.arrivals_of("ping")[:3]
            # Spread by jitter, so that not all are pinged at once.
            assert all(0.5 * INTERVAL < later - earlier < 1.6 * INTERVAL for earlier, later in pairwise(pings))
            assert client.closed is None
        assert psutil.Process(server.pid).memory_info().rss < 200 * 1024 * 1024
    assert (await ask(server, "GET", "/api/supervisors/heartbeat")).json()["stats"]["pings"] >= 300


async def test_a_silent_client_gets_4001(server):
    """Contract 3: no sign of life after a ping closes with 4001."""
    async with raw_client(server, "/ws/silent") as silent:
        began = trio.current_time()
        closed = await silent.read_until_closed()
        assert closed.code == 4001
        assert INTERVAL / 2 < trio.current_time() - began < 2 * INTERVAL + PONG_TIMEOUT + 1


async def test_any_message_is_a_sign_of_life(server):
    """Design 5: a Pong frame, a ``pong`` message, or any message."""
    async with raw_client(server, "/ws/alive") as client:
        pings = 0
        with trio.fail_after(PATIENCE):
            while pings < 3 and client.protocol.close_rcvd is None:
                for message in await client.read():
                    if message["type"] == "ping":
                        pings += 1
                        client.protocol.data_to_send()  # the answer to the Ping frame: not sent
                        client.protocol.send_text(b'{"type":"pong"}')
                        await client.write()
        # The third comes after the time in which the first would have had to be answered.
        assert pings == 3


async def test_a_server_that_was_held_up_itself_blames_nobody_for_it(server):
    """Design 5: the server's own lag is discounted: answers that lie unread for long count all the same."""
    asked: list[RawClient] = []
    enough = trio.Event()

    async def wait_for_ping(client: RawClient) -> None:
        while not any(message["type"] == "ping" for message in await client.read()):
            pass
        asked.append(client)
        if len(asked) == 5:
            enough.set()

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server, "/ws/patient")) for _ in range(40)]
        ticking: Listener = await stack.enter_async_context(listening(server, "/ws/ticks"))
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(wait_for_ping, client)
            await enough.wait()
            nursery.cancel_scope.cancel(reason="some were asked and have not answered")
        server.signal(signal.SIGSTOP)
        try:
            for client in asked:
                await client.write()  # the answer to the Ping frame
            await trio.sleep(PONG_TIMEOUT + 0.5)
        finally:
            server.signal(signal.SIGCONT)
        resumed = trio.current_time()
        for client in asked:
            while not any(message["type"] == "ping" for message in await client.read()):
                assert client.protocol.close_rcvd is None
        # The tick that was due comes at once, and from then on the cadence is what it was: none is doubled.
        ticks = [at for at in ticking.arrivals_of("time_update") if at > resumed]
        assert all(later - earlier > 0.5 for earlier, later in pairwise(ticks[1:]))


async def test_1000_connects_and_disconnects_leave_nothing_behind(server):
    """Design 4: nothing accumulates: tasks and descriptors are back where they were."""

    async def visit(number: int) -> None:
        path = ("/ws/events", "/ws/supervisors", f"/ws/visitor{number}")[number % 3]
        if number % 4 == 0:
            async with listening(server, path):
                return
        async with raw_client(server, path) as client:
            await client.read()
            if number % 4 == 1:
                client.reset()
            elif number % 4 == 2:
                client.leave()
            # else: the stream is closed in good order, but without a Close frame

    async def visits(first: int, count: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(first, first + count):
                nursery.start_soon(visit, number)

    def held() -> dict[str, int]:
        metrics = server.get("/api/metrics")
        return {
            "tasks": metrics["loop"]["tasks"],
            "open_files": metrics["process"]["open_files"],
            "connections": metrics["connections"]["open"],
        }

    def quiet() -> dict[str, int] | None:
        found = held()
        return found if found["connections"] == 0 and found == held() else None

    await visits(0, 20)  # whatever is opened once and kept
    before = await wait_until(quiet)
    for batch in range(25):
        await visits(batch * 40, 40)
    await wait_until(lambda: held() == before)
    assert server.get("/api/supervisors/connections")["children_total"] <= 1  # the request that asks


async def test_none_of_this_was_an_error(server):
    """Contract 5: what clients do is no fault of the server's."""
    assert not server.complaints()
