"""The end of the process: in time, in order, and told to everybody who listens."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.realtime.server_process import ServerProcess

from .clients import Closed, Listener, in_thread, listening, many_listening, raw_client

MakeServer = Callable[..., ServerProcess]

BALLAST = "x" * 32_768
# The process itself takes a moment, more so on a machine that is busy.
MARGIN = 1.5


async def stopped(server: ServerProcess, *signals: signal.Signals) -> tuple[int, float]:
    """Send it *signals*; returns its exit status, and the seconds from the first signal to its end."""
    began = time.monotonic()
    for place, number in enumerate(signals):
        if place:  # two at once would be one
            await in_thread(server.wait_for_log, "stopping")
        server.signal(number)
    status = await in_thread(server.wait)
    return status, time.monotonic() - began


async def fill(server: ServerProcess, events: int = 100) -> None:
    """Publish more than the kernel and an outbox hold for a client that does not read."""
    for _ in range(events):
        await in_thread(server.post_event, data={"ballast": BALLAST})


def told_when_to_come_back(ends: list[Closed]) -> list[float]:
    """Check that each was closed with 1012; returns the seconds that were told."""
    told = [re.fullmatch(r"retry-after=(\d+\.\d)", end.reason) for end in ends if end.code == 1012]
    assert len(told) == len(ends), ends
    assert all(told), ends
    return [float(match[1]) for match in told if match]


def module(folder: Path, name: str, text: str) -> dict[str, Any]:
    """Write an actor module beside the settings; returns its section."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {f"actors.{name}": {"use": name}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_every_reading_client_is_sent_away_with_1012_and_told_when_to_come_back(make_server, number):
    """Contract 3: 1012 with the reason ``retry-after=<seconds, one decimal>``; design 5: spread over a window."""
    server = make_server({"server": {"drain_timeout": 5, "drain_window": 1}}).start()
    async with (
        many_listening(server, "/ws/events", 40) as feeds,
        many_listening(server, "/ws/session", 40) as sessions,
        listening(server, "/ws/supervisors") as watcher,
    ):
        status, seconds = await stopped(server, number)
        ends = [await client.end() for client in (*feeds, *sessions, watcher)]
    assert status == 0
    assert seconds < 1 + MARGIN
    # Not all at once, and not all to come back at once.
    assert len(set(told_when_to_come_back(ends))) > 5
    assert not server.complaints()
    assert server.log[-1]["event"] == "stopped"


async def test_a_clean_stop_logs_the_end_of_each_broadcaster_and_of_the_heartbeat(make_server):
    """Contract 5: each logs its start, with its interval, and its stop."""
    server = make_server().start()
    assert server.stop() == 0
    events = [line["event"] for line in server.log]
    started = [line for line in server.log if line["event"] == "broadcaster_started"]
    assert {line["topic"]: line["interval_s"] for line in started} == {"clock": 1.0, "system": 5.0}
    assert server.wait_for_log("heartbeat_started")["interval_s"] == 30
    assert events.count("broadcaster_stopped") == 2
    assert events.count("heartbeat_stopped") == 1
    assert not server.complaints()


async def test_clients_that_stall_do_not_hold_up_the_stop(make_server):
    """Design 6, number 1: a client that stops reading must not block the shutdown, whatever its write deadline."""
    server = make_server({"server": {"drain_timeout": 2, "drain_window": 0.5, "write_timeout": 600}}).start()
    async with AsyncExitStack() as stack:
        healthy: Listener = await stack.enter_async_context(listening(server, "/ws/events"))
        for _ in range(5):
            await stack.enter_async_context(raw_client(server, "/ws/events", receive_buffer=4096))
        await fill(server)
        await healthy.several(100, "event")
        status, seconds = await stopped(server, signal.SIGTERM)
        assert (await healthy.end()).code == 1012
    assert status == 0
    assert seconds < 2 + MARGIN
    assert not server.complaints()


async def test_requests_that_never_end_do_not_hold_up_the_stop(make_server):
    """Design 5: running HTTP requests get what time is left, and no more."""
    server = make_server({"server": {"drain_timeout": 2, "handshake_timeout": 600}}).start()
    half_body = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    async with AsyncExitStack() as stack:
        for begun in (b"", b"GET / HT", half_body):
            stream = await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", server.port))
            await stream.send_all(begun)
        status, seconds = await stopped(server, signal.SIGTERM)
    assert status == 0
    assert seconds < 2 + MARGIN
    assert not server.complaints()


async def test_clients_that_do_not_answer_the_close_do_not_hold_up_the_stop(make_server):
    """Design 5: within ``drain_timeout`` the process is gone, whatever the clients do."""
    server = make_server({"server": {"drain_timeout": 3, "drain_window": 0.5}}).start()
    async with raw_client(server, "/ws/session") as silent:
        status, seconds = await stopped(server, signal.SIGTERM)
        assert (await silent.read_until_closed()).code == 1012
    assert status == 0
    assert seconds < 3 + MARGIN


async def test_a_second_signal_does_not_wait_for_anybody(make_server):
    """The command's promise: SIGTERM drains, the second one ends at once."""
    server = make_server({"server": {"drain_timeout": 60, "drain_window": 60, "write_timeout": 600}}).start()
    async with (
        many_listening(server, "/ws/session", 20) as clients,
        raw_client(server, "/ws/events"),  # who does not answer a Close frame, and would be waited for
    ):
        status, seconds = await stopped(server, signal.SIGTERM, signal.SIGTERM)
        assert status == 128 + signal.SIGTERM
        assert seconds < 1 + MARGIN
        # Even then they hear that it is a restart, as far as that takes no waiting.
        told_when_to_come_back([await client.end() for client in clients])


SLOW_START = """
import structlog
import trio
from supervisors import ChildSpec

async def slow(*, task_status):
    structlog.get_logger("slow").info("slow_begins")
    await trio.sleep_forever()

def children(services):
    return [ChildSpec("slow", slow)]
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_during_the_start_ends_it(make_server, tmp_path, number):
    """Nothing serves yet, so there is nobody to wait for."""
    server = make_server(module(tmp_path, "slow", SLOW_START))
    server.launch()
    await in_thread(server.wait_for_log, "slow_begins")
    _, seconds = await stopped(server, number)
    assert seconds < MARGIN
    assert not server.complaints()


STUCK = """
import trio
from supervisors import ChildSpec

async def stuck():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

def children(services):
    return [ChildSpec("stuck", stuck, shutdown=0.2)]
"""


async def test_a_task_that_cannot_be_cancelled_is_named_and_the_process_ends_all_the_same(make_server, tmp_path):
    """Design 4: Trio cannot kill; a second after its deadline the process is ended."""
    settings = module(tmp_path, "stuck", STUCK) | {"server": {"drain_timeout": 1.5, "drain_window": 0}}
    server = make_server(settings).start()
    status, seconds = await stopped(server, signal.SIGTERM)
    assert status == 70
    assert 2 < seconds < 2.5 + MARGIN
    assert server.wait_for_log("child_stuck")["path"] == "broadcasters/stuck"


BLOCKED_THREAD = """
import time
import structlog
import trio
from supervisors import ChildSpec

def sample():
    structlog.get_logger("thread").info("sampling")
    time.sleep(600)

async def sampler():
    await trio.to_thread.run_sync(sample, abandon_on_cancel=True)

def children(services):
    return [ChildSpec("sampler", sampler)]
"""


async def test_a_sampler_s_thread_that_hangs_is_abandoned(make_server, tmp_path):
    """Design 5: sampler threads are abandoned at the end."""
    server = make_server(module(tmp_path, "thread", BLOCKED_THREAD)).start()
    await in_thread(server.wait_for_log, "sampling")
    status, seconds = await stopped(server, signal.SIGTERM)
    assert status == 0
    assert seconds < MARGIN
    assert not server.complaints()


async def test_whoever_is_told_to_come_back_finds_the_next_server_on_the_same_port(make_server):
    """A restart as its clients see it: the epoch of stored topics stays, that of the others is new."""
    server = make_server({"server": {"drain_window": 0}}).start()
    async with listening(server, "/ws/session") as client:
        await client.ask({"type": "subscribe", "topic": "events"}, "subscribed", topic="events")
        assert await in_thread(server.stop) == 0
        assert (await client.end()).code == 1012
        epochs = {message["topic"]: message["epoch"] for message in client.all("subscribed")}
    server.settings["server"]["bind"] = f"127.0.0.1:{server.port}"
    server.write_settings()
    await in_thread(server.start)
    async with listening(server, "/ws/session") as client:
        await client.ask({"type": "subscribe", "topic": "events"}, "subscribed", topic="events")
        again = {message["topic"]: message["epoch"] for message in client.all("subscribed")}
    assert again["events"] == epochs["events"]
    assert again["clock"] != epochs["clock"]
