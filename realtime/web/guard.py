"""What every request passes before its route: hosts, origins, an id for the log; and what every answer carries."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from quart import Quart, Request, Response, Websocket, request, websocket

from realtime.fields import shown
from realtime.policy.origins import host_allowed, origin_allowed
from realtime.policy.trace import trace_context
from realtime.sections import Server
from realtime.web.access import check_request
from realtime.web.backend import backend
from realtime.web.errors import ApiError

# `ws:` and `wss:` beside 'self', which older browsers do not take to cover WebSockets of the same host.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
Life = Callable[[], Awaitable[None]]
_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def check(incoming: Request | Websocket, *, origin_matters: bool) -> None:
    """Refuse a request that is not for us, or that a stranger's page sent; see `check_names`."""
    scheme = {"ws": "http", "wss": "https"}.get(incoming.scheme, incoming.scheme)
    origin = incoming.headers.get("Origin") if origin_matters else None
    check_names(backend().settings.server, incoming.headers.get("Host"), origin, scheme)


def check_names(settings: Server, host: str | None, origin: str | None, scheme: str) -> None:
    """Judge a request by its headers ``Host`` and ``Origin``; *scheme* is ``http`` or ``https``.

    Raises:
      ApiError: 400 for its host, 403 for its origin.
    """
    if host is None or not host_allowed(host, settings.allowed_hosts):
        raise ApiError(400, f"host {shown(host)} is not served here; see server.allowed_hosts", code="bad_host")
    if not origin_allowed(origin, scheme=scheme, host=host, allowed_origins=settings.allowed_origins):
        raise ApiError(403, f"origin {shown(origin)} is not allowed; see server.allowed_origins", code="bad_origin")


def register(app: Quart) -> None:
    """Guard every route of *app*."""
    app.before_request(_check_request)
    app.before_websocket(_check_websocket)
    app.after_request(_add_headers)


async def _check_request() -> None:
    # Ends with the request: each has a task, and so a context, of its own.
    structlog.contextvars.bind_contextvars(request_id=secrets.token_hex(8), **_trace(request))
    check(request, origin_matters=request.method in _UNSAFE or request.path.startswith("/sse/"))
    await check_request()


async def _check_websocket() -> None:
    check(websocket, origin_matters=True)


def _trace(incoming: Request | Websocket) -> dict[str, str]:
    """What to bind of the trace that *incoming* belongs to; nothing without one."""
    found = trace_context(incoming.headers.getlist("traceparent"))
    return {} if found is None else {"trace_id": found.trace_id, "span_id": found.span_id}


def keep_trace(life: Life) -> Life:
    """*life*, which goes on outside of the WebSocket's request, with the trace of that on its lines of the log."""
    trace = _trace(websocket)
    if not trace:
        return life

    async def traced() -> None:
        with structlog.contextvars.bound_contextvars(**trace):
            await life()

    return traced


async def _add_headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    allowed = backend().settings.server.allowed_origins
    if allowed:
        response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin in allowed:
        _allow_origin(response, str(origin))
    return response


def _allow_origin(response: Response, origin: str) -> None:
    """CORS for the origins that the settings allow, and for no others."""
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = "Location, Retry-After"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        response.headers["Access-Control-Max-Age"] = "600"
