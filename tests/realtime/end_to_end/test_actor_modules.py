"""Somebody's own actor module: a file beside the settings, and a section in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.realtime.server_process import PATIENCE, ServerProcess, eventually

from .clients import listening, wait_until

MakeServer = Callable[..., ServerProcess]

DICE = '''
import random

from realtime.actors.broadcaster import RESTART, PeriodicBroadcaster
from supervisors import ChildSpec


class Dice(PeriodicBroadcaster):
    """Rolls a die."""

    async def sample(self):
        return {"rolled": random.randint(1, 6)}


def children(services, *, interval: float = 1.0) -> list[ChildSpec]:
    services.hub.declare("dice", retain=True)
    dice = Dice(services.hub, topic="dice", type="dice_update", interval=interval)
    return [ChildSpec("dice", dice.run, backoff=RESTART)]
'''

FRAGILE = """
from supervisors import ChildSpec


async def fragile(*, task_status):
    task_status.started()
    raise RuntimeError("as fragile as ever")


def children(services) -> list[ChildSpec]:
    return [ChildSpec("whatever it calls itself", fragile)]
"""

PAIR = """
import trio
from supervisors import ChildSpec


async def steady():
    await trio.sleep_forever()


def children(services) -> list[ChildSpec]:
    return [ChildSpec("left", steady), ChildSpec("right", steady)]
"""

FAILS_AT_START = """
from supervisors import ChildSpec


async def broken(*, task_status):
    raise LookupError("no such device")


def children(services) -> list[ChildSpec]:
    return [ChildSpec("broken", broken)]
"""

NEVER_STARTS = """
import trio
from supervisors import ChildSpec


async def silent(*, task_status):
    await trio.sleep_forever()


def children(services) -> list[ChildSpec]:
    return [ChildSpec("silent", silent, start_timeout=0.3)]
"""


ECHO = """
from quart import Blueprint, websocket

VERSION = 1


def routes(services) -> Blueprint:
    made = Blueprint("echo", __name__)

    @made.websocket("/echo")
    async def echo():
        while True:
            await websocket.send(f"{VERSION}: {await websocket.receive()}")

    @made.get("/fails")
    async def fails():
        raise RuntimeError("on purpose")

    return made
"""

TOKEN = "an-operator-of-modules-1234567890"


def write(folder: Path, name: str, text: str) -> None:
    """Put a module *name* into *folder*."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")


async def test_a_module_of_one_s_own_runs_under_broadcasters_and_is_listened_to(make_server, tmp_path):
    """Design 5.2: named in the configuration, the rest are its options."""
    write(tmp_path, "dice", DICE)
    server = make_server({"actors.dice": {"use": "dice", "interval": 0.25}}).start()
    node = server.get("/api/supervisors/broadcasters/dice")
    assert (node["state"], node["health"], node["stats"]["interval_s"]) == ("running", "ok", 0.25)
    async with listening(server, "/ws/gambler") as client:
        await client.ask({"type": "subscribe", "topic": "dice"}, "subscribed", topic="dice")
        for update in await client.several(3, "dice_update", topic="dice"):
            assert 1 <= update["data"]["rolled"] <= 6
    assert not server.complaints()


async def test_a_module_may_lie_anywhere_on_the_path_of_python(make_server, tmp_path):
    """Beside the settings is only the shortest way."""
    library = tmp_path / "library"
    library.mkdir()
    write(library, "far_away", DICE)
    server = make_server({"actors.dice": {"use": "far_away"}}, env={"PYTHONPATH": str(library)}).start()
    assert server.get("/api/supervisors/broadcasters/dice")["state"] == "running"


async def test_a_module_with_several_children_gets_a_supervisor_of_its_own(make_server, tmp_path):
    """They stand under the actor's id."""
    write(tmp_path, "pair", PAIR)
    server = make_server({"actors.both": {"use": "pair"}}).start()
    node = server.get("/api/supervisors/broadcasters/both")
    assert node["kind"] == "supervisor"
    assert [child["path"] for child in node["children"]] == ["broadcasters/both/left", "broadcasters/both/right"]


async def test_a_module_that_is_not_enabled_is_not_there(make_server):
    """Contract 1: ``enabled``; the bundled ones too."""
    server = make_server({"actors.clock": {"use": "realtime.actors.clock", "enabled": False}}).start()
    assert server.request("GET", "/api/supervisors/broadcasters/clock").status == 404
    async with listening(server, "/ws/no_clock") as client:
        await client.first("subscribed", topic="session/no_clock")
        assert not client.all("time_update")


async def test_a_module_that_crashes_again_and_again_degrades_nothing_but_itself(make_server, tmp_path):
    """Design 5.2: it is a degraded node, and everything else goes on, even if its specs say nothing of backoff."""
    write(tmp_path, "fragile", FRAGILE)
    server = make_server({"actors.fragile": {"use": "fragile"}}).start()
    async with listening(server, "/ws/watching") as client:
        node = await wait_until(lambda: with_restarts(server, 4))
        assert node["health"] == "degraded"
        assert node["last_exit"]["error"] == "RuntimeError: as fragile as ever"
        assert "traceback" not in node["last_exit"]  # neither debug nor an operator
        ticks = len(client.all("time_update"))
        await client.several(ticks + 2, "time_update")
        assert client.closed is None
    for sibling in ("broadcasters", "broadcasters/clock", "broadcasters/system", "server"):
        assert server.get(f"/api/supervisors/{sibling}")["generation"] == 1, sibling
    assert server.get("/api/supervisors/broadcasters/clock")["health"] == "ok"
    health = server.get("/api/health")
    assert health["status"] == "degraded"
    assert "fragile" in health["reasons"][0]
    assert server.stop() == 0


def with_restarts(server: ServerProcess, count: int) -> dict[str, Any] | None:
    """The node of the fragile one, once it was restarted so often."""
    node: dict[str, Any] = server.get("/api/supervisors/broadcasters/fragile")
    return node if node["restarts"] >= count else None


async def test_a_module_is_given_up_alone_after_as_many_failures_as_the_settings_allow(make_server, tmp_path):
    """Contract 1 and design 4: ``max_failures`` in a row; then failed, and the parent degraded."""
    write(tmp_path, "fragile", FRAGILE)
    section = {"use": "fragile", "max_failures": 3, "backoff_first": 0.05}
    server = make_server({"actors.fragile": section}).start()

    def failed() -> bool:
        state: str = server.get("/api/supervisors/broadcasters/fragile")["state"]
        return state == "failed"

    await wait_until(failed)
    assert server.get("/api/supervisors/broadcasters")["health"] == "degraded"
    assert server.get("/api/supervisors/broadcasters/clock")["health"] == "ok"
    assert server.request("GET", "/api/health").status == 200


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"use": "nowhere"}, "[actors.dice] (module 'nowhere') cannot be imported: ModuleNotFoundError"),
        ({"use": "dice", "intervall": 1}, "(module 'dice'): option 'intervall' is not known; the nearest is interval"),
    ],
)
def test_a_module_that_cannot_be_used_is_an_error_at_start(make_server, tmp_path, section, expected):
    """Design 5.2: it names the module and the option."""
    write(tmp_path, "dice", DICE)
    server = make_server({"actors.dice": section})
    server.launch()
    assert server.wait() == 1
    assert [line["event"] for line in server.log] == [server.log[0]["event"]]
    assert server.log[0]["event"].startswith("Error: [actors.dice]")
    assert expected in server.log[0]["event"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [(FAILS_AT_START, "no such device"), (NEVER_STARTS, "it was not up within its start_timeout of 0.3 s")],
)
def test_a_module_that_does_not_come_up_ends_the_start_with_its_cause(make_server, tmp_path, text, reason):
    """Design 4: a failed first start rolls back in reverse and raises with the cause."""
    write(tmp_path, "broken", text)
    server = make_server({"actors.broken": {"use": "broken"}})
    server.launch()
    assert server.wait() == 1
    failed = server.wait_for_log("child_start_failed", path="broadcasters/broken")
    assert failed["level"] == "error"
    assert reason in failed["cause"]
    assert reason in server.wait_for_log("server_failed")["reason"]
    # What had been started was stopped again.
    assert eventually(lambda: [line["event"] for line in server.log].count("broadcaster_stopped")) == 2


def test_a_socket_of_a_module_s_own_outlives_its_reload(make_server, tmp_path):
    """Contract 4: the modules are switched without touching any connection; new ones meet the new code."""
    write(tmp_path, "echo", ECHO)
    (tmp_path / "token").write_text(TOKEN)
    server = make_server({"actors.echo": {"use": "echo"}, "auth": {"admin_token_file": "token"}}).start()
    operator = {"Authorization": f"Bearer {TOKEN}"}

    def switch(action: str, state: str) -> None:
        assert server.request("POST", f"/api/modules/echo/{action}", headers=operator).status == 202
        eventually(lambda: server.get("/api/modules")["modules"][-1]["state"] == state)

    def say(ws: Any, text: str) -> str:
        ws.send(text)
        answer: str = ws.recv(PATIENCE)
        return answer

    with connect(server.ws("/echo")) as old:
        assert say(old, "a") == "1: a"
        write(tmp_path, "echo", ECHO.replace("VERSION = 1", "VERSION = 2"))
        switch("reload", "enabled")
        assert say(old, "b") == "1: b"
        with connect(server.ws("/echo")) as new:
            assert say(new, "c") == "2: c"
        switch("disable", "disabled")
        assert say(old, "d") == "1: d"
        with pytest.raises(InvalidStatus) as refused:
            connect(server.ws("/echo"))
        assert refused.value.response.status_code == 404
    assert not server.complaints()


def test_a_route_of_a_module_fails_as_ours_do(make_server, tmp_path):
    """One form for errors, and the failure in the log."""
    write(tmp_path, "echo", ECHO)
    server = make_server({"actors.echo": {"use": "echo"}}).start()
    answer = server.request("GET", "/fails")
    assert (answer.status, answer.json()["error"]["code"]) == (500, "internal_error")
    assert server.wait_for_log("request_failed")["path"] == "/fails"
    assert server.request("GET", "/echo").status == 426
