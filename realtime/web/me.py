"""Whose token it is: what a page shows that somebody has signed in with."""

from __future__ import annotations

from typing import Any, Final

from quart import Blueprint, Response

from realtime.messages import now_iso
from realtime.policy.access import Principal
from realtime.web import shapes
from realtime.web.access import open_to_all, principal, recognise
from realtime.web.described import Answer, described
from realtime.web.errors import json_response

blueprint = Blueprint("me", __name__)

_LAST: Final = 253_402_300_799.0
"""The end of the year 9999, beyond which no date is written; issuers that count in milliseconds are."""

EXAMPLE: Final = {"name": "ann", "scopes": ["editors"], "expires_at": "2026-01-01T00:00:00.000Z"}


@blueprint.get("/api/me")
@described(answers={200: Answer(shapes.Me, EXAMPLE)}, errors=(503,))
@open_to_all
async def me() -> Response:
    """Who has signed in with this request's token, and with what scopes.

    Without a token it tells of nobody, also where signing in is required; a token that does not count is refused.
    """
    await recognise()
    return json_response(_to_wire(principal()))


def _to_wire(found: Principal) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": found.name, "scopes": sorted(found.scopes)}
    if found.expires_at is not None:
        wire["expires_at"] = now_iso(min(found.expires_at, _LAST))
    return wire
