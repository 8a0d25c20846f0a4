"""Both documents are built once, and anew when what they tell of has changed."""

from __future__ import annotations

import sys
import textwrap
import threading

import pytest
import trio
from quart import Blueprint

from realtime.settings import ActorSettings
from realtime.web import asyncapi, openapi
from supervisors.testing import wait_until

from ..in_process import make_settings, running

WEATHER = """
    import attrs
    from quart import Blueprint

    @attrs.frozen
    class Weather:
        {field}: float

    message_types = {{"now": Weather}}

    def routes(services):
        blueprint = Blueprint("weather", __name__)

        @blueprint.get("/{field}")
        async def weather(): ...

        return blueprint
"""


@pytest.fixture
def built(monkeypatch):
    """Which documents have been built, in that order."""
    names = []

    def counted(name, build):
        def document(*args, **options):
            names.append(name)
            return build(*args, **options)

        return document

    for name, module in (("openapi", openapi), ("asyncapi", asyncapi)):
        monkeypatch.setattr(module, "document", counted(name, module.document))
    return names


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
async def test_a_document_is_built_once_for_all_who_ask(system, built, name):
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(system.get, f"/{name}.json")
    await system.get(f"/{name}.json", headers={"Host": "127.0.0.1"})
    assert built == [name]


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
async def test_a_document_that_the_client_has_is_not_sent_again(system, path):
    answer = await system.client.get(path)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-cache"
    again = await system.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")


async def test_the_event_loop_goes_on_while_a_document_is_built(system, monkeypatch):
    go_on = threading.Event()

    def document(*apps):
        assert go_on.wait(timeout=10)
        return {}

    monkeypatch.setattr(openapi, "document", document)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.get, "/openapi.json")
        await system.get("/api/health/live")
        go_on.set()


async def test_a_document_that_could_not_be_built_is_tried_again(system, monkeypatch):
    def broken(*apps):
        raise ValueError("two classes share a name")

    with monkeypatch.context() as patched:
        patched.setattr(openapi, "document", broken)
        assert (await system.client.get("/openapi.json")).status_code == 500
    assert (await system.get("/openapi.json"))["openapi"] == "3.1.0"


async def test_a_change_while_a_document_is_built_is_in_the_next_answer(system, monkeypatch):
    build, begun, go_on = openapi.document, trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(*apps):
        token.run_sync_soon(begun.set)
        assert go_on.wait(timeout=10)
        return build(*apps)

    blueprint = Blueprint("weather", __name__)

    @blueprint.get("/weather")
    async def weather() -> None: ...

    monkeypatch.setattr(openapi, "document", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.get, "/openapi.json")
        await begun.wait()
        system.system.backend.mounts.put("weather", blueprint)
        go_on.set()
        assert "/weather" in (await system.get("/openapi.json"))["paths"]


async def test_documents_are_built_anew_when_a_module_is_switched(tmp_path, monkeypatch, built):
    name = "weather_that_changes"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / f"{name}.py"

    def write(field):
        path.write_text(textwrap.dedent(WEATHER.format(field=field)))

    write("celsius")
    async with running(make_settings(actors={"weather": ActorSettings(use=name)})) as system:
        modules = system.system.backend.modules

        async def switch(action):
            modules.switch_soon(action, "weather")
            await wait_until(system.tree, lambda: modules.get("weather").state != action, f"{action} is over")
            assert modules.get("weather").error is None

        async def told():
            """Of the module: its route, and the field of its message."""
            paths = (await system.get("/openapi.json"))["paths"]
            shapes = (await system.get("/asyncapi.json"))["components"]["schemas"]
            return [*({"/celsius", "/kelvin"} & paths.keys()), *shapes.get("Weather", {}).get("properties", ())]

        assert await told() == await told() == ["/celsius", "celsius"]
        write("kelvin")
        await switch("reload")
        assert await told() == await told() == ["/kelvin", "kelvin"]
        await switch("disable")
        assert await told() == await told() == []
        await switch("enable")
        assert await told() == ["/kelvin", "kelvin"]
    assert built == ["openapi", "asyncapi"] * 4
    sys.modules.pop(name)
