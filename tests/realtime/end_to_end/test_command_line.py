"""``realtime`` as it is typed: what it prints, and what it ends with."""

from __future__ import annotations

import json
import queue
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import trustme

from tests.realtime.server_process import PATIENCE, REALTIME, ServerProcess, environment


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as process:
        yield process


def realtime(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [REALTIME, *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Check that it ended with an error for people; returns the text."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("Error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


class Lines:
    """What a process writes to one of its outputs, line by line as it comes."""

    def __init__(self, source: IO[str]) -> None:
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._reader.start()

    def _read(self, source: IO[str]) -> None:
        with source:
            for line in source:
                self._queue.put(line.rstrip("\n"))

    def until(self, pattern: str) -> str:
        """The next line that *pattern* is found in; those before it are passed over."""
        passed = []
        while True:
            try:
                passed.append(self._queue.get(timeout=PATIENCE))
            except queue.Empty:
                raise AssertionError(f"no line with {pattern!r} among {passed}") from None
            if re.search(pattern, passed[-1]):
                return passed[-1]


class Tail:
    """``realtime tail``, running."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [REALTIME, "tail", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.printed = Lines(self.process.stdout)
        self.notes = Lines(self.process.stderr)


@contextmanager
def tailing(*arguments: str) -> Iterator[Tail]:
    """It, ended with the block at the latest."""
    tail = Tail(*arguments)
    try:
        yield tail
    finally:
        if tail.process.poll() is None:
            tail.process.send_signal(signal.SIGINT)
        try:
            tail.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            tail.process.kill()
            tail.process.wait()
            raise


# --- serve ----------------------------------------------------------------------------------------------------------


def test_a_second_server_on_the_same_store_is_refused_with_the_reason(make_server, tmp_path):
    """Design 5.3: several processes without a distributed engine are refused, by a lock beside the store."""
    server = make_server().start()
    second = make_server()  # the same folder, hence the same store
    second.launch()
    assert second.wait() == 1
    reason = second.wait_for_log("server_failed")["reason"]
    assert f"realtime.db is in use by process {server.pid}" in reason
    assert "[store] path" in reason
    assert server.get("/api/health")["status"] == "ok"


def test_the_lock_of_a_killed_server_does_not_keep_the_next_one_out(make_server):
    """An operating system's lock ends with its process, however that ends."""
    server = make_server().start()
    server.kill()
    server.start()
    assert server.get("/api/health")["status"] == "ok"


def test_an_address_in_use_is_named(tmp_path):
    """One line for people, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = realtime("serve", cwd=tmp_path, env={"REALTIME_SERVER_BIND": bind})
    assert f"cannot listen on {bind}: Address already in use" in refused(done)


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_bad_realtime_toml_is_refused_in_one_line(tmp_path, command):
    """Contract 1: unknown keys are errors that name the key and the nearest known one."""
    (tmp_path / "realtime.toml").write_text('[server]\nbnd = "x"', encoding="utf-8")
    assert "realtime.toml: server.bnd is not known; the nearest is bind" in refused(realtime(command, cwd=tmp_path))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('[engine]\nurl = "redis://localhost"', "engine.url: only 'local'"),
        ('[auth]\nadmin_token_file = "missing"', "auth.admin_token_file"),
    ],
)
def test_what_cannot_be_had_is_refused_and_not_ignored(tmp_path, settings, expected):
    """A setting that asks for what is not there would otherwise be believed in."""
    (tmp_path / "realtime.toml").write_text(settings, encoding="utf-8")
    assert expected in refused(realtime("check", cwd=tmp_path))


def test_a_missing_settings_file_is_named(tmp_path):
    """Contract 1: the file given by ``--config``."""
    assert "nowhere.toml" in refused(realtime("serve", "--config", "nowhere.toml", cwd=tmp_path))


def test_check_tells_what_would_run(tmp_path):
    """It loads every actor module, and serves nothing."""
    done = realtime("check", cwd=tmp_path, env={"REALTIME_SERVER_BIND": "127.0.0.1:8123"})
    assert done.returncode == 0, done
    assert "actor modules: clock, system" in done.stdout
    assert "127.0.0.1:8123" in done.stdout
    assert not list(tmp_path.iterdir())


def test_settings_may_lie_elsewhere_and_paths_in_them_are_relative_to_them(make_server, tmp_path):
    """Contract 1: relative paths are relative to the file."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = elsewhere / "my.toml"
    config.write_text('[server]\nbind = "127.0.0.1:0"\n[store]\npath = "here.db"\n', encoding="utf-8")
    with ServerProcess(tmp_path, command=(REALTIME, "serve", "--config", str(config))) as server:
        server.post_event()
    assert (elsewhere / "here.db").exists()
    assert not (tmp_path / "realtime.db").exists()


def test_its_own_version_and_help():
    """Without any settings."""
    assert realtime("--version", cwd=Path("/")).stdout.startswith("realtime, version ")
    assert "tail" in realtime("--help", cwd=Path("/")).stdout


# --- tail -----------------------------------------------------------------------------------------------------------


def test_tail_prints_a_stream_and_comes_back_after_the_server_was_restarted(make_server):
    """Contract 3: 1012 means to come back after ``retry-after``."""
    server = make_server({"server": {"drain_window": 0}}).start()
    with tailing(server.ws("/ws/events")) as tail:
        tail.printed.until('"type":"subscribed"')
        server.post_event("before")
        assert json.loads(tail.printed.until('"type":"event"'))["data"]["type"] == "before"
        server.stop()
        assert "1012" in tail.notes.until("connection ended")
        server.settings["server"]["bind"] = f"127.0.0.1:{server.port}"
        server.write_settings()
        server.start()
        tail.printed.until('"type":"subscribed"')
        server.post_event("after")
        assert json.loads(tail.printed.until('"type":"event"'))["data"]["type"] == "after"
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(PATIENCE) == 130


def test_tail_waits_for_a_server_that_is_not_there_yet(make_server):
    """It says why it waits."""
    server = make_server().start()
    server.stop()
    with tailing(server.ws("/ws/events")) as tail:
        assert "connect" in tail.notes.until("trying again")
        server.settings["server"]["bind"] = f"127.0.0.1:{server.port}"
        server.write_settings()
        server.start()
        tail.printed.until('"type":"subscribed"')


def test_tail_subscribes_to_topics_and_stops_after_as_many_messages_as_asked_for(server):
    """Contract 3: a session, and ``subscribe``."""
    with tailing(server.ws("/ws/tail"), "--subscribe", "system", "--max", "6") as tail:
        lines = [json.loads(tail.printed.until("")) for _ in range(6)]
        assert tail.process.wait(PATIENCE) == 0
    topics = {line["topic"] for line in lines if line["type"] == "subscribed"}
    assert topics == {"clock", "session/tail", "system"}


@pytest.mark.parametrize(("path", "expected"), [("/ws/tasks/unknown", "4404"), ("/nothing", "HTTP 404")])
def test_tail_ends_where_there_is_no_coming_back(server, path, expected):
    """Contract 3: 4404 is for good; so is a path that does not exist."""
    with tailing(server.ws(path)) as tail:
        assert expected in tail.notes.until("Error")
        assert tail.process.wait(PATIENCE) == 1


# --- certificates ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server over TLS, whose authority only ``authority.pem`` in its folder knows."""
    folder = tmp_path_factory.mktemp("secure")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    with ServerProcess(folder, {"server": {"certfile": "cert.pem", "keyfile": "key.pem"}}) as process:
        yield process


def at_a_secure_server(server: ServerProcess, *command: str) -> list[str]:
    address = f"127.0.0.1:{server.port}"
    return [part.format(https=f"https://{address}", wss=f"wss://{address}") for part in command]


SECURELY = [
    ("tail", "{wss}/ws/events", "--max", "1"),
    ("emit", "note", "--url", "{https}"),
    ("tree", "{https}"),
]


@pytest.mark.parametrize("command", SECURELY, ids=lambda command: command[0])
def test_a_certificate_that_nobody_vouches_for_ends_it_with_what_to_do(secure, command):
    """Coming back changes nothing."""
    error = refused(realtime(*at_a_secure_server(secure, *command), cwd=secure.folder))
    assert f"the certificate of 127.0.0.1:{secure.port} cannot be verified: " in error
    assert "SSL_CERT_FILE" in error


@pytest.mark.parametrize("command", SECURELY, ids=lambda command: command[0])
def test_an_authority_of_one_s_own_is_trusted_by_ssl_cert_file(secure, command):
    trust = {"SSL_CERT_FILE": str(secure.folder / "authority.pem")}
    done = realtime(*at_a_secure_server(secure, *command), cwd=secure.folder, env=trust)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", ["tail", "emit", "tree"])
def test_its_help_names_ssl_cert_file(command):
    assert "SSL_CERT_FILE" in realtime(command, "--help", cwd=Path("/")).stdout
