from contextlib import AsyncExitStack

import pytest
import trio.testing

from ..in_process import CLOCK, error_of, make_settings, receive, running


async def test_nobody_is_connected(system):
    assert await system.get("/api/connections") == {"connections": [], "next": None, "total": 0}


async def test_a_connection_shows_who_it_is_and_how_it_fares(autojump_clock):
    from_there = {"client": ("192.0.2.1", 50_000)}
    async with (
        running(make_settings(actors={"clock": CLOCK})) as system,
        system.websocket("/ws/mine", scope_base=from_there) as socket,
    ):
        await receive(socket, 3)
        await trio.sleep(10.5)
        (connection,) = (await system.get("/api/connections"))["connections"]
    assert len(connection.pop("id")) == 16
    assert connection.pop("connected_s") == pytest.approx(10.5, abs=1)
    assert connection == {
        "session": "mine",
        "address": "192.0.2.1",
        "topics": ["clock", "session/mine"],
        "queued_messages": 0,
        "queued_bytes": 0,
        "dropped": 0,
    }


async def test_a_fixed_stream_has_no_session(system):
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        (connection,) = (await system.get("/api/connections"))["connections"]
    assert "session" not in connection
    assert connection["topics"] == ["events"]


async def test_pages_tell_of_each_connection_once_in_the_order_of_their_coming(system):
    async with AsyncExitStack() as sockets:
        for _ in range(5):
            await receive(await sockets.enter_async_context(system.websocket("/ws/events")), 1)
        whole = await system.get("/api/connections")
        pages, after = [], "0"
        while after is not None:
            page = await system.get("/api/connections", query_string={"limit": 2, "after": after})
            pages.append([connection["id"] for connection in page["connections"]])
            after = page["next"]
    ids = [connection["id"] for connection in whole["connections"]]
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    assert (whole["total"], whole["next"], len(set(ids))) == (5, None, 5)


async def test_there_is_no_next_page_behind_a_full_one_that_is_the_last(system):
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        assert (await system.get("/api/connections?limit=1"))["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("after=-1", "after"),
        ("after=c1", "after"),
        ("after=", "after"),
        ("after=" + "9" * 20, "after"),
        ("after=%D9%A3", "after"),
        ("after=1&after=2", "after"),
        ("offset=1", "offset"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(system, query, field):
    error = await error_of(await system.client.get(f"/api/connections?{query}"), 400, "bad_request")
    assert error["details"] == {"field": field}


async def test_each_topic_is_shown_by_name(autojump_clock):
    async with running(make_settings(actors={"clock": CLOCK})) as system, system.websocket("/ws/mine") as socket:
        (subscribed,) = await receive(socket, 1)
        await trio.testing.wait_all_tasks_blocked()
        topics = (await system.get("/api/topics"))["topics"]
    assert [topic["topic"] for topic in topics] == ["clock", "events", "session/mine", "supervisors"]
    clock = topics[0]
    assert clock["published"] == clock.pop("offset") > 0
    assert clock == {
        "topic": "clock",
        "subscribers": 1,
        "published": clock["published"],
        "dropped": 0,
        "epoch": subscribed["epoch"],
        "overflow": "conflate",
    }
