"""What this server offers, for programs and for people: both documents, and a page that is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quart import Blueprint, Quart, Response, current_app

from realtime.web import asyncapi, openapi
from realtime.web.access import open_to_all
from realtime.web.backend import backend
from realtime.web.dashboard import answer, read_asset
from realtime.web.described import Answer, described
from realtime.web.errors import json_response
from realtime.web.modules import published_shapes

blueprint = Blueprint("documents", __name__)

PAGE: Final = "docs.html"


@blueprint.get("/openapi.json")
@described(answers={200: Answer()}, tag="documents")
@open_to_all
async def openapi_document() -> Response:
    """Every route, as OpenAPI 3.1."""
    return json_response(openapi.document(*applications()))


@blueprint.get("/asyncapi.json")
@described(answers={200: Answer()}, tag="documents")
@open_to_all
async def asyncapi_document() -> Response:
    """Every WebSocket, as AsyncAPI 3.0."""
    return json_response(asyncapi.document(*applications(), published=published_shapes()))


def applications() -> Iterator[Quart]:
    """Our own, and those of the actor modules that have routes."""
    yield current_app
    mounts = backend().mounts
    if mounts is not None:
        yield from mounts.applications.values()


@blueprint.get("/docs")
@described(answers={200: Answer(content_type="text/html; charset=utf-8")}, tag="documents")
@open_to_all
async def page() -> Response:
    """The routes and the sockets, to be read."""
    return await answer(read_asset(PAGE))
