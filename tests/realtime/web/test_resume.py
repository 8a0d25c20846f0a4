"""Contract section 3: subscribe with epoch and offset, and ?epoch=&offset= on fixed streams."""

import pytest

from realtime.messages import encode
from realtime.sections import TopicRule

from ..in_process import error_of, make_settings, receive, receive_until, refused, running


async def create(system, count):
    return [await system.system.services.events.create_event(type="t", data={"n": n}) for n in range(count)]


async def confirmed(system, path):
    async with system.websocket(path) as socket:
        return (await receive(socket, 1))[0]


async def test_a_fixed_stream_resumes_where_its_address_says(system):
    epoch = (await confirmed(system, "/ws/events"))["epoch"]
    stored = await create(system, 4)
    async with system.websocket(f"/ws/events?epoch={epoch}&offset=1") as socket:
        first, *missed = await receive(socket, 4)
        assert first == {"type": "subscribed", "topic": "events", "epoch": epoch, "offset": 4, "recovered": True}
        assert [(told["offset"], told["data"]["event_id"]) for told in missed] == [
            (event.offset, event.event_id) for event in stored[1:]
        ]
        await create(system, 1)
        (live,) = await receive(socket, 1)
        assert live["offset"] == 5


@pytest.mark.parametrize("query", ["", "?epoch=&offset=", "?epoch={epoch}", "?offset=1", "?epoch=other&offset=1"])
async def test_without_a_position_of_this_epoch_nothing_is_sent_again(system, query):
    epoch = (await confirmed(system, "/ws/events"))["epoch"]
    await create(system, 3)
    async with system.websocket("/ws/events" + query.format(epoch=epoch)) as socket:
        (first,) = await receive(socket, 1)
        assert (first["offset"], first["recovered"]) == (3, False)
        await create(system, 1)
        assert (await receive(socket, 1))[0]["offset"] == 4


@pytest.mark.parametrize("offset", ["x", "-1", "1.5", "1" * 30])
async def test_an_offset_that_is_none_is_refused(system, offset):
    error = await error_of(await refused(system.websocket(f"/ws/events?epoch=e&offset={offset}")), 400, "bad_request")
    assert error["details"] == {"field": "offset"}


async def test_a_session_asks_with_each_topic(system):
    epoch = (await confirmed(system, "/ws/events"))["epoch"]
    await create(system, 3)
    async with system.websocket("/ws/s?epoch=x&offset=1") as socket:
        await receive(socket, 2)
        await socket.send(encode({"type": "subscribe", "topic": "events", "epoch": epoch, "offset": 2}).decode())
        told, missed = await receive(socket, 2)
        assert (told["recovered"], missed["offset"]) == (True, 3)
        await socket.send(encode({"type": "subscribe", "topic": "events", "epoch": epoch}).decode())
        assert not (await receive_until(socket, "subscribed"))["recovered"]


async def test_any_topic_with_a_history_can_be_resumed():
    settings = make_settings(topics={"mine": TopicRule(history=3)})
    async with running(settings) as system:
        hub = system.system.hub
        hub.declare("mine")
        async with system.websocket("/ws/s") as socket:
            await receive(socket, 2)
            await socket.send(encode({"type": "subscribe", "topic": "mine"}).decode())
            (told,) = await receive(socket, 1)
        for number in range(4):
            hub.publish_nowait("mine", "mine_update", number)
        for offset, sent in ((1, [1, 2, 3]), (4, []), (0, None)):
            async with system.websocket("/ws/s") as socket:
                await receive(socket, 2)
                ask = {"type": "subscribe", "topic": "mine", "epoch": told["epoch"], "offset": offset}
                await socket.send(encode(ask).decode())
                (again,) = await receive(socket, 1)
                assert again["recovered"] is (sent is not None)
                assert [each["data"] for each in await receive(socket, len(sent or ()))] == (sent or [])


async def test_a_tree_that_is_resumed_is_shown_as_it_is_after_what_was_missed():
    async with running(make_settings(topics={"supervisors": TopicRule(history=50)})) as system:
        async with system.websocket("/ws/supervisors") as socket:
            told, snapshot = await receive(socket, 2)
        system.system.hub.publish_nowait("supervisors", "supervisor_event", {"n": 1})
        place = f"?epoch={told['epoch']}&offset={snapshot['offset']}"
        async with system.websocket("/ws/supervisors" + place) as socket:
            again, missed, present = await receive(socket, 3)
    assert (again["recovered"], missed["data"], present["type"]) == (True, {"n": 1}, "snapshot")
    assert present["offset"] == missed["offset"] == again["offset"]
