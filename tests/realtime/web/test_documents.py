"""Both documents: held against their specifications, and against what the server really answers and sends.

``asyncapi-3.0.0.schema.json.gz`` is ``schemas/3.0.0-without-$id.json`` of the package @asyncapi/specs 6.11.1, the
specification's own (Apache License 2.0), as it came.
"""

from __future__ import annotations

import gzip
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from quart import Blueprint

from realtime import messages
from realtime.actors.tasks import job
from realtime.ports import EventQuery, NewEvent
from realtime.settings import ActorSettings
from realtime.web import asyncapi, openapi, schemas
from realtime.web.described import Answer, Streams, described, description
from realtime.web.stream_shapes import EXAMPLES

from ..in_process import CLOCK, make_settings, receive, receive_until, running

ASYNCAPI = Path(__file__).with_name("asyncapi-3.0.0.schema.json.gz")


@pytest.fixture
def app(system):
    return system.app


def validator(document: dict[str, Any], reference: dict[str, Any]) -> Draft202012Validator:
    """Of what *reference* in *document* stands for."""
    return Draft202012Validator({**reference, "components": document["components"]})


# --- OpenAPI --------------------------------------------------------------------------------------------------------


async def test_openapi_is_valid_by_the_public_validator(system):
    document = await system.get("/openapi.json")
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()


async def test_every_route_describes_itself(app):
    silent = [rule.rule for rule in app.url_map.iter_rules() if description(app.view_functions[rule.endpoint]) is None]
    assert silent == [], "put @described or @streams between the route and its function"


async def test_every_route_and_method_is_in_the_document(app):
    paths = openapi.document(app)["paths"]
    routes = {
        (openapi.path_of(rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.websocket
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, operations in paths.items() for method in operations} == routes
    assert ("/api/supervisors/{path}/{action}", "post") in routes


async def test_operations_have_names_of_their_own_and_summaries(app):
    operations = [one for path in openapi.document(app)["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] and "``" not in one["summary"] for one in operations)


async def test_every_example_fits_its_own_schema(app):
    document = openapi.document(app, strict=True)
    checked = 0
    for operations in document["paths"].values():
        for operation in operations.values():
            contents = [operation.get("requestBody", {}).get("content", {})]
            contents += [answer.get("content", {}) for answer in operation["responses"].values()]
            for content in (one for each in contents for one in each.values() if "example" in one):
                validator(document, content["schema"]).validate(content["example"])
                checked += 1
    assert checked > 50


async def test_bodies_and_good_answers_in_json_have_examples(app):
    for path, operations in openapi.document(app)["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {})
            good = [answer.get("content", {}) for status, answer in operation["responses"].items() if int(status) < 400]
            for content in (one for each in [body, *good] for kind, one in each.items() if "schema" in one):
                assert "example" in content, (method, path)


async def test_bounds_are_those_that_the_validators_enforce(app):
    schema = schemas.definitions([NewEvent], "")["NewEvent"]["properties"]
    assert schema["type"]["pattern"] == "^[A-Za-z0-9_.:-]{1,128}$"
    assert schema["tags"]["maxItems"] == 32
    limit = {name: found for name, found, _ in schemas.properties(EventQuery)}["limit"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 1000, 100)


async def test_what_cannot_be_given_is_not_in_a_body(app):
    new_event = openapi.document(app)["components"]["schemas"]["NewEvent"]
    assert "data_json" not in new_event["properties"]
    assert new_event["required"] == ["type"]
    assert new_event["additionalProperties"] is False


async def test_answers_are_as_the_document_says(app, system):
    """Each route with good and with bad requests; the document allows no field that it does not name."""
    document = openapi.document(app, strict=True)

    @job("double")
    async def double(progress, *, n: int = 1) -> int:
        return 2 * n

    system.system.services.tasks.register(double)
    for method, path, template, options, status in (
        ("post", "/api/events", None, {"json": {"type": "t", "tags": ["a"], "data": {"a": [1, None]}}}, 201),
        ("post", "/api/events", None, {"json": {"type": "", "nope": 1}}, 400),
        ("post", "/api/events", None, {"json": [1]}, 400),
        ("post", "/api/events", None, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("get", "/api/events", None, {}, 200),
        ("get", "/api/events?limit=0", None, {}, 400),
        ("get", "/api/events/nothing", "/api/events/{event_id}", {}, 404),
        ("post", "/api/tasks", None, {"json": {"job": "double", "params": {"n": 2}}}, 201),
        ("post", "/api/tasks", None, {"json": {"job": "nothing"}}, 400),
        ("get", "/api/tasks", None, {}, 200),
        ("get", "/api/tasks/nothing", "/api/tasks/{task_id}", {}, 404),
        ("delete", "/api/tasks/nothing", "/api/tasks/{task_id}", {}, 404),
        ("get", "/api/connections", None, {}, 200),
        ("get", "/api/connections?after=x", None, {}, 400),
        ("get", "/api/topics", None, {}, 200),
        ("get", "/api/metrics", None, {}, 200),
        ("get", "/api/health", None, {}, 200),
        ("get", "/api/health/live", None, {}, 200),
        ("get", "/api/health/ready", None, {}, 200),
        ("get", "/api/supervisors", None, {}, 200),
        ("get", "/api/supervisors/hub", "/api/supervisors/{path}", {}, 200),
        ("get", "/api/supervisors/nothing", "/api/supervisors/{path}", {}, 404),
        ("post", "/api/supervisors/hub/restart", "/api/supervisors/{path}/{action}", {}, 403),
        ("get", "/api/events", None, {"headers": {"Host": "elsewhere"}}, 400),
    ):
        answer = await getattr(system.client, method)(path, **options)
        assert answer.status_code == status, (method, path)
        said = document["paths"][(template or path).partition("?")[0]][method]["responses"][str(status)]
        validator(document, said["content"]["application/json"]["schema"]).validate(await answer.get_json())


async def test_an_open_connection_and_a_crash_are_as_the_document_says(app, system, autojump_clock):
    document = openapi.document(app, strict=True)
    system.tree.crash("heartbeat", RuntimeError("x"))
    async with system.websocket("/ws/one") as socket:
        await receive(socket, 2)
        for path in ("/api/connections", "/api/topics", "/api/supervisors", "/api/metrics"):
            schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            found = await system.get(path)
            validator(document, schema).validate(found)
    assert document["components"]["schemas"]["LastExitFigures"]["additionalProperties"] is False


async def test_what_an_actor_module_adds_is_in_the_document(app):
    @attrs.frozen
    class Weather:
        celsius: float

    blueprint = Blueprint("weather", __name__)

    @blueprint.get("/weather/<any(now, soon):when>/<place>")
    @described(answers={200: Answer(Weather, {"celsius": 21.5})}, path={"place": ("where", "Ulm")}, errors=(404,))
    async def weather(when: str, place: str) -> None:
        """The weather at *place*."""

    @blueprint.post("/weather/silent")
    async def silent_route() -> None: ...

    app.register_blueprint(blueprint)
    document = openapi.document(app)
    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"]["/weather/{when}/{place}"]["get"]
    assert operation["summary"] == "The weather at `place`"
    assert [one["schema"] for one in operation["parameters"]] == [
        {"type": "string", "enum": ["now", "soon"]},
        {"type": "string", "minLength": 1},
    ]
    assert document["components"]["schemas"]["Weather"]["required"] == ["celsius"]
    assert document["paths"]["/weather/silent"]["post"]["summary"] == "silent route"


async def test_the_routes_of_a_running_module_are_in_both_documents(system):
    blueprint = Blueprint("weather", __name__)

    @blueprint.get("/weather/<place>")
    @described(answers={200: Answer(content_type="text/plain")})
    async def weather(place: str) -> str:
        """The weather at *place*."""
        return f"sunny at {place}"

    @blueprint.websocket("/ws/weather/<place>")
    async def changes(place: str) -> None:
        """Each change of the weather."""

    mounts = system.system.backend.mounts
    mounts.put("weather", blueprint)
    document = await system.get("/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    assert "/weather/{place}" in document["paths"]
    sockets = await system.get("/asyncapi.json")
    Draft7Validator(json.loads(gzip.decompress(ASYNCAPI.read_bytes()))).validate(sockets)
    assert "/ws/weather/{place}" in {channel["address"] for channel in sockets["channels"].values()}
    mounts.remove("weather")
    assert "/weather/{place}" not in (await system.get("/openapi.json"))["paths"]


# --- AsyncAPI -------------------------------------------------------------------------------------------------------


async def test_asyncapi_is_valid_by_the_schema_of_its_specification(system):
    document = await system.get("/asyncapi.json")
    assert document["asyncapi"] == "3.0.0"
    Draft7Validator(json.loads(gzip.decompress(ASYNCAPI.read_bytes()))).validate(document)


async def test_references_of_the_asyncapi_document_lead_somewhere(system):
    document = await system.get("/asyncapi.json")

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                at = document
                for part in value["$ref"].removeprefix("#/").split("/"):
                    at = at[part]
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)


async def test_every_socket_is_in_the_document(app):
    addresses = {channel["address"] for channel in asyncapi.document(app)["channels"].values()}
    assert addresses == {openapi.path_of(rule) for rule in app.url_map.iter_rules() if rule.websocket}
    assert {"/ws/events", "/ws/supervisors", "/ws/tasks/{task_id}", "/ws/{session_id}"} <= addresses


async def test_every_message_has_an_example_that_fits(app):
    document = asyncapi.document(app, strict=True)
    for name, message in document["components"]["messages"].items():
        (example,) = message["examples"]
        validator(document, message["payload"]).validate(example["payload"])
        assert message["summary"], name


async def test_every_type_of_the_protocol_is_in_the_document(app):
    schemas_ = asyncapi.document(app)["components"]["schemas"]
    kinds = [schema["properties"].get("type", {}) for schema in schemas_.values()]
    named = {word for kind in kinds for word in [*kind.get("enum", ()), kind.get("const")]}
    assert messages.RESERVED_TYPES - named == set()


@pytest.mark.parametrize("shape", messages.CLIENT_TYPES.values())
def test_the_examples_of_clients_are_understood(shape):
    text = msgspec.json.encode(EXAMPLES[shape]).decode()
    assert isinstance(messages.parse_client_message(text), shape)


async def test_what_is_sent_is_as_the_document_says():
    """Each stream, message by message: one of the shapes that it names has to fit."""
    async with running(make_settings(actors={"clock": CLOCK})) as system:
        document = asyncapi.document(system.app, strict=True)

        def check(name, message):
            fitting = []
            for reference in document["operations"][f"send_{name}"]["messages"]:
                shape = reference["$ref"].rpartition("/")[2]
                if validator(document, document["components"]["messages"][shape]["payload"]).is_valid(message):
                    fitting.append(shape)
            assert fitting, message

        async with system.websocket("/ws/events") as socket:
            await system.client.post("/api/events", json={"type": "t"})
            await socket.send('{"type":"ping"}')
            await socket.send("nonsense")
            for message in await receive(socket, 4):
                check("events", message)
        async with system.websocket("/ws/supervisors") as socket:
            for message in await receive(socket, 2):
                check("supervisors", message)
            system.tree.crash("broadcasters/clock", RuntimeError("x"))
            for message in await receive(socket, 3):
                check("supervisors", message)
        async with system.websocket("/ws/one") as socket:
            await socket.send('{"type":"subscribe","topic":"events"}')
            await socket.send('{"type":"subscribe","topic":"nothing"}')
            await socket.send('{"type":"unsubscribe","topic":"events"}')
            await receive_until(socket, "error")
            for message in [*await receive(socket, 1), await receive_until(socket, "time_update")]:
                check("session", message)


async def test_a_stream_says_what_it_is(app):
    view = app.view_functions["sockets.events"]
    assert isinstance(description(view), Streams)
    channel = asyncapi.document(app)["channels"]["events"]
    assert channel["title"] == "Each event, as it is committed"
    assert set(channel["bindings"]["ws"]["query"]["properties"]) == {"epoch", "offset"}


async def test_what_a_module_says_of_its_messages_is_in_the_document(tmp_path, monkeypatch):
    """With each class of data as its own, also if two modules call theirs the same."""
    source = """
        import attrs
        from realtime.actors.declared import periodic

        @attrs.frozen
        class Reading:
            '''What the {name} shows.'''

            {name}: float

        message_types = {{"{name}_update": Reading}}

        @periodic(every=1.0, topic="{name}", type="{name}_update")
        async def read():
            return Reading(7.5)
    """
    monkeypatch.syspath_prepend(tmp_path)
    names = ("barometer_of_test", "hygrometer_of_test")
    for name in names:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source.format(name=name)))
    async with running(make_settings(actors={name: ActorSettings(use=name) for name in names})) as system:
        document = await system.get("/asyncapi.json")
        Draft7Validator(json.loads(gzip.decompress(ASYNCAPI.read_bytes()))).validate(document)
        async with system.websocket("/ws/me") as socket:
            for name in names:
                await socket.send_json({"type": "subscribe", "topic": name})
                message = await receive_until(socket, f"{name}_update")
                shape = document["components"]["messages"][f"{name}.{name}_update"]
                validator(document, shape["payload"]).validate(message)
                assert not validator(document, shape["payload"]).is_valid({**message, "data": {"wrong": 1}})
                channel = document["channels"]["session"]["messages"]
                assert channel[f"{name}.{name}_update"] == {"$ref": f"#/components/messages/{name}.{name}_update"}
    for name in names:
        sys.modules.pop(name)


# --- the page -------------------------------------------------------------------------------------------------------


async def test_the_page_loads_nothing_from_elsewhere(system):
    answer = await system.client.get("/docs")
    text = (await answer.get_data()).decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "//" not in text.replace("<!doctype html>", "")
    for name in ("docs.js", "docs.css"):
        assert f"static/{name}" in text
        assert (await system.client.get(f"/static/{name}")).status_code == 200
