"""Sessions over HTTP: emit to them, and see who is in a topic."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import attrs
import trio
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response

from realtime import messages
from realtime.actors.emitter import ACK_SECONDS, EmitFailed, EmitRefused, check_event
from realtime.delivery.emission import topic_of
from realtime.delivery.errors import UnknownTopic
from realtime.fields import BadField, decode_object, shown
from realtime.web.access import demand, needs
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import SOON, ApiError, json_response
from realtime.web.events import json_body

blueprint = Blueprint("sessions", __name__)

HAND_OVER_TIMEOUT: Final = 10.0
"""Seconds for the emitter to take a message up: longer than it takes to restart it, shorter than clients give up."""
LONGEST_ACK: Final = 30.0
"""Seconds that a request waits for acknowledgements at most."""


def _event(_instance: object, _field: object, value: str) -> None:
    check_event(value)


def _destination(_instance: object, _field: object, value: dict[str, str] | None) -> None:
    if value is None:
        return
    if len(value) != 1 or not value.keys() <= {"session", "topic"}:
        raise BadField("to", f'to must be {{"session": ...}} or {{"topic": ...}}, got {shown(value)}')
    ((kind, name),) = value.items()
    if kind == "session" and not messages.is_session_id(name):
        raise BadField("to.session", f"to.session must be {messages.ID_GRAMMAR}, got {shown(name)}")
    if kind == "topic" and not messages.is_topic(name):
        raise BadField("to.topic", f"to.topic must be {messages.TOPIC_GRAMMAR}, got {shown(name)}")


def _seconds(_instance: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 < value <= LONGEST_ACK:
        raise ValueError(f"{field.name} must be greater than 0 and at most {LONGEST_ACK:g}, got {value!r}")


@attrs.frozen
class Emit:
    """The body of ``POST /api/emit``.

    Attributes:
      to: a session or a topic; without it every session.
      ack: ask each client to acknowledge, and wait for all of them or for the first.
      within: seconds to wait for that.
    """

    event: Annotated[str, Meta(pattern="^[A-Za-z0-9_.:-]{1,128}$")] = attrs.field(validator=_event)
    data: Any
    to: dict[str, str] | None = attrs.field(default=None, validator=_destination)
    ack: bool | Literal["first"] = False
    within: Annotated[float, Meta(gt=0, le=LONGEST_ACK)] = attrs.field(default=ACK_SECONDS, validator=_seconds)

    @property
    def topic(self) -> str | None:
        """Whose subscribers get it."""
        to = self.to or {}
        return topic_of(to["session"]) if "session" in to else to.get("topic")


@attrs.frozen
class Reach:
    """Whom a message reached; none is no error."""

    sessions: Annotated[int, Meta(ge=0)]
    connections: Annotated[int, Meta(ge=0)]
    acknowledged: Annotated[int, Meta(ge=0, description="connections that did, if they were asked")] | UnsetType = UNSET


@attrs.frozen
class Present:
    """A session that is in a topic."""

    session: str
    connections: Annotated[int, Meta(ge=1)]
    principal: Annotated[str, Meta(description="as whom it has signed in")] | UnsetType = UNSET


@attrs.frozen
class Members:
    """Who is in a topic."""

    topic: str
    members: list[Present]


@blueprint.post("/api/emit")
@described(
    body=Emit,
    example={"event": "invoice_paid", "data": {"invoice": 17}, "to": {"session": "alice"}},
    answers={202: Answer(Reach, {"sessions": 1, "connections": 2}, "It was handed over.")},
    errors=(503,),
)
@needs("emit")
async def emit() -> Response:
    """Send a message to the connections of a session, of those who subscribe to a topic, or of all sessions."""
    wanted = decode_object(await json_body(), Emit)
    try:
        with trio.fail_after(HAND_OVER_TIMEOUT + (wanted.within if wanted.ack else 0)):
            reached = await backend().emit.emit_and_wait(
                wanted.event, wanted.data, to=wanted.topic, ack=wanted.ack, within=wanted.within
            )
    except EmitRefused as error:
        raise ApiError(503, str(error), headers=SOON) from error
    except (EmitFailed, trio.TooSlowError) as error:
        message = "the message could not be handed over; some clients may have it"
        raise ApiError(503, message, headers=SOON) from error
    return json_response(attrs.asdict(reached, filter=lambda _, value: value is not None), 202)


@blueprint.get("/api/presence/<path:topic>")
@described(
    answers={
        200: Answer(Members, {"topic": "room/1", "members": [{"session": "alice", "connections": 2}]}),
    },
    path={"topic": ("a topic whose settings say `presence = true`", "room/1")},
    errors=(404,),
)
async def presence(topic: str) -> Response:
    """Who subscribes to a topic now: each session once, on however many connections."""
    demand("subscribe", topic)
    state = backend()
    try:
        state.hub.check(topic)
    except UnknownTopic as error:
        raise ApiError(404, str(error)) from None
    if not state.settings.topic(topic).presence:
        raise ApiError(404, f"topic {shown(topic)} has no presence; its settings would have to say presence = true")
    found = sorted(state.presence.members(topic).items())
    members = [{**member.to_wire(), "connections": connections} for member, connections in found]
    return json_response({"topic": topic, "members": members})
