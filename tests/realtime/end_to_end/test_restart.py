"""SIGUSR2: the process begins anew in its own place, and its clients notice a pause at the most."""

from __future__ import annotations

import gc
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from realtime.client import tail
from tests import needs
from tests.realtime.server_process import PATIENCE, REALTIME, ServerProcess, eventually

from .clients import News, in_thread, listening, raw_client
from .load import Poster, Returner, buckets, posting
from .test_stop import MARGIN, STUCK, module

MakeServer = Callable[..., ServerProcess]

# Seconds for a check, a drain and a start on a busy machine.
RESTART_PATIENCE = 60.0


def restarted(server: ServerProcess) -> dict[str, Any]:
    """Ask for a restart and wait until the new one serves; returns its first line."""
    seen = len(server.log)
    server.signal(signal.SIGUSR2)
    return served_again(server, seen)


def served_again(server: ServerProcess, seen: int) -> dict[str, Any]:
    return server.wait_for_log("serving", since=seen, seconds=RESTART_PATIENCE)


def check_posters(server: ServerProcess, posters: Sequence[Poster]) -> None:
    """Each acknowledged event is there, once, and no poster had to notice anything but a pause."""
    stored = {event["event_id"]: event for event in server.all_events()}
    acknowledged = [event for poster in posters for event in poster.acknowledged]
    assert len(acknowledged) > 2 * len(posters)
    assert all(stored.get(event["event_id"]) == event for event in acknowledged)
    # Refused is never allowed. Of connections that were used before one may end between two requests, as at any time.
    assert not [trouble for poster in posters for trouble in poster.troubles if not trouble.reused]
    assert len(stored) <= len(acknowledged) + sum(len(poster.troubles) for poster in posters)


@asynccontextmanager
async def returning(server: ServerProcess, count: int) -> AsyncIterator[list[Returner]]:
    """*count* clients that come back as they are told."""
    clients = [Returner(server) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.run)
        await opened(clients, 1)
        yield clients
        nursery.cancel_scope.cancel(reason="the test has seen enough")


async def opened(clients: Sequence[Returner], times: int) -> None:
    """Wait until each has been subscribed so often."""
    with trio.fail_after(RESTART_PATIENCE):
        for client in clients:
            await client.wait_opened(times)


# --- under load ----------------------------------------------------------------------------------------------------


async def test_two_restarts_under_load_lose_no_acknowledged_event_and_refuse_nobody(make_server: MakeServer) -> None:
    server = make_server({"server": {"drain_window": 1}}).start()
    pid = server.pid
    async with returning(server, 40) as clients:
        with posting(server, keep_alive=2, fresh=2) as posters:
            for count in (1, 2):
                line = await in_thread(restarted, server)
                assert (line["pid"], line["restarts"], line["url"]) == (pid, count, server.url)
                await opened(clients, count + 1)
        for client in clients:
            assert client.failures == []
            assert [end.code for end in client.ends] == [1012, 1012]
    await in_thread(check_posters, server, posters)
    assert (await in_thread(server.get, "/api/metrics"))["process"]["restarts"] == 2
    assert not server.complaints()
    assert await in_thread(server.stop) == 0


async def test_clients_do_not_come_back_in_one_burst(make_server: MakeServer) -> None:
    """Issue: paced closes, and a retry-after that spreads them; by another hand than ours, which waits exactly."""
    server = make_server({"server": {"drain_window": 1}}).start()
    count = 200
    async with returning(server, count) as clients:
        await in_thread(restarted, server)
        await opened(clients, 2)
    assert [end.code for client in clients for end in client.ends] == [1012] * count
    assert [failure for client in clients for failure in client.failures] == []
    told = [client.ends[0].reason for client in clients]
    assert len(set(told)) > 8
    # As many as left in a second come back in a second: 20 in a tenth, give or take what a busy machine holds up.
    # Had all been told the same, they would have come as they went, and after one close in one moment all at once.
    per_tenth = buckets([client.attempts[1] for client in clients], 0.1)
    assert len([held for held in per_tenth if held]) >= 6, per_tenth
    assert max(per_tenth) <= count // 2, per_tenth


# trio-websocket leaves the socket of a connection that its peer has closed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_our_own_client_comes_back_by_itself_and_spread(make_server: MakeServer) -> None:
    server = make_server({"server": {"drain_window": 1}}).start()
    lines: list[str] = []
    notes: list[str] = []
    confirmed: list[float] = []
    news = News()

    def take(line: str) -> None:
        lines.append(line)
        if '"subscribed"' in line:
            confirmed.append(trio.current_time())
        news.tell()

    async def so_many(count: int) -> None:
        with trio.fail_after(RESTART_PATIENCE):
            while len(confirmed) < count:
                await news.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(partial(tail, server.ws("/ws/events"), print_line=take, note=notes.append))
        await so_many(50)
        await in_thread(restarted, server)
        await so_many(100)
        stored = await in_thread(server.post_event)
        with trio.fail_after(PATIENCE):
            while sum(stored["event_id"] in line for line in lines) < 50:
                await news.wait()
        nursery.cancel_scope.cancel()
    gc.collect()
    assert len(notes) == 50
    assert all("1012 retry-after=" in note for note in notes)
    assert len([held for held in buckets(confirmed[50:], 0.1) if held]) >= 4


async def test_who_connects_during_the_drain_waits_and_is_served(make_server: MakeServer) -> None:
    server = make_server({"server": {"drain_window": 2, "drain_timeout": 5}}).start()
    async with returning(server, 20), raw_client(server, "/ws/events"):  # which takes two seconds to let go
        seen = len(server.log)
        server.signal(signal.SIGUSR2)
        await in_thread(server.wait_for_log, "stopping", since=seen, seconds=RESTART_PATIENCE)
        # The old one may still answer the first; the one that is queued is answered by the new one, and none refused.
        restarts = 0
        while not restarts:
            metrics = await in_thread(server.get, "/api/metrics")
            restarts = metrics["process"]["restarts"]
    assert restarts == 1
    await in_thread(served_again, server, seen)


# --- what may go wrong ---------------------------------------------------------------------------------------------


async def test_settings_that_would_be_refused_leave_the_old_one_serving(make_server: MakeServer) -> None:
    server = make_server().start()
    async with listening(server, "/ws/events") as client:
        server.settings["server"]["bnd"] = "x"
        server.write_settings()
        server.signal(signal.SIGUSR2)
        line = await in_thread(server.wait_for_log, "restart_refused", seconds=RESTART_PATIENCE)
        assert "server.bnd is not known" in line["reason"]
        stored = await in_thread(server.post_event)
        assert (await client.first("event"))["data"] == stored
        # And once they are mended, it restarts.
        del server.settings["server"]["bnd"]
        server.settings["log"] = {"level": "warning"}
        server.write_settings()
        server.signal(signal.SIGUSR2)
        assert (await client.end(RESTART_PATIENCE)).code == 1012
    metrics = await in_thread(server.get, "/api/metrics")
    assert metrics["process"]["restarts"] == 1
    quiet = len(server.log)
    await in_thread(server.post_event)
    assert server.log[quiet:] == []  # the new settings hold


async def test_another_bind_is_not_taken_up_by_a_restart_and_that_is_said(make_server: MakeServer) -> None:
    server = make_server().start()
    server.settings["server"]["bind"] = "127.0.0.1:1"
    server.write_settings()
    line = await in_thread(restarted, server)
    assert line["url"] == server.url
    assert server.wait_for_log("bind_ignored")["bind"] == "127.0.0.1:1"


async def test_a_new_one_that_does_not_come_up_ends_the_process_with_an_error(
    make_server: MakeServer, tmp_path: Path
) -> None:
    """What the check cannot see, as it must not touch the store of the one that serves."""
    server = make_server().start()
    stored = await in_thread(server.post_event)
    (tmp_path / "blocked").mkdir()
    server.settings["store"] = {"path": "blocked"}
    server.write_settings()
    server.signal(signal.SIGUSR2)
    assert await in_thread(server.wait, RESTART_PATIENCE) == 1
    assert "unable to open database file" in server.wait_for_log("server_failed")["reason"]
    del server.settings["store"]
    server.write_settings()
    await in_thread(server.start)
    assert (await in_thread(server.all_events)) == [stored]


async def test_killed_in_the_middle_of_the_drain_nothing_acknowledged_is_lost(make_server: MakeServer) -> None:
    server = make_server({"server": {"drain_window": 2}}).start()
    async with raw_client(server, "/ws/events"), returning(server, 20):
        with posting(server, keep_alive=2, fresh=2) as posters:
            eventually(lambda: all(len(poster.acknowledged) > 3 for poster in posters))
            seen = len(server.log)
            server.signal(signal.SIGUSR2)
            await in_thread(server.wait_for_log, "stopping", since=seen, seconds=RESTART_PATIENCE)
            await in_thread(server.kill)
            server.settings["server"]["bind"] = f"127.0.0.1:{server.port}"
            server.write_settings()
            await in_thread(server.start)
    acknowledged = [event for poster in posters for event in poster.acknowledged]
    stored = {event["event_id"]: event for event in await in_thread(server.all_events)}
    assert all(stored.get(event["event_id"]) == event for event in acknowledged)


async def test_a_task_that_cannot_be_cancelled_does_not_prevent_it(make_server: MakeServer, tmp_path: Path) -> None:
    settings = module(tmp_path, "stuck", STUCK) | {"server": {"drain_timeout": 1.5, "drain_window": 0}}
    server = make_server(settings).start()
    stored = await in_thread(server.post_event)
    line = await in_thread(restarted, server)
    assert (line["pid"], line["restarts"]) == (server.pid, 1)
    assert server.wait_for_log("stuck")["level"] == "error"
    assert (await in_thread(server.get, "/api/events"))["events"] == [stored]
    server.kill()


# --- further signals -----------------------------------------------------------------------------------------------


async def during_the_drain(server: ServerProcess, *numbers: signal.Signals) -> tuple[int, float]:
    """Ask for a restart, send it *numbers* once it drains; exit status, and seconds since the last of them."""
    seen = len(server.log)
    server.signal(signal.SIGUSR2)
    await in_thread(server.wait_for_log, "stopping", since=seen, seconds=RESTART_PATIENCE)
    for place, number in enumerate(numbers):
        if place:  # two at once would be one
            await in_thread(server.wait_for_log, "restart_called_off", since=seen)
        server.signal(number)
        began = time.monotonic()
    return await in_thread(server.wait), time.monotonic() - began


async def test_a_signal_to_end_during_the_drain_calls_the_restart_off(make_server: MakeServer) -> None:
    server = make_server({"server": {"drain_window": 1}}).start()
    async with raw_client(server, "/ws/events"), returning(server, 20):
        status, _ = await during_the_drain(server, signal.SIGTERM)
    assert status == 0
    assert [line for line in server.log if line["event"] == "stopped"]


async def test_and_one_more_ends_it_at_once(make_server: MakeServer) -> None:
    server = make_server({"server": {"drain_timeout": 60, "drain_window": 60, "write_timeout": 600}}).start()
    async with raw_client(server, "/ws/events"), raw_client(server, "/ws/session"):
        status, seconds = await during_the_drain(server, signal.SIGTERM, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert seconds < 1 + MARGIN


async def test_asked_for_again_and_again_it_goes_on(make_server: MakeServer) -> None:
    """At every moment of it: the check, the drain, the change of programs, the start."""
    server = make_server({"server": {"drain_window": 0}}).start()
    for _ in range(60):
        server.signal(signal.SIGUSR2)
        await trio.sleep(0.05)

    def settled() -> bool:
        asked = sum(line["event"] == "restart_asked_for" for line in server.log)
        return asked >= 1 and sum(line["event"] == "serving" for line in server.log) == asked + 1

    await in_thread(eventually, settled, RESTART_PATIENCE)
    assert server.running
    assert await in_thread(server.get, "/api/events")
    assert not server.complaints()


# --- what has to work as before ------------------------------------------------------------------------------------


async def test_limits_hold_after_a_restart(make_server: MakeServer) -> None:
    server = make_server({"server": {"max_connections_per_address": 3, "drain_window": 0}}).start()
    for _ in range(2):
        async with listening(server, "/ws/events"), listening(server, "/ws/events"), listening(server, "/ws/events"):
            answer = await in_thread(server.request, "GET", "/api/health")
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        if server.log[-1].get("restarts") is None and not any(line.get("restarts") for line in server.log):
            await in_thread(restarted, server)
    assert [line["restarts"] for line in server.log if line["event"] == "serving"] == [0, 1]


async def test_tls_goes_on_with_a_certificate_that_was_renewed_meanwhile(
    make_server: MakeServer, tmp_path: Path
) -> None:
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    def issue() -> int:
        issued = authority.issue_cert("localhost")
        (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
        pem = issued.cert_chain_pems[0].bytes().decode()
        return hash(ssl.PEM_cert_to_DER_cert(pem))

    def served() -> int:
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(15).startswith(b"HTTP/1.1 200")
            return hash(client.getpeercert(binary_form=True))

    first = issue()
    server = make_server({"server": {"certfile": "cert.pem", "keyfile": "key.pem"}}).start()
    assert await in_thread(served) == first
    second = issue()
    await in_thread(restarted, server)
    assert await in_thread(served) == second != first
    # A file that is no certificate is refused while the good one is still served.
    (tmp_path / "cert.pem").write_text("none")
    server.signal(signal.SIGUSR2)
    await in_thread(server.wait_for_log, "restart_refused", seconds=RESTART_PATIENCE)
    assert await in_thread(served) == second


# --- a socket from outside -----------------------------------------------------------------------------------------


def test_a_service_manager_s_socket_is_served_and_outlives_the_process(tmp_path: Path) -> None:
    """A full stop and start: who connects in between waits for the next process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        launcher = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
        )
        port = listener.getsockname()[1]
        server = ServerProcess(
            tmp_path,
            {"server": {"bind": f"127.0.0.1:{port}"}},
            command=(sys.executable, "-c", launcher, str(listener.fileno()), REALTIME, "serve"),
        )
        server.pass_fds = (listener.fileno(),)
        with server:
            assert server.port == port
            stored = server.post_event()
            restarted(server)
            assert server.get("/api/events")["events"] == [stored]
            assert server.stop() == 0
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as early:
                early.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                server.start()
                assert early.recv(15).startswith(b"HTTP/1.1 200")


def test_systemd_s_own_tool_hands_its_socket_over(tmp_path: Path) -> None:
    tool = needs.program("systemd-socket-activate", package="systemd")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ServerProcess(
        tmp_path,
        {"server": {"bind": f"127.0.0.1:{port}"}, "log": {"format": "json"}},
        command=(tool, "-l", f"127.0.0.1:{port}", REALTIME, "serve"),
    )
    server.launch()
    try:
        server.wait_for_log(f"Listening on 127.0.0.1:{port} as 3.")
        # The first connection starts the service, and is its first.
        server.url = f"http://127.0.0.1:{port}"
        assert server.get("/api/health/live")["status"] == "ok"
        assert server.wait_for_log("serving")["pid"] == server.pid
        assert restarted(server)["restarts"] == 1
        assert not [line for line in server.complaints() if "level" in line]
    finally:
        server.close()
