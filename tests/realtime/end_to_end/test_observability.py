"""What an operator sees of a real server: who blocks its loop, and where everybody is."""

from __future__ import annotations

import signal

from ..server_process import ServerProcess, eventually

SLOW = """
import time
import trio
from supervisors import ChildSpec

async def hold():
    while True:
        time.sleep(0.4)
        await trio.sleep(0.2)

def children(services):
    return [ChildSpec("slow", hold)]
"""


def test_who_blocks_the_loop_is_named_and_counted(tmp_path):
    (tmp_path / "slowpoke.py").write_text(SLOW)
    settings = {"log": {"blocked_after": 0.1}, "actors.slow": {"use": "slowpoke"}}
    with ServerProcess(tmp_path, settings) as server:

        def named():
            slow = (line for line in server.log if line.get("path") == "broadcasters/slow")
            return next((line for line in slow if "where" in line), None)

        line = server.wait_until_logged(named)
        assert line is not None
        assert line["logger"] == "supervisors.watchdog"
        assert "slowpoke.py" in line["where"]
        assert line["seconds"] >= 0.3
        loop = eventually(lambda: server.get("/api/metrics")["loop"]["blocked"])
        text = server.request("GET", "/metrics").body.decode()
    assert loop >= 1
    assert float(text.partition("\nrealtime_loop_blocked_total ")[2].partition("\n")[0]) >= 1


def test_nobody_looks_unless_it_is_asked_for(tmp_path):
    (tmp_path / "slowpoke.py").write_text(SLOW)
    with ServerProcess(tmp_path, {"actors.slow": {"use": "slowpoke"}}) as server:
        eventually(lambda: server.get("/api/metrics")["loop"]["lag_s"]["sum"] > 0.3)
        assert server.get("/api/metrics")["loop"]["blocked"] == 0


def logged(server, words, since):
    """Wait for a line of the log, from number *since* on, with *words* in it; whether there was one."""
    return server.wait_until_logged(lambda: any(words in line["event"] for line in server.log[since:]) or None)


def test_a_signal_writes_the_tree_and_its_stacks_and_the_server_goes_on(tmp_path):
    with ServerProcess(tmp_path, {}) as server:
        for _ in range(2):
            since = server.mark_log()
            server.signal(signal.SIGUSR1)
            assert logged(server, "different stacks", since)
        assert logged(server, "heartbeat (running", 0)
        assert server.get("/api/health")["status"] == "ok"
        assert server.stop() == 0
