import sys
from contextlib import asynccontextmanager

import pytest
import structlog.testing
import trio
import trio.testing
from quart_trio.testing import connections

from realtime import asgi, log
from realtime.asgi import LifespanApp

from .in_process import receive

LIFESPAN = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the settings in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REALTIME_CONFIG", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(log, "configure", lambda *args: None)
    return tmp_path


class Server:
    """Any ASGI server, as far as the lifespan goes."""

    def __init__(self, app):
        self.app = app
        self._to_app, self._app_receives = trio.open_memory_channel(1)
        self._app_sends, self.from_app = trio.open_memory_channel(1)

    async def run(self):
        await self.app(LIFESPAN, self._app_receives.receive, self._app_sends.send)

    async def say(self, event):
        """Tell the application *event* and return its answer."""
        await self._to_app.send({"type": f"lifespan.{event}"})
        with trio.fail_after(10):
            return await self.from_app.receive()


@asynccontextmanager
async def serving(app=None):
    """A server that has started *app*, and shuts it down behind the block."""
    server = Server(LifespanApp() if app is None else app)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        assert await server.say("startup") == {"type": "lifespan.startup.complete"}
        yield server
        assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}


def http(path):
    return {
        "type": "http",
        "asgi": LIFESPAN["asgi"],
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }


async def get(app, path):
    """Status and body of the answer."""
    sent = []
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive_next():
        await trio.lowlevel.checkpoint()
        if requests:
            return requests.pop()
        return await trio.sleep_forever()

    async def send(message):
        await trio.lowlevel.checkpoint()
        sent.append(message)

    await app(http(path), receive_next, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def test_requests_are_served_between_startup_and_shutdown():
    async with serving() as server:
        status, body = await get(server.app, "/api/health/ready")
        assert (status, body) == (200, b'{"status":"ok","reasons":[]}')


async def test_a_websocket_is_too():
    async with serving() as server:
        scope = http("/ws/events") | {"type": "websocket", "scheme": "ws", "subprotocols": []}
        async with connections.TestWebsocketConnection(server.app, scope) as socket:
            (message,) = await receive(socket, 1)
    assert message["type"] == "subscribed"


async def test_the_tree_has_no_server_and_no_connections_of_its_own():
    async with serving() as server:
        _, body = await get(server.app, "/api/supervisors")
    assert b'"path":"broadcasters/clock"' in body
    assert b'"path":"server"' not in body
    assert b'"path":"connections"' not in body


async def test_the_settings_are_those_of_the_folder(folder):
    (folder / "realtime.toml").write_text("[actors.clock]\nenabled = false\n[store]\npath = 'other.db'\n")
    async with serving() as server:
        status, _ = await get(server.app, "/api/supervisors/broadcasters/clock")
    assert status == 404
    assert (folder / "other.db").exists()


async def test_modules_may_lie_beside_the_settings(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "beside_asgi.py").write_text(
        "import trio\n"
        "from supervisors import ChildSpec\n"
        "def children(services): return [ChildSpec('x', trio.sleep_forever)]\n"
    )
    settings = folder / "elsewhere" / "realtime.toml"
    settings.write_text("[actors.mine]\nuse = 'beside_asgi'\n")
    monkeypatch.setenv("REALTIME_CONFIG", str(settings))
    async with serving() as server:
        status, _ = await get(server.app, "/api/supervisors/broadcasters/mine")
    assert status == 200


async def test_it_says_that_it_is_for_development():
    with structlog.testing.capture_logs() as logs:
        async with serving():
            pass
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["development_server"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nbnd = 1\n", "SettingsError: "),
        ("[actors.mine]\nuse = 'no_such_module'\n", "PluginError: [actors.mine]"),
        ("[store]\npath = '/proc/no/such/folder/x.db'\n", "StartError: child 'store' did not start"),
    ],
)
async def test_a_start_that_fails_is_told_to_the_server(folder, text, said):
    (folder / "realtime.toml").write_text(text)
    server = Server(LifespanApp())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        answer = await server.say("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert said in answer["message"]


async def test_without_its_tree_the_worker_ends():
    """An exception alone would be logged, and the worker go on answering with what it has not got."""
    server = Server(LifespanApp())
    with structlog.testing.capture_logs() as logs, pytest.RaisesGroup(SystemExit) as ended:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            await server.say("startup")
            system = server.app._app.extensions["realtime_backend"]
            for _ in range(4):
                system.tree.crash("jobs", RuntimeError("on purpose"))
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep_forever()
    assert ended.value.exceptions[0].code == 1
    assert "tree_ended" in [line["event"] for line in logs]


async def test_a_server_that_knows_no_lifespan_is_told_so():
    with pytest.raises(RuntimeError, match="lifespan"):
        await get(LifespanApp(), "/")


def test_there_is_one_to_name_on_the_command_line():
    assert isinstance(asgi.app, LifespanApp)
