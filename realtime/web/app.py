"""The Quart application: every route behind one guard, every error in one form."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from quart import Response, send_from_directory
from quart_trio import QuartTrio

from realtime.transport.asgi import WebsocketConnection
from realtime.web import errors, events, guard, sockets, status
from realtime.web.backend import KEY, Backend

STATIC: Final = Path(__file__).parent / "static"


class Application(QuartTrio):
    """Quart on Trio, with a handler's failure told to a WebSocket's client as such (1011)."""

    asgi_websocket_class = WebsocketConnection


def create_app(backend: Backend) -> Application:
    """The application for *backend*.  It starts nothing by itself: all that runs is a child of the tree."""
    app = Application("realtime", static_folder=None)
    app.extensions[KEY] = backend
    app.config["MAX_CONTENT_LENGTH"] = backend.settings.server.max_message_bytes
    app.config["PROPAGATE_EXCEPTIONS"] = False
    errors.register(app)
    guard.register(app)
    for blueprint in (events.blueprint, status.blueprint, sockets.blueprint):
        app.register_blueprint(blueprint)
    _serve_dashboard(app, debug=backend.settings.server.debug)
    return app


def _serve_dashboard(app: QuartTrio, *, debug: bool) -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8").replace("{{debug}}", str(debug).lower())

    @app.get("/")
    async def dashboard() -> Response:
        return Response(page, content_type="text/html; charset=utf-8", headers={"Cache-Control": "no-cache"})

    @app.get("/static/<path:name>")
    async def static(name: str) -> Response:
        # Revalidated by its ETag on each load, so that an upgrade shows at once.
        return await send_from_directory(STATIC, name, cache_timeout=0)
