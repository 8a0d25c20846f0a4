"""The JSON bodies of what the transport itself answers with an error status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from realtime.messages import encode

_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    426: "upgrade_required",
    431: "headers_too_large",
    500: "internal_error",
}


def error_body(code: str, message: str) -> bytes:
    """``{"error":{"code","message","details"}}``."""
    return encode({"error": {"code": code, "message": message, "details": {}}})


def status_body(status: int, message: str | None = None) -> bytes:
    """The body for *status*, with its usual message if no other is given."""
    phrase = HTTPStatus(status).phrase
    return error_body(_CODES.get(status, phrase.lower().replace(" ", "_")), message or phrase)


def body_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that describe *body*."""
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
