"""Every error as ``{"error":{"code","message","details"}}``, also those that a library would answer in HTML."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from quart import Quart, Response, current_app, has_websocket_context, request, websocket
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge, RequestTimeout
from werkzeug.routing import WebsocketMismatch

from realtime.fields import BadField, shown
from realtime.messages import encode
from realtime.ports import AppendFailed, StoreError, StoreStopped
from realtime.web.backend import KEY

logger = structlog.get_logger("realtime.web")

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "wrong_state",
    413: "too_large",
    415: "wrong_type",
    426: "upgrade_required",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}

SOON: Mapping[str, str] = {"Retry-After": "1"}
"""For what a restart of a child mends: its first is at once, the next within half a second."""


class ApiError(Exception):
    """Refuse the request with *status*; *message* says what was wrong and what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        **details: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or CODES[status]
        self.message = message
        self.headers = headers
        self.details = details


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """*body* as JSON, which nobody keeps: all that is answered here is of the moment."""
    response = Response(encode(body), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(headers or {})
    return response


def error_response(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the one form that all errors have; counted."""
    current_app.extensions[KEY].refusals.http(code)
    return json_response({"error": {"code": code, "message": message, "details": details or {}}}, status, headers)


def register(app: Quart) -> None:
    """Answer every exception that leaves a route of *app*, before a WebSocket's handshake too."""
    app.register_error_handler(ApiError, _refused)
    app.register_error_handler(BadField, _bad_field)
    app.register_error_handler(StoreStopped, _no_store)
    app.register_error_handler(StoreError, _store_failed)
    app.register_error_handler(AppendFailed, _not_stored)
    for no_route in (NotFound, MethodNotAllowed, WebsocketMismatch):
        app.register_error_handler(no_route, _no_route)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _crashed)


async def _refused(error: ApiError) -> Response:
    return error_response(error.status, error.code, error.message, error.details, error.headers)


async def _bad_field(error: BadField) -> Response:
    details = {} if error.field is None else {"field": error.field}
    return error_response(400, "bad_request", error.message, details)


async def _no_store(error: StoreStopped) -> Response:
    message = "the event store is not running; try again in a moment"
    return error_response(503, "unavailable", message, headers=SOON)


async def _store_failed(error: StoreError) -> Response:
    logger.error("store_failed", exc_info=error)
    return error_response(503, "unavailable", "the store failed; try again in a moment", headers=SOON)


async def _not_stored(error: AppendFailed) -> Response:
    logger.error("event_not_stored", exc_info=error)
    message = "the event could not be stored; it was not acknowledged, send it again"
    return error_response(503, "not_stored", message, headers=SOON)


async def _no_route(error: NotFound | MethodNotAllowed | WebsocketMismatch) -> Response:
    if has_websocket_context():
        return error_response(404, "not_found", f"there is no stream at {shown(websocket.path)}")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        message = f"{request.method} is not for this path; it takes {allowed}"
        return error_response(405, "method_not_allowed", message, headers={"Allow": allowed})
    if isinstance(error, WebsocketMismatch):
        message = "this path is a WebSocket; connect to it with ws:// or wss://"
        # RFC 9110 section 15.5.22 wants them; HTTP/2 forbids them.
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"} if request.http_version.startswith("1") else {}
        return error_response(426, "upgrade_required", message, headers=upgrade)
    return error_response(404, "not_found", f"there is nothing at {shown(request.path)}")


async def _http(error: HTTPException) -> Response:
    """What the libraries refuse by themselves, as a body that is too big or too slow."""
    status = error.code or 500
    return error_response(status, CODES.get(status, "error"), _text_of(error))


def _text_of(error: HTTPException) -> str:
    """What *error* says, with the limit where it only says that there is one."""
    silent = error.description is type(error).description and not has_websocket_context()
    if silent and isinstance(error, RequestEntityTooLarge):
        return f"a body has at most {current_app.config['MAX_CONTENT_LENGTH']} bytes"
    if silent and isinstance(error, RequestTimeout) and request.body_timeout is not None:
        return f"the body was not complete after {request.body_timeout:g} s"
    return error.description or error.name


async def _crashed(error: Exception) -> Response:
    logger.error("request_failed", path=(websocket if has_websocket_context() else request).path, exc_info=error)
    return error_response(500, "internal_error", "the server failed on this request; it has been logged")
