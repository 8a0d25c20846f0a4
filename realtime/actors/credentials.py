"""What clients are recognised by: the files of ``[auth]`` as they are at one moment, and JSON Web Tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import attrs
import msgspec

from realtime.policy import bearer
from realtime.policy.access import ADMIN, Principal
from realtime.sections import Auth
from realtime.settings import SettingsError

MAX_NAME_CHARACTERS: Final = 256
"""Of a principal's name, which stands in log lines and listings."""


class NotAuthenticated(Exception):
    """Somebody's credentials do not count; the text says why and what to do, and never holds them."""


class Tokens(Protocol):
    """What makes a principal of a token that carries its own proof."""

    def recognise(self, token: str) -> Principal:
        """Whose *token* is; `NotAuthenticated` if it does not count."""

    @property
    def mark(self) -> bytes:
        """That of all its principals; another key has another."""


@attrs.frozen
class Credentials:
    """Everything that is known of tokens; immutable, replaced as a whole when a file changes."""

    tokens: tuple[bearer.Token, ...] = ()
    signed: Tokens | None = None

    def recognise(self, token: str, now: float) -> Principal:
        """Whose *token* is.

        Args:
          now: seconds since 1970.

        Raises:
          NotAuthenticated: it is not known, or has expired.
        """
        principal = bearer.find(self.tokens, token)
        if principal is None:
            if self.signed is None or token.count(".") != 2:
                raise NotAuthenticated("the token is not known")
            principal = self.signed.recognise(token)
        if principal.expired(now):
            raise NotAuthenticated("the token has expired; get a new one")
        return principal

    def still_hold(self, principal: Principal) -> bool:
        """Whether what *principal* was recognised by counts unchanged; of a hook's nothing is known."""
        if principal.source in ("admin_token_file", "tokens_file"):
            return any(token.principal == principal for token in self.tokens)
        if principal.source == "jwt":
            return self.signed is not None and self.signed.mark == principal.mark
        return True


def files(auth: Auth) -> tuple[Path, ...]:
    """The files that `load` reads."""
    named = (auth.admin_token_file, auth.tokens_file, auth.jwt_secret_file, auth.jwt_public_key_file)
    return tuple(path for path in named if path is not None)


def load(auth: Auth) -> Credentials:
    """Read the files of *auth*. Blocking.

    Raises:
      SettingsError: naming everything that is wrong in any of them, and no token.
    """
    problems: list[str] = []
    tokens = (*_admin(auth.admin_token_file, problems.append), *_tokens(auth.tokens_file, problems.append))
    signed = _signed(auth, problems.append) if auth.jwt else None
    if len({token.sha256 for token in tokens}) < len(tokens) and not problems:
        problems.append("auth.tokens_file: holds the token of auth.admin_token_file again")
    if problems:
        raise SettingsError(problems)
    return Credentials(tokens, signed)


Report = Callable[[str], object]


def _read(key: str, path: Path, report: Report) -> str | None:
    """The text of a file, without what surrounds it; None if there is none."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        report(f"auth.{key}: {path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        # The error's own text would show some of the file.
        report(f"auth.{key}: {path} cannot be read: it is not UTF-8")
    else:
        if text or key == "tokens_file":
            return text
        report(f"auth.{key}: {path} is empty")
    return None


def _admin(path: Path | None, report: Report) -> tuple[bearer.Token, ...]:
    text = None if path is None else _read("admin_token_file", path, report)
    if text is None:
        return ()
    if not text.isprintable():
        report(f"auth.admin_token_file: {path} must be one line of text without control characters")
    sha256 = bearer.digest(text)
    return (bearer.Token(sha256, Principal("admin", frozenset({ADMIN}), None, "admin_token_file", sha256)),)


def _tokens(path: Path | None, report: Report) -> tuple[bearer.Token, ...]:
    text = None if path is None else _read("tokens_file", path, report)
    if text is None:
        return ()
    try:
        document = msgspec.toml.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        report(f"auth.tokens_file: {path} is not TOML: {error}")
        return ()
    return bearer.read_tokens(document, lambda problem: report(f"auth.tokens_file: {path}: {problem}"))


def _signed(auth: Auth, report: Report) -> Tokens | None:
    try:
        from realtime.actors.jwt import JsonWebTokens, UnfitKey
    except ModuleNotFoundError as error:
        if error.name not in ("jwt", "cryptography"):
            raise
        report("auth.jwt_*: needs PyJWT: pip install 'realtime-supervised[auth]'")
        return None
    keys: dict[str, str] = {}
    for name in auth.jwt_algorithms:
        key = "jwt_secret_file" if name.startswith("HS") else "jwt_public_key_file"
        path = getattr(auth, key)
        text = keys.get(key) or _read(key, path, report)
        if text is None:
            return None
        keys[key] = text
    by_algorithm: Mapping[str, str] = {
        name: keys["jwt_secret_file" if name.startswith("HS") else "jwt_public_key_file"]
        for name in auth.jwt_algorithms
    }
    try:
        return JsonWebTokens(
            by_algorithm, issuer=auth.jwt_issuer, audience=auth.jwt_audience, scopes_claim=auth.jwt_scopes_claim
        )
    except UnfitKey as error:
        report(f"auth.jwt_algorithms: {error}")
        return None
