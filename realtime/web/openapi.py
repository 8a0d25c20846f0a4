"""OpenAPI 3.1 of every route that an application has, made of what the routes say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from quart import Quart
from werkzeug.routing import Rule

from realtime import __version__
from realtime.web import schemas
from realtime.web.described import Answer, Described, Streams, description, undescribed
from realtime.web.errors import CODES
from realtime.web.schemas import Schema
from realtime.web.shapes import Error

PREFIX: Final = "#/components/schemas/"

EVERYWHERE: Final = (400, 401, 403, 429)
"""Statuses with which any route may refuse: the host, no credentials or not enough of them, too many requests."""

_BODY_ERRORS: Final = (408, 413, 415)
# Where one of some words is wanted in a path: with another it is another path, or none.
_OTHER_WORD: Final = (404, 405)
_IMPLIED: Final = frozenset({"HEAD", "OPTIONS"})

# In a rule's text: <name>, <converter:name> or <converter(arguments):name>.
VARIABLE: Final = re.compile(r"<(?:(\w+)(?:\(([^)]*)\))?:)?(\w+)>")

_MEANINGS: Final[Mapping[int, str]] = {
    400: "The host, a parameter or a field of the body is wrong; `details.field` names it.",
    401: "Sign in first.",
    403: "The origin is not allowed, or the credentials do not reach this far.",
    404: "There is no such thing.",
    405: "The path takes other methods; `Allow` lists them.",
    408: "The body did not come in time.",
    409: "It is in the wrong state for this.",
    413: "The body is too large.",
    415: "The body is not declared as application/json.",
    426: "This path is a WebSocket.",
    429: "Too many requests, or too much is under way.",
    503: "Not now; `Retry-After` says when to try again.",
}


def document(*apps: Quart, strict: bool = False) -> Schema:
    """The document; what is added to *apps* later stands in the next one.

    Args:
      apps: our own, and those of actor modules.
      strict: also of answers say that they hold nothing but what is named: for tests.
    """
    paths: dict[str, Schema] = {}
    shapes: dict[Any, None] = {Error: None}
    bodies: dict[Any, None] = {}
    for rule, said in (each for app in apps for each in routes(app)):
        shapes.update({answer.shape: None for answer in said.answers.values() if answer.shape is not None})
        if said.body is not None:
            shapes[said.body] = bodies[said.body] = None
        operations = paths.setdefault(path_of(rule), {})
        for method in sorted((rule.methods or set()) - _IMPLIED):
            operations[method.lower()] = _operation(rule, method, said)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "realtime",
            "version": __version__,
            "description": "Live data to many web clients. What its WebSockets carry: `/asyncapi.json`.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            # What is in a body has no other fields either: none of them would have a meaning.
            "schemas": schemas.definitions(shapes, PREFIX, strict=strict)
            | schemas.definitions(bodies, PREFIX, strict=True),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def routes(app: Quart) -> Iterator[tuple[Rule, Described]]:
    """Every route of *app* that is no WebSocket, and what is said of it, be it little."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        said = description(view)
        if not rule.websocket and not isinstance(said, Streams):
            yield rule, undescribed(view) if said is None else said


def path_of(rule: Rule) -> str:
    return VARIABLE.sub(r"{\3}", rule.rule)


def _operation(rule: Rule, method: str, said: Described) -> Schema:
    variables = list(VARIABLE.finditer(rule.rule))
    operation: Schema = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_')}_{len(rule.arguments)}",
        "summary": said.summary,
        "tags": [said.tag or _tag(rule)],
        "parameters": [
            *(_path_parameter(found, said) for found in variables),
            *(_query_parameters(said) if said.query is not None else ()),
        ],
        "responses": _responses(said, _OTHER_WORD if any(found[1] == "any" for found in variables) else ()),
        "security": [{"bearer": []}] if said.admin else [{}, {"bearer": []}],
    }
    if said.text:
        operation["description"] = said.text
    if said.body is not None or said.raw_body:
        schema = {"type": "object"} if said.body is None else schemas.reference(said.body, PREFIX)
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": _with_example({"schema": schema}, said.example)},
        }
    return operation


def _tag(rule: Rule) -> str:
    parts = rule.rule.strip("/").split("/")
    return parts[1] if parts[0] == "api" and len(parts) > 1 else "pages"


def _path_parameter(found: re.Match[str], said: Described) -> Schema:
    converter, arguments, name = found.groups()
    schema: Schema = {"type": "string", "minLength": 1}
    if converter == "any":
        schema = {"type": "string", "enum": sorted(word.strip() for word in arguments.split(","))}
    elif name in said.grammar:
        schema["pattern"] = said.grammar[name]
    parameter: Schema = {"name": name, "in": "path", "required": True, "schema": schema}
    if name in said.path:
        parameter["description"], parameter["example"] = said.path[name]
    return parameter


def _query_parameters(said: Described) -> Iterator[Schema]:
    for name, schema, required in schemas.properties(said.query):
        text = schema.pop("description", None)
        parameter = {"name": name, "in": "query", "required": required, "schema": schema}
        yield parameter if text is None else parameter | {"description": text}


def _responses(said: Described, more: tuple[int, ...]) -> Schema:
    errors = {*EVERYWHERE, *said.errors, *more, *(_BODY_ERRORS if said.body is not None or said.raw_body else ())}
    found = {status: _answer(status, answer) for status, answer in said.answers.items()}
    for status in errors - found.keys():
        found[status] = _answer(status, Answer(Error, example=_example(status), text=_MEANINGS[status]))
    return {str(status): found[status] for status in sorted(found)}


def _example(status: int) -> Schema:
    return {"error": {"code": CODES[status], "message": _MEANINGS[status], "details": {}}}


def _answer(status: int, answer: Answer) -> Schema:
    response: Schema = {"description": answer.text or ("Done." if status < 400 else _MEANINGS[status])}
    if answer.headers:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    if answer.content_type is not None:
        schema = {} if answer.shape is None else {"schema": schemas.reference(answer.shape, PREFIX)}
        response["content"] = {answer.content_type: _with_example(schema, answer.example)}
    return response


def _with_example(content: Schema, example: Any) -> Schema:
    return content if example is None else content | {"example": example}
