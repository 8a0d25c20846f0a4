"""Asks a running server over HTTP, for the command line; needs nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import attrs
import msgspec

from realtime.messages import encode
from realtime.policy.trust import unverified

TIMEOUT: Final = 15.0
"""Seconds of silence after which a server is given up: longer than it waits itself before it answers with 503."""

TOKEN_VARIABLE: Final = "REALTIME_TOKEN"


class RemoteError(Exception):
    """The server could not be asked, or refused; the text says which and why."""


def read_token(environ: Mapping[str, str], file: Path | None) -> str | None:
    """The token of *file*, else of ``REALTIME_TOKEN``; None without either. Never of an argument: those can be listed.

    Raises:
      RemoteError: the file cannot be read, or there is no token in it.
    """
    if file is None:
        return environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RemoteError(f"{file} cannot be read: {error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise RemoteError(f"{file} must hold one token, of visible ASCII characters")
    return token


def _base(_instance: object, _field: object, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"url must be like http://127.0.0.1:8000, got {url!r}")


@attrs.frozen
class Remote:
    """A server at *url*; all calls block."""

    url: str = attrs.field(validator=_base)
    token: str | None = attrs.field(default=None, repr=False)

    def emit(self, event: str, data: object, to: Mapping[str, str] | None, **options: object) -> dict[str, Any]:
        """Emit, and tell whom it reached.

        Raises:
          RemoteError: it was refused, or the server is not there.
        """
        body = {"event": event, "data": data, **options}
        return self._ask("POST", "/api/emit", body if to is None else body | {"to": dict(to)})

    def tree(self, path: str = "") -> dict[str, Any]:
        """The node at *path* of the supervision tree, the root's for none.

        Raises:
          RemoteError: there is none, or the server is not there.
        """
        return self._ask("GET", f"/api/supervisors/{quote(path)}" if path else "/api/supervisors")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            self.url.rstrip("/") + path, None if body is None else encode(body), headers, method=method
        )
        try:
            with urllib.request.build_opener(_StayThere).open(request, timeout=TIMEOUT) as answer:
                found = json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise RemoteError(f"{_message(refusal.read()) or refusal.reason} (HTTP {refusal.code})") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise RemoteError(unverified(urlsplit(self.url).netloc.rpartition("@")[2], reason)) from error
            raise RemoteError(f"{self.url} cannot be reached: {reason}") from error
        except ValueError as error:
            raise RemoteError(f"{self.url} did not answer with JSON: is it this server?") from error
        if not isinstance(found, dict):
            raise RemoteError(f"{self.url} did not answer with a JSON object: is it this server?")
        return found


class _StayThere(urllib.request.HTTPRedirectHandler):
    """Follows nowhere, for that is where the token would go, too; and our servers redirect nobody."""

    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        """There is no request to follow it with; the redirect becomes the error."""


class _Error(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: _Error


def _message(body: bytes) -> str | None:
    """The text of an error in the one form that ours have."""
    try:
        return msgspec.json.decode(body, type=_Refusal).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def draw(node: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A node of the wire and all below it, as lines of text."""
    notes = [str(node["state"])]
    if "uptime_s" in node:
        notes.append(f"up {node['uptime_s']:.0f} s")
    if node.get("restarts"):
        notes.append(f"{node['restarts']} restart{'s' if node['restarts'] != 1 else ''}")
    reasons = "; ".join(node.get("reasons", ()))
    trouble = "" if node["health"] == "ok" else f"  [{node['health']}{': ' if reasons else ''}{reasons}]"
    yield f"{indent}{node['id']} ({', '.join(notes)}){trouble}"
    children = node.get("children", ())
    for child in children:
        yield from draw(child, indent + "  ")
    if (hidden := node.get("children_total", 0) - len(children)) > 0:
        yield f"{indent}  ... and {hidden} more"
