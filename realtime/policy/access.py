"""Who may do what: a principal, an action, and the rule that decides.

A rule is one word of the settings: ``anyone`` may, nobody but the ``server`` may, or those who hold the scope of
that name. Who holds the scope ``admin`` passes for every scope; what is the server's alone stays so for them too.

| action | the rule that decides |
|---|---|
| `subscribe`, `publish` | ``[topics."X"] subscribe``, ``publish`` |
| `read`, `create_event`, `emit`, `start_task`, `cancel_task`, `call` | ``[auth] may_<action>`` |
| `operate` | always the scope ``admin`` |

With ``auth.required`` nobody is served who has not signed in, whatever the rules say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

Action = Literal["read", "subscribe", "publish", "create_event", "emit", "start_task", "cancel_task", "call", "operate"]

Decision = Literal["allowed", "not_authenticated", "not_allowed"]
"""What is refused is `not_authenticated` where signing in may help, else `not_allowed`."""

ANYONE: Final = "anyone"
SERVER: Final = "server"
ADMIN: Final = "admin"

SCOPE_GRAMMAR: Final = "1 to 64 letters, digits, '_', '.', ':' or '-'"

_SCOPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def is_rule(text: str) -> bool:
    """Whether *text* may stand as a rule: ``anyone``, ``server``, or a scope's name."""
    return _SCOPE.fullmatch(text) is not None


def is_scope(text: str) -> bool:
    """Whether *text* may be a scope's name; the two words with a meaning of their own are none."""
    return is_rule(text) and text not in (ANYONE, SERVER)


def _frozen(scopes: Iterable[str]) -> frozenset[str]:
    return frozenset(scopes)


@attrs.frozen
class Principal:
    """Who a request or a connection speaks for.

    Attributes:
      name: for logs and listings; None for the anonymous, who have not signed in.
      scopes: what it may do beyond what anyone may.
      expires_at: seconds since 1970 from which on it counts no more; None never.
      source: what recognised it, as ``tokens_file``; names are unique within one source.
      mark: tells one credential from another of the same name; a digest, which does not show.
    """

    name: str | None
    scopes: frozenset[str] = attrs.field(default=frozenset(), converter=_frozen)
    expires_at: float | None = None
    source: str = "hook"
    mark: bytes = attrs.field(default=b"", repr=False)

    @property
    def anonymous(self) -> bool:
        """Whether nobody has signed in."""
        return self.name is None

    def expired(self, now: float) -> bool:
        """Whether it counts no more at *now* (seconds since 1970)."""
        return self.expires_at is not None and now >= self.expires_at

    def holds(self, scope: str) -> bool:
        """Whether it passes for *scope*."""
        return scope in self.scopes or ADMIN in self.scopes


ANONYMOUS: Final = Principal(None, source="nobody")


def decide(principal: Principal, rule: str, *, now: float, required: bool = False) -> Decision:
    """Whether *principal* may do what *rule* is about.

    Args:
      now: seconds since 1970.
      required: whether signing in is demanded of everybody.
    """
    if rule == SERVER:
        return "not_allowed"
    if principal.expired(now) or (required and principal.anonymous):
        return "not_authenticated"
    if rule == ANYONE or principal.holds(rule):
        return "allowed"
    return "not_authenticated" if principal.anonymous else "not_allowed"


def rule_for(action: Action, rules: Mapping[str, str]) -> str:
    """The rule of an *action* that is about no topic; *rules* by action, `ANYONE` where there is none."""
    return ADMIN if action == "operate" else rules.get(action, ANYONE)


_WHAT: Final[Mapping[Action, str]] = {
    "read": "reading",
    "subscribe": "subscribing to",
    "publish": "publishing to",
    "create_event": "creating events",
    "emit": "emitting",
    "start_task": "starting tasks",
    "cancel_task": "cancelling tasks",
    "call": "calling methods",
    "operate": "operator actions",
}


def explain(principal: Principal, action: Action, topic: str | None, *, rule: str, now: float, recognises: bool) -> str:
    """Why *principal* may not do *action*, and what to do about it; a sentence for the client.

    Args:
      topic: what the action is about, if about one.
      now: seconds since 1970.
      recognises: whether there is anything to sign in with.
    """
    what = _WHAT[action] if topic is None else f"{_WHAT[action]} {topic!r}"
    if action == "operate":
        if not recognises:
            return "operator actions need an admin token: set auth.admin_token_file"
        return "operator actions need 'Authorization: Bearer <the admin token>'"
    if rule == SERVER:
        return f"{what} is the server's alone"
    if principal.expired(now):
        return "the token has expired; get a new one and sign in again"
    needed = "that you sign in" if rule == ANYONE else f"the scope {rule!r}"
    if not principal.anonymous:
        return f"{what} needs {needed}, which {principal.name!r} does not have"
    if not recognises:
        return f"{what} needs {needed}, and there is nothing to sign in with: set auth.tokens_file"
    return f"{what} needs {needed}: send 'Authorization: Bearer <token>'"
