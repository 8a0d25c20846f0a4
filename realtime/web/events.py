"""Events over HTTP: create, list, look up."""

from __future__ import annotations

from typing import Final

import trio
from quart import Blueprint, Response, request

from realtime.fields import decode_object, shown
from realtime.ports import EventQuery, NewEvent
from realtime.web import shapes
from realtime.web.access import demand, needs
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import SOON, ApiError, json_response
from realtime.web.listings import query_parameters

blueprint = Blueprint("events", __name__)

COMMIT_TIMEOUT: Final = 10.0
"""Seconds that a creator waits for the store: longer than it takes to restart one, shorter than clients give up."""

EXAMPLE: Final = {
    "event_id": "01JGFJJZ00D3C5Q9Z8Y7X6W5V4",
    "type": "door_opened",
    "timestamp": "2026-01-01T00:00:00.000Z",
    "severity": "info",
    "source": "hall",
    "tags": ["north"],
    "data": {"by": "alice"},
}


async def json_body() -> bytes:
    """The request's body, which has to be JSON.

    Raises:
      ApiError: 415, it is declared as something else.
    """
    if request.mimetype != "application/json":
        sent = shown(request.mimetype) if request.mimetype else "nothing"
        raise ApiError(415, f"Content-Type must be application/json, got {sent}")
    body = await request.get_data(as_text=False)
    assert isinstance(body, bytes)
    return body


@blueprint.post("/api/events")
@described(
    body=NewEvent,
    example={"type": "door_opened", "data": {"by": "alice"}, "source": "hall", "tags": ["north"]},
    answers={
        201: Answer(shapes.Event, EXAMPLE, "It is committed.", headers={"Location": "where it is found"}),
    },
    errors=(503,),
)
@needs("create_event")
async def create() -> Response:
    """Store an event; 201 means that it is committed."""
    event = decode_object(await json_body(), NewEvent)
    with trio.move_on_after(COMMIT_TIMEOUT):
        stored = await backend().events.create_event(event)
        return json_response(stored.to_wire(), 201, {"Location": f"/api/events/{stored.event_id}"})
    message = f"the event store did not answer within {COMMIT_TIMEOUT:g} s; the event may still be stored"
    raise ApiError(503, message, code="not_stored", headers=SOON)


@blueprint.get("/api/events")
@described(
    query=EventQuery,
    answers={200: Answer(shapes.Events, {"events": [EXAMPLE], "next": None})},
    errors=(503,),
)
async def query() -> Response:
    """A page of events, oldest first."""
    demand("subscribe", "events")
    page = await backend().store.query(EventQuery.from_params(query_parameters()))
    return json_response({"events": [event.to_wire() for event in page.events], "next": page.next})


@blueprint.get("/api/events/<event_id>")
@described(
    path={"event_id": ("the id that its creator was given", EXAMPLE["event_id"])},
    answers={200: Answer(shapes.Event, EXAMPLE)},
    errors=(404, 503),
)
async def get(event_id: str) -> Response:
    """One event."""
    demand("subscribe", "events")
    event = await backend().store.get(event_id)
    if event is None:
        raise ApiError(404, f"there is no event {shown(event_id)}")
    return json_response(event.to_wire())
