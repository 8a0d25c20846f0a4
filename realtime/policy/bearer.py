"""Bearer tokens: where a client puts one, and which of the known ones it is.

In a request it stands in ``Authorization: Bearer <token>`` (RFC 6750). A browser can set no header on a WebSocket, but
can offer subprotocols: beside ``realtime``, which is the one that is agreed on, it offers
``realtime.bearer.<token>``, with what a subprotocol cannot hold percent-encoded. Never in a URL: those are logged by
every proxy and kept in every history.

Tokens are known by their SHA-256 alone. A guess is compared with each of them in constant time, to the last one, so
that the time tells nothing of any.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import unquote

import attrs

from realtime.fields import BadField, build, shown
from realtime.policy.access import SCOPE_GRAMMAR, Principal, is_scope

SUBPROTOCOL: Final = "realtime"
_OFFERED: Final = f"{SUBPROTOCOL}.bearer."

MIN_TOKEN_CHARACTERS: Final = 16
"""Of a token in the file: 64 bits if it is hexadecimal, which cannot be guessed at any rate that we answer."""
MAX_TOKEN_CHARACTERS: Final = 8192
"""Of a token that is looked at; half of what the headers of a request may be in all."""

_TOKEN: Final = re.compile(rf"[!-~]{{{MIN_TOKEN_CHARACTERS},{MAX_TOKEN_CHARACTERS}}}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def of_header(authorization: str | None) -> str | None:
    """The token of an ``Authorization`` header; None if it has another scheme, which is somebody else's business."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None


def of_subprotocols(offered: Sequence[str]) -> str | None:
    """The token among the subprotocols that a client offers."""
    found = (each.removeprefix(_OFFERED) for each in offered if each.startswith(_OFFERED))
    return next((unquote(token) for token in found if token), None)


def agreed(offered: Sequence[str]) -> str | None:
    """The subprotocol to answer with: ours if it is offered, else none; never the one that holds the token."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def digest(token: str) -> bytes:
    """The SHA-256 of *token*; a lone surrogate, which no header can hold, is as good as any wrong character."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@attrs.frozen
class Token:
    """One known token: its SHA-256, and whom it stands for."""

    sha256: bytes = attrs.field(repr=False)
    principal: Principal


def find(tokens: Sequence[Token], secret: str) -> Principal | None:
    """Whose token *secret* is; None if it is none of *tokens*. Whether it has expired is not asked."""
    if len(secret) > MAX_TOKEN_CHARACTERS:
        return None
    sought, found = digest(secret), None
    for token in tokens:
        if hmac.compare_digest(token.sha256, sought):
            found = token.principal
    return found


# --- the file ------------------------------------------------------------------------------------------------------


def _line(_instance: object, _field: object, value: str | None) -> None:
    # The value itself stays out of the error.
    if value is not None and not _TOKEN.fullmatch(value):
        wanted = f"{MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_CHARACTERS} visible ASCII characters without spaces"
        raise ValueError(f"token must be {wanted}, got {len(value)} characters")


def _hex(_instance: object, _field: object, value: str | None) -> None:
    if value is not None and not _SHA256.fullmatch(value):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {len(value)} characters")


def _scopes(_instance: object, _field: object, value: tuple[str, ...]) -> None:
    for scope in value:
        if not is_scope(scope):
            raise ValueError(f"scopes must be names of {SCOPE_GRAMMAR}, not 'anyone' or 'server'; got {shown(scope)}")


def _moment(_instance: object, _field: object, value: object) -> None:
    if value is not None:
        _to_seconds(value)


def _to_seconds(value: object) -> float:
    """A moment of a TOML file, in seconds since 1970; a date is its beginning in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if type(value) is date:
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("expires must be a time with its zone, such as 2027-01-01T00:00:00Z")
    return value.timestamp()


@attrs.frozen
class _Entry:
    """``[tokens.<name>]``."""

    token: str | None = attrs.field(default=None, validator=_line, repr=False)
    sha256: str | None = attrs.field(default=None, validator=_hex, repr=False)
    scopes: tuple[str, ...] = attrs.field(default=(), validator=_scopes)
    expires: Any = attrs.field(default=None, validator=_moment)

    def __attrs_post_init__(self) -> None:
        if (self.token is None) == (self.sha256 is None):
            raise BadField("token", "token or sha256 must be given, and not both")


def read_tokens(document: Mapping[str, Any], report: Callable[[str], object]) -> tuple[Token, ...]:
    """The tokens of a tokens file.

    Args:
      document: the file as plain values.
      report: called with each problem, a sentence that begins with its place and never holds a token.
    """
    for key in document:
        if key != "tokens":
            report(f"{shown(key)} is not known; tokens stand in tables [tokens.<name>]")
    tables = document.get("tokens", {})
    if not isinstance(tables, dict):
        report("tokens must be tables [tokens.<name>]")
        return ()
    found: dict[bytes, Token] = {}
    for name, table in tables.items():
        token = _read_token(name, table, report)
        if token is None:
            continue
        if token.sha256 in found:
            report(f"tokens.{name} has the same token as tokens.{found[token.sha256].principal.name}")
        found[token.sha256] = token
    return tuple(found.values())


def _read_token(name: str, table: object, report: Callable[[str], object]) -> Token | None:
    if not _NAME.fullmatch(name):
        report(f"tokens.{shown(name)} must be named by 1 to 64 letters, digits, '_', '.' or '-'")
        return None
    if not isinstance(table, dict):
        report(f"tokens.{name} must be a table")
        return None
    entry = build(_Entry, table, lambda problem: report(f"tokens.{name}.{problem}"))
    if entry is None:
        return None
    sha256 = digest(entry.token) if entry.token is not None else bytes.fromhex(entry.sha256 or "")
    expires = None if entry.expires is None else _to_seconds(entry.expires)
    return Token(sha256, Principal(name, frozenset(entry.scopes), expires, "tokens_file", sha256))
