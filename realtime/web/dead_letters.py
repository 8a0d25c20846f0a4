"""Events that could not be delivered to a webhook, for operators: list them, have them sent again, forget them."""

from __future__ import annotations

from typing import Annotated, Final, Self

import attrs
import structlog
from msgspec import Meta
from quart import Blueprint, Response

from realtime.fields import build_first, shown
from realtime.policy import checks
from realtime.web.access import needs
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import ApiError, json_response
from realtime.web.events import EXAMPLE as EVENT
from realtime.web.listings import Page, query_parameters
from realtime.web.shapes import Count, Event, Timestamp

blueprint = Blueprint("dead_letters", __name__)
logger = structlog.get_logger("realtime.operator")

LONGEST_ID: Final = 18
"""Digits of an id: all of these are 64-bit numbers."""

_EXAMPLE: Final = {
    "id": "7",
    "sink": "forge",
    "event": EVENT,
    "attempts": 10,
    "failed_at": "2026-01-01T00:00:00.000Z",
    "status": 503,
    "error": "answered with 503",
    "again": False,
}
_PATH: Final = {"id": ("as in the list", "7")}


@attrs.frozen
class DeadLetter:
    """An event that could not be delivered."""

    id: str
    sink: Annotated[str, Meta(description="the name of the webhook")]
    event: Event
    attempts: Count
    failed_at: Timestamp
    status: Annotated[int | None, Meta(description="of the last answer; null if there was none")]
    error: str | None
    again: Annotated[bool, Meta(description="whether it is about to be sent again")]


@attrs.frozen
class DeadLetters:
    """A page of them, the oldest first."""

    dead_letters: list[DeadLetter]
    next: Annotated[str | None, Meta(description="give it as after; null when there are no more")]
    total: Count


@attrs.frozen
class Wanted:
    """Which ones: at most *limit* behind the one with the id *after*, of one *sink* or of all."""

    limit: checks.Limit = attrs.field(default=100, validator=checks.is_limit)
    after: Count = 0
    sink: checks.Source | None = attrs.field(default=None, validator=attrs.validators.optional(checks.is_source))

    @classmethod
    def from_params(cls, params: dict[str, str]) -> Self:
        """What the parameters of a URL ask for; BadField for an unknown name or a bad value."""
        sink = {"sink": params.pop("sink")} if "sink" in params else {}
        page = Page.from_params(params)
        return build_first(cls, {"limit": page.limit, "after": page.after, **sink})


@blueprint.get("/api/dead-letters")
@described(
    query=Wanted,
    answers={200: Answer(DeadLetters, {"dead_letters": [_EXAMPLE], "next": None, "total": 1})},
    errors=(503,),
    admin=True,
)
@needs("operate")
async def listing() -> Response:
    """Events that webhooks could not deliver, the oldest first."""
    wanted = Wanted.from_params(query_parameters())
    deliveries = backend().deliveries
    found = await deliveries.letters(sink=wanted.sink, after=wanted.after, limit=wanted.limit + 1)
    page = found[: wanted.limit]
    return json_response(
        {
            "dead_letters": [letter.to_wire() for letter in page],
            "next": str(page[-1].id) if len(found) > len(page) else None,
            "total": await deliveries.count(wanted.sink),
        }
    )


@blueprint.post("/api/dead-letters/<id>/again")
@described(path=_PATH, answers={202: Answer(DeadLetter, {**_EXAMPLE, "again": True})}, errors=(404, 503), admin=True)
@needs("operate")
async def again(id: str) -> Response:
    """Have one sent again; it is forgotten once it is delivered.

    Its webhook sends it next, before newer events. If that fails too, it is listed again.
    """
    letter = await backend().deliveries.send_again(_number(id))
    if letter is None:
        raise _unknown(id)
    logger.info("dead_letter_again", id=letter.id, sink=letter.sink)
    return json_response(letter.to_wire(), 202)


@blueprint.delete("/api/dead-letters/<id>")
@described(path=_PATH, answers={204: Answer(content_type=None, text="It is forgotten.")}, errors=(404, 503), admin=True)
@needs("operate")
async def forget(id: str) -> Response:
    """Forget one."""
    if not await backend().deliveries.discard(_number(id)):
        raise _unknown(id)
    logger.info("dead_letter_forgotten", id=int(id))
    return Response(b"", 204)


def _number(id: str) -> int:
    if not (id.isascii() and id.isdecimal() and len(id) <= LONGEST_ID):
        raise _unknown(id)
    return int(id)


def _unknown(id: str) -> ApiError:
    return ApiError(404, f"there is no dead letter {shown(id)}")
