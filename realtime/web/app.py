"""The Quart application: every route behind one guard, every error in one form."""

from __future__ import annotations

from typing import Any, Final

from quart import Quart
from quart_trio import QuartTrio

from realtime.policy.opening import Opening
from realtime.transport.asgi import WebsocketConnection
from realtime.transport.direct import Acceptance
from realtime.transport.event_stream import HTTPConnection
from realtime.web import (
    dashboard,
    dead_letters,
    direct,
    documents,
    errors,
    events,
    guard,
    jobs,
    listings,
    me,
    metrics,
    modules,
    sessions,
    sockets,
    sse,
    status,
    tasks,
    webhooks,
)
from realtime.web.backend import KEY, Backend

BLUEPRINTS: Final = tuple(
    each.blueprint
    for each in (
        dead_letters,
        documents,
        events,
        jobs,
        listings,
        me,
        metrics,
        modules,
        sessions,
        sockets,
        sse,
        status,
        tasks,
        webhooks,
    )
)


class Application(QuartTrio):
    """Quart on Trio, with a handler's failure told to a WebSocket's client as such (1011)."""

    asgi_http_class = HTTPConnection
    asgi_websocket_class = WebsocketConnection

    def open_directly(self, opening: Opening) -> Acceptance | None:
        """What serves a WebSocket that needs no request of Quart's; see `realtime.transport.direct`."""
        return direct.open_directly(self.extensions[KEY], opening)

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI's entry point: what we have no route for goes to the actor module that has one."""
        mounts = None if scope["type"] == "lifespan" else self.extensions[KEY].mounts
        if mounts is not None and mounts.applications:
            other = mounts.find(self, scope)
            if other is not None:
                await other.asgi_app(scope, receive, send)
                return
        await super().asgi_app(scope, receive, send)

    async def handle_user_exception(self, error: Exception | BaseExceptionGroup[BaseException]) -> Any:
        """Hand a group of failures to its handler whole: Quart-Trio hands over the first and forgets the others."""
        if isinstance(error, ExceptionGroup):
            return await Quart.handle_user_exception(self, error)
        return await super().handle_user_exception(error)


def bare_app(name: str, backend: Backend) -> Application:
    """An application for *backend* without a route: guarded, and with every error in its form."""
    app = Application(name, static_folder=None)
    app.extensions[KEY] = backend
    app.config["BODY_TIMEOUT"] = backend.settings.server.handshake_timeout
    app.config["MAX_CONTENT_LENGTH"] = backend.settings.server.max_message_bytes
    app.config["PROPAGATE_EXCEPTIONS"] = False
    # Else a path with two slashes in a row is answered by a redirect, in HTML.
    app.url_map.merge_slashes = False
    errors.register(app)
    guard.register(app)
    return app


def create_app(backend: Backend) -> Application:
    """The application for *backend*.  It starts nothing by itself: all that runs is a child of the tree."""
    app = bare_app("realtime", backend)
    dashboard.register(app, debug=backend.settings.server.debug)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
