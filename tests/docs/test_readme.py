"""What the README shows is what runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.realtime.server_process import PATIENCE, ServerProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(marker: str) -> str:
    """The code block behind the comment *marker*."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"the README has no block marked {marker!r}"
    return found[1]


@pytest.mark.parametrize("path", ["docs/examples/dice.py", "docs/examples/alone.py"])
def test_the_readme_shows_the_example_files_as_they_are(path: str) -> None:
    assert block(path) == (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a folder that holds the README's actor module and its settings, and nothing else."""
    process = ServerProcess(tmp_path, env={"REALTIME_SERVER_BIND": "127.0.0.1:0"})
    settings = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert settings is not None
    (tmp_path / "realtime.toml").write_text(settings[1], encoding="utf-8")
    (tmp_path / "dice.py").write_text(block("docs/examples/dice.py"), encoding="utf-8")
    with process:
        yield process


def test_an_actor_module_of_ones_own_runs_in_the_tree_and_comes_back(server: ServerProcess) -> None:
    with connect(server.ws("/ws/player")) as ws:
        ws.send(json.dumps({"type": "subscribe", "topic": "dice"}))

        def next_throw() -> int:
            while True:
                message = json.loads(ws.recv(PATIENCE))
                if message["type"] == "dice_update":
                    return int(message["data"]["eyes"])

        assert next_throw() in range(1, 7)
        server.crash("broadcasters/dice")
        server.wait_for_log("child_restarting", path="broadcasters/dice")
        assert next_throw() in range(1, 7)
    node = server.get("/api/supervisors/broadcasters/dice")
    assert (node["state"], node["restarts"], node["stats"]["interval_s"]) == ("running", 1, 0.5)


def test_the_command_lines_print_an_event_that_is_posted(server: ServerProcess) -> None:
    """``realtime tail`` and the ``curl`` line, as they stand there but for the port."""
    here = f"http://127.0.0.1:{server.port}"
    tail = block("command line").strip().replace("ws://127.0.0.1:8000", here.replace("http", "ws"))
    post = block("post an event").replace("http://127.0.0.1:8000", here)
    scripts = sysconfig.get_path("scripts")
    environ = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(tail, shell=True, stdout=subprocess.PIPE, text=True, env=environ, process_group=0) as reader:
        assert reader.stdout is not None
        try:
            assert json.loads(reader.stdout.readline())["type"] == "subscribed"
            subprocess.run(post, shell=True, check=True, capture_output=True, timeout=PATIENCE)
            event = json.loads(reader.stdout.readline())
        finally:
            os.killpg(reader.pid, 2)
    assert (event["type"], event["data"]["type"], event["data"]["data"]) == ("event", "door_opened", {"door": 3})


def test_supervisors_alone_keeps_a_flaky_worker_alive() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "docs/examples/alone.py"], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "Restarting(path='flaky'" in ran.stdout or "RestartDelayed(path='flaky'" in ran.stdout
    assert re.search(r"^  steady \(running, up 3 s\)$", ran.stdout, re.MULTILINE)
    assert ran.stderr == ""
