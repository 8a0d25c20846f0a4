"""Every error as ``{"error":{"code","message","details"}}``, also those that a library would answer in HTML."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from quart import Quart, Response
from werkzeug.exceptions import HTTPException

from realtime.fields import BadField
from realtime.messages import encode
from realtime.ports import AppendFailed, StoreStopped

logger = structlog.get_logger("realtime.web")

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    409: "wrong_state",
    413: "too_large",
    415: "wrong_type",
    429: "too_many_requests",
    503: "unavailable",
}


class ApiError(Exception):
    """Refuse the request with *status*; *message* says what was wrong and what to do."""

    def __init__(self, status: int, message: str, *, code: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or CODES[status]
        self.message = message
        self.details = details


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """*body* as JSON."""
    return Response(encode(body), status, headers=dict(headers or {}), content_type="application/json")


def error_response(status: int, code: str, message: str, details: Mapping[str, object] | None = None) -> Response:
    """An error in the one form that all errors have."""
    return json_response({"error": {"code": code, "message": message, "details": dict(details or {})}}, status)


def register(app: Quart) -> None:
    """Answer every exception that leaves a route of *app*."""

    @app.errorhandler(ApiError)
    async def _refused(error: ApiError) -> Response:
        return error_response(error.status, error.code, error.message, error.details)

    @app.errorhandler(BadField)
    async def _bad_field(error: BadField) -> Response:
        details = {} if error.field is None else {"field": error.field}
        return error_response(400, "bad_request", error.message, details)

    @app.errorhandler(StoreStopped)
    async def _no_store(error: StoreStopped) -> Response:
        return error_response(503, "unavailable", "the event store is not running; try again in a moment")

    @app.errorhandler(AppendFailed)
    async def _not_stored(error: AppendFailed) -> Response:
        logger.error("event_not_stored", exc_info=error)
        return error_response(
            503, "not_stored", "the event could not be stored; it was not acknowledged, send it again"
        )

    @app.errorhandler(HTTPException)
    async def _http(error: HTTPException) -> Response:
        status = error.code or 500
        response = error_response(status, CODES.get(status, "error"), error.description or error.name)
        for name, value in error.get_headers():
            if name.lower() in ("allow", "retry-after"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def _crashed(error: Exception) -> Response:
        logger.error("request_failed", exc_info=error)
        return error_response(500, "internal_error", "the server failed on this request; it has been logged")
