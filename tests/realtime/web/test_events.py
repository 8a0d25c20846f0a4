import attrs
import pytest
import trio

from realtime.actors.events import event_type
from realtime.policy.checks import MAX_PAGE
from realtime.web.events import COMMIT_TIMEOUT

from ..in_process import error_of, receive

EVENT = {"type": "door_opened", "data": {"door": 3}, "severity": "warning", "source": "hall", "tags": ["a", "b"]}


async def post(system, **body):
    return await system.client.post("/api/events", json=body)


async def test_an_event_is_answered_as_it_was_stored(system):
    answer = await post(system, **EVENT)
    body = await answer.get_json()
    assert answer.status_code == 201
    assert body == {**EVENT, "event_id": body["event_id"], "timestamp": body["timestamp"]}
    assert body["timestamp"].endswith("Z")


async def test_data_of_a_type_that_has_a_class_have_to_fit_it(system):
    @event_type("door_opened")
    @attrs.frozen
    class DoorOpened:
        door: int

    system.system.services.events.register(DoorOpened)
    error = await error_of(await post(system, type="door_opened", data={"door": "three"}), 400, "bad_request")
    assert error["details"] == {"field": "data.door"}
    assert (await post(system, **EVENT)).status_code == 201
    assert (await post(system, type="anything", data={"door": "three"})).status_code == 201


async def test_location_is_where_it_can_be_found_again(system):
    answer = await post(system, **EVENT)
    assert await system.get(answer.headers["Location"]) == await answer.get_json()


async def test_only_the_type_has_to_be_given(system):
    body = await (await post(system, type="t")).get_json()
    assert {key: body[key] for key in ("data", "severity", "source", "tags")} == {
        "data": {},
        "severity": "info",
        "source": None,
        "tags": [],
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": 1}, "type"),
        ({"type": "with space"}, "type"),
        ({"type": "t", "severity": "loud"}, "severity"),
        ({"type": "t", "data": []}, "data"),
        ({"type": "t", "tags": ["x", 1]}, "tags[1]"),
        ({"type": "t", "typ": 1}, "typ"),
    ],
)
async def test_a_bad_field_is_400_and_named(system, body, field):
    error = await error_of(await post(system, **body), 400, "bad_request")
    assert error["details"] == {"field": field}
    assert error["message"].startswith(field)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"type":"t"} x', b"[" * 5000])
async def test_a_body_that_is_no_json_object_is_400(system, body):
    answer = await system.client.post("/api/events", data=body, headers={"Content-Type": "application/json"})
    error = await error_of(answer, 400, "bad_request")
    assert error["details"] == {}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/json", None])
async def test_a_body_that_is_not_declared_as_json_is_415(system, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await system.client.post("/api/events", data=b'{"type":"t"}', headers=headers)
    await error_of(answer, 415, "wrong_type")


async def test_a_charset_beside_the_type_does_not_matter(system):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = await system.client.post("/api/events", data=b'{"type":"t"}', headers=headers)
    assert answer.status_code == 201


async def test_an_event_is_pushed_once_it_is_committed(system):
    async with system.websocket("/ws/events") as socket:
        (subscribed,) = await receive(socket, 1)
        stored = await (await post(system, **EVENT)).get_json()
        (message,) = await receive(socket, 1)
    assert message == {"type": "event", "topic": "events", "offset": subscribed["offset"] + 1, "data": stored}


async def test_events_are_listed_oldest_first_a_page_at_a_time(system):
    for number in range(5):
        await post(system, type=f"t{number}")
    first = await system.get("/api/events?limit=2")
    second = await system.get("/api/events", query_string={"limit": 2, "after": first["next"]})
    third = await system.get("/api/events", query_string={"limit": 2, "after": second["next"]})
    pages = [[event["type"] for event in page["events"]] for page in (first, second, third)]
    assert pages == [["t0", "t1"], ["t2", "t3"], ["t4"]]
    assert third["next"] is None


async def test_a_listing_can_begin_after_an_event(system):
    ids = [(await (await post(system, type="t")).get_json())["event_id"] for _ in range(3)]
    page = await system.get("/api/events", query_string={"after": ids[0]})
    assert [event["event_id"] for event in page["events"]] == ids[1:]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        (f"limit={MAX_PAGE + 1}", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=", "limit"),
        ("after=nothing", "after"),
        ("since=yesterday", "since"),
        ("severity=loud", "severity"),
        ("page=2", "page"),
        ("q=", "q"),
        ("q=%00", "q"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(system, query, field):
    error = await error_of(await system.client.get(f"/api/events?{query}"), 400, "bad_request")
    assert error["details"] == {"field": field}


@pytest.mark.parametrize("id", ["nothing", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "%00", "%F0%9F%9A%AA", "x" * 3000, "%ff"])
async def test_an_event_that_there_is_not_is_404(system, id):
    error = await error_of(await system.client.get(f"/api/events/{id}"), 404, "not_found")
    assert len(error["message"]) < 200


async def test_a_store_that_is_down_is_503_for_a_moment(system):
    await system.tree.stop_child("store")
    for answer in (await post(system, type="t"), await system.client.get("/api/events")):
        await error_of(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"


async def test_nobody_waits_for_a_store_without_end(system, autojump_clock, monkeypatch):
    async def never(event):
        await trio.sleep_forever()

    monkeypatch.setattr(system.system.store, "append", never)
    began = trio.current_time()
    error = await error_of(await post(system, type="t"), 503, "not_stored")
    assert trio.current_time() - began == pytest.approx(COMMIT_TIMEOUT)
    assert "may still be stored" in error["message"]
