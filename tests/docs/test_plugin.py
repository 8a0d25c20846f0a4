"""The sample package of an actor module, installed into an environment of its own and used by a foreign client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.pytest_run import run_tests
from tests.realtime.server_process import PATIENCE, ServerProcess, environment, eventually

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "plugin"
TOKEN = "an-operator-of-the-greenhouse-1234567890"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the package, and all else from that of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    found = folder / "venv" / "bin" / "python"
    ask = [found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.strip())
    # By `addsitedir`, which reads the .pth files of that folder too: our own packages are installed by one.
    (site / "tests.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    # A copy, since building writes beside the source.
    shutil.copytree(EXAMPLE, folder / "source")
    install = [sys.executable, "-m", "pip", "--python", found, "install", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*install, "--no-index", "--disable-pip-version-check", folder / "source"],
        env=environment({"PYTHONWARNINGS": "default"}),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 6,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return found


@pytest.fixture
def server(python: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of that environment; no path leads it to the source."""
    (tmp_path / "token").write_text(TOKEN)
    settings = {
        "auth": {"admin_token_file": "token"},
        "actors.greenhouse": {"interval": 0.25, "target": 1.0, "beds": ["basil", "beans"]},
    }
    with ServerProcess(tmp_path, settings, command=(str(python), "-m", "realtime", "serve")) as process:
        yield process
        assert not process.complaints()


def next_message(ws: ClientConnection, type: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(ws.recv(PATIENCE))
        if message["type"] == type:
            return message


def module(server: ServerProcess) -> dict[str, Any]:
    """What the server says of the greenhouse."""
    listed = server.get("/api/modules")["modules"]
    return next(dict(each) for each in listed if each["id"] == "greenhouse")


def switch(server: ServerProcess, action: str, state: str) -> None:
    """Do it as an operator, and wait until it is done."""
    answer = server.request("POST", f"/api/modules/greenhouse/{action}", headers=OPERATOR)
    assert answer.status == 202, answer
    eventually(lambda: module(server)["state"] == state)


def test_it_is_found_by_its_entry_point_and_brings_all_that_it_has(server: ServerProcess) -> None:
    found = module(server)
    assert found["origin"] == "entry point 'greenhouse' of greenhouse 1.2.0"
    assert found["hooks"] == ["children", "routes", "jobs", "methods"]
    assert found["options"] == ["interval", "target", "beds"]
    assert (found["topics"], found["jobs"], found["methods"]) == (["greenhouse"], ["water"], ["greenhouse.advice"])
    assert found["routes"] == ["GET /greenhouse", "POST /greenhouse/window"]


def test_its_child_publishes_and_its_routes_change_what_it_publishes(server: ServerProcess) -> None:
    with connect(server.ws("/ws/me")) as ws:
        ws.send(json.dumps({"type": "subscribe", "topic": "greenhouse"}))
        assert next_message(ws, "climate_update")["data"]["window_open"] is False
        answer = server.request("POST", "/greenhouse/window", {"open": True})
        assert (answer.status, answer.json()["window_open"]) == (200, True)
        while not next_message(ws, "climate_update")["data"]["window_open"]:
            pass
        wrong = server.request("POST", "/greenhouse/window", {"open": "wide"})
        assert (wrong.status, wrong.json()["error"]["details"]) == (400, {"field": "open"})


def test_its_method_answers_and_its_job_runs_with_its_settings(server: ServerProcess) -> None:
    with connect(server.ws("/ws/me")) as ws:
        ws.send(json.dumps({"type": "call", "id": "c1", "method": "greenhouse.advice"}))
        assert next_message(ws, "result") == {"type": "result", "id": "c1", "data": {"window": "open"}}
    wrong = server.request("POST", "/api/tasks", {"job": "water", "params": {"bed": "tomatoes"}})
    assert (wrong.status, wrong.json()["error"]["details"]) == (400, {"field": "params.bed"})
    task = server.request("POST", "/api/tasks", {"job": "water", "params": {"bed": "beans", "litres": 2}}).json()
    with connect(server.ws(f"/ws/tasks/{task['task_id']}")) as ws:
        assert next_message(ws, "completed")["data"]["result"] == {"litres": 2}


def test_wrong_settings_are_all_named_at_start(python: Path, tmp_path: Path) -> None:
    settings = {"actors.greenhouse": {"interval": 0, "target": "warm", "bed": []}}
    server = ServerProcess(tmp_path, settings, command=(str(python), "-m", "realtime", "check"))
    server.launch()
    assert server.wait() == 1
    (line,) = server.log
    for problem in (
        "option interval must be greater than 0",
        "option target: expected `float`",
        "option bed is not known",
    ):
        assert problem in line["event"]


def test_it_is_reloaded_disabled_and_enabled_under_an_open_connection(server: ServerProcess, python: Path) -> None:
    """Its file is changed where it was installed; the connection, and the one to its neighbours, stay."""
    ask = [str(python), "-c", "import greenhouse.actors; print(greenhouse.actors.__file__)"]
    file = Path(subprocess.run(ask, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.strip())
    assert python.parents[1] in file.parents
    source = file.read_text()
    with connect(server.ws("/ws/me")) as ws:
        ws.send(json.dumps({"type": "subscribe", "topic": "greenhouse"}))
        assert next_message(ws, "climate_update")["data"]["temperature"] < 90
        try:
            file.write_text(source.replace("temperature: float = 20.0", "temperature: float = 100.0"))
            switch(server, "reload", "enabled")
            while next_message(ws, "climate_update")["data"]["temperature"] < 100:
                pass
        finally:
            file.write_text(source)
        switch(server, "disable", "disabled")
        assert server.request("GET", "/greenhouse").status == 404
        assert server.request("GET", "/api/supervisors/broadcasters/greenhouse").status == 404
        next_message(ws, "time_update")
        switch(server, "enable", "enabled")
        while next_message(ws, "climate_update")["data"]["temperature"] > 90:
            pass


def test_its_own_test_passes(python: Path) -> None:
    assert "2 passed" in run_tests(python.parents[2] / "source", python)
