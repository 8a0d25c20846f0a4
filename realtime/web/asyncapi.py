"""AsyncAPI 3.0 of every WebSocket that an application has, made of what the streams say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from quart import Quart
from werkzeug.routing import Rule

from realtime import __version__, messages
from realtime.web import schemas
from realtime.web.described import Streams, description, docstring
from realtime.web.openapi import VARIABLE
from realtime.web.schemas import Schema
from realtime.web.stream_shapes import EXAMPLES

PREFIX: Final = "#/components/schemas/"
SESSION: Final = "sockets.session"
"""The stream that carries each topic its client subscribes to."""

_CLIENT_TYPES: Final[Mapping[type, str]] = {shape: name for name, shape in messages.CLIENT_TYPES.items()}


def document(*apps: Quart, published: Iterable[type] = (), strict: bool = False) -> Schema:
    """The document; what is added to *apps* later stands in the next one.

    Args:
      apps: our own, and those of actor modules.
      published: classes of the messages that actor modules publish, for the stream on which topics are subscribed to.
      strict: also of what the server sends say that it holds nothing but what is named: for tests.
    """
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    shapes: dict[type, None] = {}
    for rule, said in (each for app in apps for each in streams(app)):
        name = rule.endpoint.removeprefix("sockets.").replace(".", "_")
        if rule.endpoint == SESSION:
            said = attrs.evolve(said, sends=(*said.sends, *published))
        shapes.update(dict.fromkeys((*said.sends, *said.receives)))
        channels[name] = _channel(rule, said)
        operations[f"send_{name}"] = _operation("send", name, said, said.sends)
        operations[f"receive_{name}"] = _operation("receive", name, said, said.receives)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "realtime",
            "version": __version__,
            "description": "Live data to many web clients, over WebSockets. Over plain HTTP: `/openapi.json`.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {message_name(shape): _message(shape) for shape in shapes},
            "schemas": _schemas(shapes, strict=strict),
        },
    }


def streams(app: Quart) -> Iterator[tuple[Rule, Streams]]:
    """Every WebSocket of *app*, and what is said of it, be it nothing."""
    for rule in app.url_map.iter_rules():
        if rule.websocket:
            view = app.view_functions[rule.endpoint]
            said = description(view)
            yield rule, said if isinstance(said, Streams) else Streams(view.__name__, "", (), ())


def message_name(shape: type) -> str:
    """The name of a message in the document: that of its class; a client's say so, for both have a `Ping`."""
    return f"client_{_CLIENT_TYPES[shape]}" if shape in _CLIENT_TYPES else shape.__name__


def _channel(rule: Rule, said: Streams) -> Schema:
    channel: Schema = {
        "address": VARIABLE.sub(r"{\3}", rule.rule),
        "title": said.summary,
        "description": said.text or said.summary,
        "messages": {
            message_name(shape): {"$ref": f"#/components/messages/{message_name(shape)}"}
            for shape in (*said.sends, *said.receives)
        },
    }
    if said.path:
        channel["parameters"] = {
            name: {"description": text, "examples": [example]} for name, (text, example) in said.path.items()
        }
    if said.query is not None:
        query = {name: schema for name, schema, _ in schemas.properties(said.query)}
        binding = {"query": {"type": "object", "properties": query}, "bindingVersion": "0.1.0"}
        channel["bindings"] = {"ws": binding}
    return channel


def _operation(action: str, name: str, said: Streams, shapes: tuple[type, ...]) -> Schema:
    """As AsyncAPI wants it: what the server, whose document this is, does."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "title": f"{said.summary}: what {'the server sends' if action == 'send' else 'the server understands'}",
        "messages": [{"$ref": f"#/channels/{name}/messages/{message_name(shape)}"} for shape in shapes],
    }


def _message(shape: type) -> Schema:
    text = " ".join(docstring(shape)).strip()
    message: Schema = {
        "name": message_name(shape),
        "title": message_name(shape),
        "summary": text,
        "payload": {"$ref": PREFIX + message_name(shape)},
    }
    if shape in EXAMPLES:
        message["examples"] = [{"name": "example", "payload": dict(EXAMPLES[shape])}]
    return message


def _schemas(shapes: Mapping[type, None], *, strict: bool) -> dict[str, Schema]:
    of_client = [shape for shape in shapes if shape in _CLIENT_TYPES]
    of_server = [shape for shape in shapes if shape not in _CLIENT_TYPES]
    found = schemas.definitions(of_server, PREFIX, strict=strict)
    for shape in of_client:
        found[message_name(shape)] = _with_type(shape)
    return found


def _with_type(shape: Any) -> Schema:
    """What a client sends: its class does not hold the type, by which it was chosen."""
    schema = schemas.definitions([shape], PREFIX, strict=True)[shape.__name__]
    kind: dict[str, Any] = {"type": {"type": "string", "const": _CLIENT_TYPES[shape]}}
    schema["properties"] = kind | schema.get("properties", {})
    schema["required"] = ["type", *schema.get("required", ())]
    schema["title"] = message_name(shape)
    return schema
