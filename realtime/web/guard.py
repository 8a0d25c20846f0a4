"""What every request passes before its route: hosts, origins, an id for the log; and what every answer carries."""

from __future__ import annotations

import secrets

import structlog
from quart import Quart, Request, Response, Websocket, request, websocket

from realtime.policy.origins import host_allowed, origin_allowed
from realtime.web.backend import backend
from realtime.web.errors import ApiError, error_response

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'none'"
)
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def check(incoming: Request | Websocket, *, origin_matters: bool) -> None:
    """Refuse a request that is not for us, or that a stranger's page sent.

    Raises:
      ApiError: 400 for its host, 403 for its origin.
    """
    settings = backend().settings.server
    host = incoming.headers.get("Host")
    if host is None or not host_allowed(host, settings.allowed_hosts):
        raise ApiError(400, f"host {host!r} is not served here; see server.allowed_hosts", code="bad_host")
    origin = incoming.headers.get("Origin")
    scheme = {"ws": "http", "wss": "https"}.get(incoming.scheme, incoming.scheme)
    if origin_matters and not origin_allowed(
        origin, scheme=scheme, host=host, allowed_origins=settings.allowed_origins
    ):
        raise ApiError(403, f"origin {origin!r} is not allowed; see server.allowed_origins", code="bad_origin")


def register(app: Quart) -> None:
    """Guard every route of *app*."""

    @app.before_request
    async def _request() -> None:
        structlog.contextvars.bind_contextvars(request_id=secrets.token_hex(8))
        check(request, origin_matters=request.method in _UNSAFE or request.path.startswith("/sse/"))

    @app.before_websocket
    async def _websocket() -> Response | None:
        try:
            check(websocket, origin_matters=True)
        except ApiError as error:  # before the handshake, so that it is answered with HTTP
            return error_response(error.status, error.code, error.message)
        return None

    @app.after_request
    async def _headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        origin = request.headers.get("Origin")
        if origin in backend().settings.server.allowed_origins:
            _allow_origin(response, str(origin))
        return response


def _allow_origin(response: Response, origin: str) -> None:
    """CORS for the origins that the settings allow, and for no others."""
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Vary"] = "Origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response.headers["Access-Control-Max-Age"] = "600"
