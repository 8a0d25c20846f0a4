"""The actor modules over HTTP: what is configured, what each has brought, and an operator's switches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import attrs
import structlog
from msgspec import Meta
from quart import Blueprint, Quart, Response, request

from realtime.fields import shown
from realtime.modules import Action, ModuleInfo, UnknownModule, WrongState
from realtime.web.access import may, needs
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import SOON, ApiError, json_response
from realtime.web.stream_shapes import Offset
from supervisors import SupervisorError

blueprint = Blueprint("modules", __name__)
logger = structlog.get_logger("realtime.operator")

_EXAMPLE = {
    "id": "shop",
    "use": "shop.live",
    "origin": "module",
    "state": "enabled",
    "path": "broadcasters/shop",
    "hooks": ["children", "routes"],
    "options": ["interval"],
    "topics": ["stock"],
    "routes": ["POST /shop/<item>"],
    "jobs": [],
    "methods": [],
    "error": None,
}


@attrs.frozen
class ModuleFacts:
    """An actor module, as ``GET /api/modules`` tells of it; what it brings is empty while it is disabled."""

    id: str
    use: Annotated[str, Meta(description="what the settings name: a dotted module, or an entry point")]
    origin: Annotated[str, Meta(description="whether it is a module of the path, or whose entry point")]
    state: Annotated[str, Meta(description="enabled, disabled, or what is being done: enable, disable, reload")]
    path: Annotated[str | None, Meta(description="of its node in the tree; null if it has no children")]
    hooks: list[str]
    options: list[str]
    topics: list[str]
    routes: list[str]
    jobs: list[str]
    methods: list[str]
    error: Annotated[str | None, Meta(description="why it could not be switched the last time, for operators")]


@attrs.frozen
class ModuleList:
    """The answer of ``GET /api/modules``."""

    modules: list[ModuleFacts]


@attrs.frozen
class Switched:
    """The answer to an operator who switches a module: it has begun."""

    module: str
    action: str


def _facts(info: ModuleInfo) -> ModuleFacts:
    plugin = info.plugin
    mounts = backend().mounts
    app = None if mounts is None else mounts.applications.get(info.id)
    return ModuleFacts(
        id=info.id,
        use=info.source.use,
        origin=info.source.origin,
        state=info.state,
        path=None if plugin is None or plugin.spec is None else f"broadcasters/{info.id}",
        hooks=[] if plugin is None else list(plugin.hooks),
        options=[] if plugin is None else list(plugin.options),
        topics=[] if plugin is None else sorted(plugin.topics),
        routes=[] if app is None else _routes(app),
        jobs=[] if plugin is None else [job.name for job in plugin.jobs],
        methods=[] if plugin is None else [method.name for method in plugin.methods],
        # What a stranger's code says when it fails may name anything.
        error=info.error if may("operate") or backend().settings.server.debug else None,
    )


def _routes(app: Quart) -> list[str]:
    """The routes of *app* for people: ``POST /shop/<item>``, ``WEBSOCKET /shop``."""
    found = []
    for rule in app.url_map.iter_rules():
        methods = {"WEBSOCKET"} if rule.websocket else (rule.methods or set()) - {"HEAD", "OPTIONS"}
        found.append(f"{','.join(sorted(methods))} {rule.rule}")
    return sorted(found)


def published_shapes(types: Iterable[tuple[str, str, type]]) -> Iterator[type]:
    """A class for each of *types*, which are as `realtime.modules.Modules.message_types` has them."""
    for id, type_, data in types:
        # As the classes of our own messages are, made here since the type is the module's.
        fields = {"type": Literal[type_], "topic": str, "offset": Offset, "data": data}
        summary = f"`{type_}` of the actor module {id!r}."
        name = re.sub("[^A-Za-z0-9_.-]", "_", f"{id}.{type_}")  # as the names of components may be
        yield attrs.frozen(type(name, (), {"__annotations__": fields, "__doc__": summary}))


@blueprint.get("/api/modules")
@described(
    answers={200: Answer(ModuleList, {"modules": [_EXAMPLE]}, "All that are configured, in that order.")},
)
async def listing() -> Response:
    """The actor modules: what is configured, and what each has brought.

    Why one could not be switched is told to operators alone.
    """
    modules = backend().modules
    return json_response(ModuleList([] if modules is None else [_facts(each) for each in modules.listing()]))


@blueprint.post("/api/modules/<id>/<any(enable, disable, reload):action>")
@needs("operate")
@described(
    answers={
        202: Answer(Switched, {"module": "shop", "action": "reload"}, "It has begun; the list tells how it went.")
    },
    errors=(403, 404, 409, 503),
    path={"id": ("the module's id in the settings", "shop"), "action": ("what to do", "reload")},
    admin=True,
)
async def switch(id: str, action: Action) -> Response:
    """Enable, disable or reload a module while everything else goes on.

    No connection is touched. Reloading runs the module's source anew; if that fails, the old code goes on.
    """
    modules = backend().modules
    if modules is None or backend().tree is None:
        raise ApiError(503, "the server is starting; try again in a moment", headers=SOON)
    try:
        modules.switch_soon(action, id)
    except UnknownModule:
        raise ApiError(404, f"there is no module {shown(id)}") from None
    except WrongState as error:
        raise ApiError(409, str(error)) from error
    except SupervisorError as error:
        raise ApiError(503, f"it cannot be begun now: {error}", headers=SOON) from error
    logger.info("operator_action", action=action, module=id, address=request.remote_addr)
    return json_response(Switched(id, action), 202)
