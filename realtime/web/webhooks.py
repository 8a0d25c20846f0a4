"""Webhooks over HTTP: whoever knows the secret of one may create its events."""

from __future__ import annotations

from typing import Final

import attrs
import trio
from quart import Blueprint, Response, request

from realtime.actors.incoming import SignatureRefused
from realtime.fields import shown
from realtime.web.access import open_to_all
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import SOON, ApiError, json_response
from realtime.web.events import COMMIT_TIMEOUT, EXAMPLE, json_body

blueprint = Blueprint("webhooks", __name__)

_STATUS: Final = {"missing": 401, "wrong": 403, "stale": 403}


@attrs.frozen
class Accepted:
    """The event that a message became."""

    event_id: str


@blueprint.post("/api/webhooks/<name>")
@described(
    raw_body=True,
    example={"order": 17, "paid": True},
    path={"name": ("as in the settings", "forge")},
    answers={202: Answer(Accepted, {"event_id": EXAMPLE["event_id"]}, "The event is committed.")},
    errors=(401, 403, 404, 503),
)
@open_to_all  # the signature says whose it is
async def receive(name: str) -> Response:
    """Take a signed message, any JSON object, as an event of the type ``webhook.<name>``.

    The signature is an HMAC-SHA256 by the webhook's secret over the body as it is sent, in the header of the settings.
    """
    webhook = backend().webhooks.get(name)
    if webhook is None:
        raise ApiError(404, f"there is no webhook {shown(name)}; see [webhooks] in the settings")
    body = await json_body()
    try:
        event = webhook.event(request.headers, body)
    except SignatureRefused as error:
        status, code = _STATUS[error.refused.reason], f"signature_{error.refused.reason}"
        raise ApiError(status, str(error), code=code) from None
    with trio.move_on_after(COMMIT_TIMEOUT):
        stored = await backend().events.create_event(event)
        return json_response({"event_id": stored.event_id}, 202)
    message = f"the event store did not answer within {COMMIT_TIMEOUT:g} s; the event may still be stored"
    raise ApiError(503, message, code="not_stored", headers=SOON)
