"""A crash is seen, healed, and felt by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import trio

from tests.realtime.server_process import ServerProcess

from .clients import Listener, Message, ask, in_thread, listening, many_listening, wait_until

HEALTHY = 1.5
"""Seconds after which the clock's failure is forgotten: long enough to be seen, short enough to be waited for."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    clock = {"use": "realtime.actors.clock", "interval": 0.25, "healthy_uptime": HEALTHY}
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, {"actors.clock": clock}, debug=True) as process:
        yield process


def health(server: ServerProcess) -> str:
    status: str = server.get("/api/health")["status"]
    return status


async def restart_of(server: ServerProcess, path: str) -> dict[str, Any]:
    """Crash it, wait until it runs again, and return its node."""
    before = server.get(f"/api/supervisors/{path}")["generation"]
    await in_thread(server.crash, path)

    def restarted() -> dict[str, Any] | None:
        node: dict[str, Any] = server.get(f"/api/supervisors/{path}")
        return node if node["generation"] == before + 1 and node["state"] == "running" else None

    found: dict[str, Any] = await wait_until(restarted)
    return found


def restart_in_log(server: ServerProcess, since: int) -> dict[str, Any]:
    """The line that tells of a restart, which says when it comes."""
    found = server.wait_until_logged(
        lambda: next((line for line in server.log[since:] if "next_delay_s" in line), None)
    )
    assert found is not None, server.text_of_log()
    return found


async def ticks(clients: list[Listener], count: int) -> list[list[Message]]:
    """The next *count* ticks of each."""
    seen = [len(client.all("time_update")) for client in clients]
    return [
        (await client.several(before + count, "time_update"))[before:]
        for client, before in zip(clients, seen, strict=True)
    ]


async def test_a_crash_of_the_clock_disconnects_nobody_and_the_ticks_resume(server):
    """Design 5: a crash goes to the supervisor, and the clients stay."""
    async with many_listening(server, "/ws/watching", 10) as clients:
        await ticks(clients, 2)
        await restart_of(server, "broadcasters/clock")
        await ticks(clients, 3)
        assert [client.closed for client in clients] == [None] * 10
        for client in clients:
            # The numbers go on: by them a client sees that it missed nothing.
            offsets = [tick["offset"] for tick in client.all("time_update")]
            assert all(later == earlier + 1 for earlier, later in pairwise(offsets))


async def test_the_restart_shows_with_its_cause_and_health_is_degraded_then_ok(server):
    """Contract 4: a child is degraded from a failure until it has run for ``healthy_uptime``."""
    await wait_until(lambda: health(server) == "ok")
    restarts = server.get("/api/supervisors/broadcasters/clock")["restarts"]
    node = await restart_of(server, "broadcasters/clock")
    assert node["restarts"] == restarts + 1
    assert node["last_exit"]["reason"] == "crashed"
    assert node["last_exit"]["error"] == "CrashRequested: broadcasters/clock was told to crash"
    assert "CrashRequested" in node["last_exit"]["traceback"]  # shown, since debug is on

    degraded = server.get("/api/health")
    assert degraded["status"] == "degraded"
    assert any("broadcasters/clock" in reason for reason in degraded["reasons"])
    root = server.get("/api/supervisors")
    by_id = {child["id"]: child["health"] for child in root["children"]}
    assert (root["health"], by_id["broadcasters"], by_id["server"]) == ("degraded", "degraded", "ok")
    assert server.request("GET", "/api/health/ready").status == 200
    assert server.request("GET", "/api/health/live").status == 200

    began = trio.current_time()
    await wait_until(lambda: health(server) == "ok")
    assert trio.current_time() - began < HEALTHY + 1


async def test_whoever_watches_the_tree_sees_the_crash_the_restart_and_the_recovery(server):
    """Contract 3: ``/ws/supervisors`` tells of each change with the node as it then is."""
    async with listening(server, "/ws/supervisors") as watcher:
        await ask(server, "POST", "/api/supervisors/broadcasters/clock/crash")

        def told() -> list[tuple[str, str]]:
            changes = [change["data"] for change in watcher.all("supervisor_event")]
            return [(c["event"], c["node"]["health"]) for c in changes if c["path"] == "broadcasters/clock"]

        await watcher.until(lambda: ("recovered", "ok") in told())
    names = [name for name, _ in told()]
    assert names.index("exited") < names.index("restarted") < names.index("recovered")
    assert ("restarted", "degraded") in told()


async def test_the_log_tells_of_a_crash_with_path_attempt_delay_and_cause(server):
    """Contract 5: crashes are ERROR."""
    seen = await in_thread(server.mark_log)
    await restart_of(server, "broadcasters/clock")
    crash = server.wait_for_log("child_crashed", since=seen, path="broadcasters/clock")
    assert crash["level"] == "error"
    assert "CrashRequested" in crash["exception"]
    # At once if it was healthy before, else after a while; either way it says so.
    restart = await in_thread(restart_in_log, server, seen)
    assert (restart["level"], restart["path"]) == ("error", "broadcasters/clock")
    assert restart["attempt"] >= 1
    assert restart["next_delay_s"] >= 0
    assert "told to crash" in restart["cause"]


async def test_a_crash_of_the_server_closes_nothing_and_refuses_nobody(server):
    """Design 1: a connection is no child of the server's, and the tree holds the listening socket."""
    served = 0

    async def come_and_go() -> None:
        """Connect, get the confirmation and leave, without a pause; a refusal is an error."""
        nonlocal served
        while True:
            async with listening(server, "/ws/events"):
                served += 1

    async with many_listening(server, "/ws/open", 5) as clients, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(come_and_go)
        await ticks(clients, 2)
        # The first restart is at once; before the others there is a while in which nobody accepts.
        for _ in range(3):
            seen = await in_thread(server.mark_log)
            await ask(server, "POST", "/api/supervisors/server/crash")
            crashed = trio.current_time()
            async with listening(server, "/ws/newcomer"):
                waited = trio.current_time() - crashed
            restart = await in_thread(restart_in_log, server, seen)
            assert waited < restart["next_delay_s"] + 1
            before = served
            await ticks(clients, 2)
            assert served > before
        nursery.cancel_scope.cancel(reason="seen enough")
    assert [client.closed for client in clients] == [None] * 5
    assert server.get("/api/supervisors/server")["restarts"] == 3


async def test_a_crash_of_the_hub_disconnects_nobody_and_loses_nothing(server):
    """Design 5: topics, subscribers and what is pending outlive the flusher."""
    async with many_listening(server, "/ws/events", 5) as clients:
        await in_thread(server.post_event, "before")
        await ask(server, "POST", "/api/supervisors/hub/crash")
        await in_thread(server.post_event, "after")
        for client in clients:
            messages = await client.several(2, "event")
            assert [message["data"]["type"] for message in messages] == ["before", "after"]
            assert messages[1]["offset"] == messages[0]["offset"] + 1


async def test_a_crash_of_the_store_keeps_the_epoch_and_the_numbers(server):
    """Design 5: stored topics keep their epoch; nothing that was acknowledged is lost."""
    async with listening(server, "/ws/events") as client:
        await in_thread(server.post_event, "before")
        await restart_of(server, "store")
        await in_thread(server.post_event, "after")
        messages = await client.several(2, "event")
    assert [message["data"]["type"] for message in messages] == ["before", "after"]
    assert messages[1]["offset"] == messages[0]["offset"] + 1
    async with listening(server, "/ws/events") as newcomer:
        confirmed, earlier = newcomer.received[0], client.received[0]
        assert (confirmed["epoch"], confirmed["offset"]) == (earlier["epoch"], messages[1]["offset"])


WORKERS = ("store", "backplane", "hub", "server", "heartbeat", "broadcasters/clock", "broadcasters/supervisors")


async def test_whatever_crashes_while_events_are_posted_nobody_misses_one(make_server, chance):
    """Design 5: acknowledged means committed, and committed events reach every subscriber in order, once."""
    server: ServerProcess = await in_thread(make_server(debug=True).start)
    acknowledged: list[str] = []

    async def post() -> None:
        while True:
            answer = await ask(server, "POST", "/api/events", {"type": "posted"})
            assert answer.status in (201, 503), answer  # 503: the store is just being restarted
            if answer.status == 201:
                acknowledged.append(answer.json()["event_id"])

    async with many_listening(server, "/ws/events", 5) as clients:
        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post)
                nursery.start_soon(post)
                while True:
                    answer = await ask(server, "POST", f"/api/supervisors/{chance.choice(WORKERS)}/crash")
                    assert answer.status in (202, 409), answer  # 409: it has not come back from the last time
                    await trio.sleep(chance.uniform(0, 0.2))
        for client in clients:
            await client.until(lambda client=client: set(acknowledged) <= ids(client))
            offsets = [message["offset"] for message in client.all("event")]
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
            assert not client.all("gap")
    assert len(acknowledged) > 50
    tree = [child["id"] for child in server.get("/api/supervisors")["children"] if child["generation"] == 1]
    assert {"connections", "broadcasters"} <= set(tree)  # no crash reached a supervisor


def ids(client: Listener) -> set[str]:
    """Of the events that it has received."""
    return {message["data"]["event_id"] for message in client.all("event")}
