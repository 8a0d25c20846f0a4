"""Who is connected, and what is published: the hub's own figures over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

import attrs
import msgspec
from quart import Blueprint, Response, request

from realtime.delivery.connection import ConnectionStatistics
from realtime.fields import LONGEST_SHOWN, BadField, build_first, shown
from realtime.policy.checks import Limit, is_limit
from realtime.web import shapes
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import json_response

blueprint = Blueprint("listings", __name__)

_LONGEST_NUMBER: Final = 15
"""Digits of a cursor: far more connections than any process will see, and few enough to be read at once."""


@attrs.frozen
class Page:
    """Which connections are wanted: at most *limit*, of those that came after the one with the number *after*."""

    limit: Limit = attrs.field(default=100, validator=is_limit)
    after: Annotated[int, msgspec.Meta(ge=0, lt=10**_LONGEST_NUMBER, description="the `next` of the page before")] = 0

    @classmethod
    def from_params(cls, params: dict[str, str]) -> Self:
        """The page in the parameters of a URL; BadField for an unknown name or a bad value."""
        known = ("limit", "after")  # another is refused by its name
        return build_first(cls, {n: whole_number(n, text) if n in known else text for n, text in params.items()})


def whole_number(name: str, text: str) -> int:
    """The number that the parameter *name* of a URL gives; BadField if it is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER):
        raise BadField(name, f"{name} must be a whole number, got {shown(text)}")
    return int(text)


def query_parameters() -> dict[str, str]:
    """The parameters of the request's URL.

    Raises:
      BadField: one is given twice; to choose one of them would be a guess.
    """
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadField(name[:LONGEST_SHOWN], f"{shown(name)} is given {len(values)} times; give it once")
    return request.args.to_dict()


@blueprint.get("/api/connections")
@described(
    query=Page,
    answers={
        200: Answer(
            shapes.Connections,
            {
                "connections": [
                    {
                        "id": "c1",
                        "session": "alice",
                        "address": "127.0.0.1",
                        "topics": ["clock", "session/alice"],
                        "queued_messages": 0,
                        "queued_bytes": 0,
                        "dropped": 0,
                        "rtt_s": 0.00042,
                        "connected_s": 61.5,
                    }
                ],
                "next": None,
                "total": 1,
            },
        )
    },
)
async def connections() -> Response:
    """A page of connections, in the order in which they came."""
    page = Page.from_params(query_parameters())
    hub = backend().hub
    newer = hub.newcomers(page.after)
    found = newer[: page.limit]
    return json_response(
        {
            "connections": [_connection_to_wire(connection.statistics()) for connection in found],
            "next": str(found[-1].number) if len(newer) > len(found) else None,
            "total": len(hub.connections),
        }
    )


def _connection_to_wire(figures: ConnectionStatistics) -> dict[str, Any]:
    wire = attrs.asdict(figures, filter=lambda _, value: value is not None)
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in wire.items()}


@blueprint.get("/api/topics")
@described(
    answers={
        200: Answer(
            shapes.Topics,
            {
                "topics": [
                    {
                        "topic": "clock",
                        "subscribers": 1,
                        "published": 61,
                        "dropped": 0,
                        "epoch": "9f86d081.1",
                        "offset": 61,
                        "overflow": "conflate",
                    }
                ]
            },
        )
    },
)
async def topics() -> Response:
    """Each topic that exists now, by name."""
    return json_response({"topics": [attrs.asdict(topic) for topic in backend().hub.topics()]})
