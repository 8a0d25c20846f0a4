"""What a route takes and answers, and what a stream carries, said beside it: the documents are made of this.

`described` and `streams` only put what they are told on the function; see `realtime.web.openapi` and
`realtime.web.asyncapi` for what becomes of it. A body, a query and an answer are named by the attrs class of their
JSON; what bounds their values stands there as `msgspec.Meta`, beside the validator that enforces it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs

F = TypeVar("F", bound=Callable[..., Any])

_KEY: Final = "__realtime_description__"


@attrs.frozen
class Answer:
    """One answer of a route.

    Attributes:
      shape: the class of its JSON; None if it is no JSON, or none of our own.
      example: its JSON.
      text: one sentence; when it comes.
      content_type: of the body; None if there is no body.
      headers: those that stand for something, each with what it is.
    """

    shape: Any = None
    example: Any = None
    text: str = ""
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Described:
    """What is said of a route.

    Attributes:
      body: the class of its JSON body, of which unknown fields are refused; None without one.
      raw_body: whether the body is JSON of which nothing more is known here.
      query: the class of its query parameters.
      answers: by status; those of `errors`, and those that every route may give, need not be here.
      errors: statuses that come with an error in its one form.
      path: what the variable parts of the path are, by name, as (text, example).
      grammar: the regular expression of those of them that have one.
      admin: whether it asks for the admin scope.
      tag: what it is listed under; the first part of the path behind ``/api/``, when left out.
    """

    summary: str
    text: str
    body: Any = None
    raw_body: bool = False
    example: Any = None
    query: Any = None
    answers: Mapping[int, Answer] = attrs.field(factory=dict)
    errors: tuple[int, ...] = ()
    path: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    grammar: Mapping[str, str] = attrs.field(factory=dict)
    admin: bool = False
    tag: str | None = None


@attrs.frozen
class Streams:
    """What is said of a WebSocket.

    Attributes:
      sends: classes of the messages that the server sends.
      receives: classes of the messages that it understands.
      path: as for `Described`.
      query: the class of its query parameters.
    """

    summary: str
    text: str
    sends: tuple[type, ...]
    receives: tuple[type, ...]
    path: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    query: Any = None


def described(*, answers: Mapping[int, Answer] | None = None, **said: Any) -> Callable[[F], F]:
    """Say of a route what `Described` has; its summary is the first line of the docstring, its text the rest."""

    def describe(route: F) -> F:
        summary, text = docstring(route)
        setattr(route, _KEY, Described(summary, text, answers=dict(answers or {}), **said))
        return route

    return describe


def streams(*, sends: tuple[type, ...], receives: tuple[type, ...], **said: Any) -> Callable[[F], F]:
    """Say of a WebSocket what `Streams` has; summary and text come from the docstring."""

    def describe(route: F) -> F:
        summary, text = docstring(route)
        setattr(route, _KEY, Streams(summary, text, sends, receives, **said))
        return route

    return describe


def description(route: Callable[..., Any]) -> Described | Streams | None:
    """What was said of *route*, if anything was."""
    found: Described | Streams | None = getattr(route, _KEY, None)
    return found


def undescribed(route: Callable[..., Any]) -> Described:
    """What can be said of a route that says nothing of itself."""
    summary, text = docstring(route)
    return Described(summary or route.__name__.replace("_", " "), text, answers={200: Answer(content_type=None)})


def docstring(route: Callable[..., Any] | type) -> tuple[str, str]:
    """Its first line and the rest, in the Markdown that both kinds of documents want."""
    text = re.sub(
        r"``([^`]+)``|(?<!\*)\*(\w+)\*(?!\*)", lambda found: f"`{found[1] or found[2]}`", inspect.getdoc(route) or ""
    )
    first, _, rest = text.partition("\n")
    return first.strip().removesuffix("."), rest.strip()
