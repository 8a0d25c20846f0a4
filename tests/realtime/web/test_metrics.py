import os
import time

import pytest

from ..in_process import receive


async def test_the_figures_stand_under_the_names_of_the_protocol(system):
    figures = await system.get("/api/metrics")
    contract = ["process", "connections", "messages", "topics", "store", "supervisors", "loop"]
    assert list(figures) == [*contract, "refusals", "access"]


async def test_the_process_is_this_one(system):
    process = (await system.get("/api/metrics"))["process"]
    assert process["rss_bytes"] > 1_000_000
    assert process["open_files"] >= 3
    assert process["threads"] >= 1
    assert process["cpu_s"] == pytest.approx(sum(os.times()[:2]), abs=0.5)
    assert process["restarts"] == 0


async def test_uptime_counts_from_the_last_restart_of_the_process(system):
    state = system.system.backend
    state.began, state.restarts = time.monotonic() - 100, 2
    process = (await system.get("/api/metrics"))["process"]
    assert process["uptime_s"] == pytest.approx(100, abs=5)
    assert process["restarts"] == 2


async def test_what_is_connected_stored_and_published_is_counted(system):
    before = await system.get("/api/metrics")
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        await system.client.post("/api/events", json={"type": "t"})
        await receive(socket, 1)
        during = await system.get("/api/metrics")
    assert (before["connections"]["open"], during["connections"]["open"]) == (0, 1)
    assert (before["store"]["events"], during["store"]["events"]) == (0, 1)
    assert during["topics"]["events"] == {"subscribers": 1, "published": 1, "dropped": 0}
    messages = during["messages"]
    assert messages["published"] == before["messages"]["published"] + 1
    assert (messages["deliveries"], messages["dropped"]) == (1, 0)
    assert messages["sent_bytes"] > 100
    assert messages["latency_s"]["count"] == 1
    assert during["store"]["commit_s"]["count"] == 1


async def test_the_sessions_are_one_line_however_many_there_are(system):
    async with system.websocket("/ws/one") as one, system.websocket("/ws/two") as two:
        await receive(one, 2)
        await receive(two, 2)
        topics = (await system.get("/api/metrics"))["topics"]
    assert topics["session/*"] == {"subscribers": 2, "published": 0, "dropped": 0}
    assert not [name for name in topics if "one" in name or "two" in name]


async def test_the_tree_and_the_loop_are_counted(system):
    figures = await system.get("/api/metrics")
    assert figures["supervisors"] == {
        "restarts": 0,
        "not_ok": 0,
        "nodes": 10,
        "restarts_by_path": {},
        "budget_left": {"": 3, "jobs": 3, "broadcasters": 3},
    }
    assert figures["loop"]["tasks"] > 10


async def test_a_restart_shows(system, autojump_clock):
    system.tree.crash("heartbeat", RuntimeError("x"))
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
    supervisors = (await system.get("/api/metrics"))["supervisors"]
    assert supervisors["restarts"] == 1
    assert supervisors["restarts_by_path"] == {"heartbeat": 1}
