"""What this server offers, for programs and for people: both documents, and a page that is made of them.

The documents are the same for everybody and take long to make, so they are kept, and made anew when a module has been
switched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import attrs
import trio
from quart import Blueprint, Quart, Response, current_app

from realtime.messages import encode
from realtime.web import asyncapi, openapi
from realtime.web.access import open_to_all
from realtime.web.backend import backend
from realtime.web.dashboard import SEEN, Asset, answer, read_asset
from realtime.web.described import Answer, described
from realtime.web.modules import published_shapes
from realtime.web.schemas import Schema

blueprint = Blueprint("documents", __name__)

PAGE: Final = "docs.html"
_KEY: Final = "realtime_documents"


@attrs.frozen
class Sources:
    """What the documents are made of.

    Attributes:
      apps: our own, and those of the actor modules that have routes; a module that is switched has another one.
      routes: how many each of them has; some can be added, none can be taken out.
      published: see `realtime.modules.Modules.message_types`.
    """

    apps: tuple[Quart, ...]
    routes: tuple[int, ...]
    published: tuple[tuple[str, str, type], ...]


@attrs.define(eq=False)
class Kept:
    """A document as it is sent, the last that was made.

    Args:
      make: called in a thread.
    """

    _make: Callable[[Sources], Schema]
    _asset: Asset | None = attrs.field(default=None, init=False)
    _sources: Sources | None = attrs.field(default=None, init=False)
    # Whoever comes while it is being made waits for that, and takes no thread.
    _making: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def get(self) -> Asset:
        """The document of what there is now. A checkpoint."""
        async with self._making:
            sources = _sources()
            if self._asset is None or sources != self._sources:
                self._asset = await trio.to_thread.run_sync(self._made, sources)
                self._sources = sources
            return self._asset

    def _made(self, sources: Sources) -> Asset:
        return Asset(encode(self._make(sources)), "application/json")


def _sources() -> Sources:
    ours = cast(Any, current_app)._get_current_object()  # itself: the other thread has no current one
    mounts, modules = backend().mounts, backend().modules
    apps = (ours, *(() if mounts is None else mounts.applications.values()))
    routes = tuple(sum(1 for _ in app.url_map.iter_rules()) for app in apps)
    return Sources(apps, routes, () if modules is None else tuple(modules.message_types()))


def _openapi(sources: Sources) -> Schema:
    return openapi.document(*sources.apps)


def _asyncapi(sources: Sources) -> Schema:
    return asyncapi.document(*sources.apps, published=published_shapes(sources.published))


@blueprint.record
def _keep(state: Any) -> None:
    """Keep them with the application, so that no two share any."""
    state.app.extensions[_KEY] = {make: Kept(make) for make in (_openapi, _asyncapi)}


async def _answer(make: Callable[[Sources], Schema]) -> Response:
    kept: Kept = current_app.extensions[_KEY][make]
    return await answer(await kept.get())


@blueprint.get("/openapi.json")
@described(answers={200: Answer(), 304: SEEN}, tag="documents")
@open_to_all
async def openapi_document() -> Response:
    """Every route, as OpenAPI 3.1."""
    return await _answer(_openapi)


@blueprint.get("/asyncapi.json")
@described(answers={200: Answer(), 304: SEEN}, tag="documents")
@open_to_all
async def asyncapi_document() -> Response:
    """Every WebSocket, as AsyncAPI 3.0."""
    return await _answer(_asyncapi)


@blueprint.get("/docs")
@described(answers={200: Answer(content_type="text/html; charset=utf-8"), 304: SEEN}, tag="documents")
@open_to_all
async def page() -> Response:
    """The routes and the sockets, to be read."""
    return await answer(read_asset(PAGE))
