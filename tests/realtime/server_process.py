"""``realtime serve`` as a process of its own, for tests that want the whole of it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

REALTIME = str(Path(sysconfig.get_path("scripts")) / "realtime")
"""The console script of the environment that the tests run in."""

logger = logging.getLogger("server process")
logger.setLevel(logging.INFO)

Found = TypeVar("Found")
Sections = Mapping[str, Mapping[str, object]]

# Seconds for what takes milliseconds on an idle machine: a test that waits so long has failed.
PATIENCE = 20.0


def to_toml(sections: Sections) -> str:
    """*sections* as TOML; each key is what stands in the brackets, as in ``actors.clock``."""
    # A string, number, boolean or list is written the same in JSON.
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the tests without settings of ours in it, and *extra*."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("REALTIME_")}
    return inherited | dict(extra or {})


def eventually(check: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What *check* returns, once that is true; it is asked again and again for *seconds*."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"still not true after {seconds:g} s: {found!r}"
        time.sleep(0.02)
    return found


@attrs.frozen
class Answer:
    """An HTTP response; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, which has to say that it is JSON."""
        assert self.headers["content-type"] == "application/json", (self.status, self.headers, self.body[:200])
        return json.loads(self.body)


class ServerProcess:
    """A server in *folder*, on a port that the system chooses; ended with the block at the latest.

    Starting it again after it has ended uses the same folder, hence the same settings and store.  Each line of its
    log is logged here as well, so that a failed test shows it.

    Args:
      folder: becomes its working folder; ``realtime.toml`` is written there.
      settings: what to write there, by section.
      debug: sets ``server.debug``: crash buttons, and tracebacks in the tree.
      command: another one than ``realtime serve``.
    """

    def __init__(
        self,
        folder: Path,
        settings: Sections | None = None,
        *,
        debug: bool = False,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (REALTIME, "serve"),
    ) -> None:
        self.folder = folder
        self.log: list[dict[str, Any]] = []
        """Every line so far, of all its lives; what is no JSON stands as ``{"event": <the line>}``."""
        self.url = ""
        self.pass_fds: Sequence[int] = ()
        """Descriptors that it inherits."""
        self._command = list(command)
        self._env = environment(env)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()
        sections = dict(settings or {})
        # A bind that is given wins, and so does a port that an earlier life had.
        sections["server"] = {"bind": "127.0.0.1:0", "debug": debug} | dict(sections.get("server", {}))
        self.settings = sections
        self.write_settings()

    def write_settings(self) -> None:
        """Write ``realtime.toml`` anew, for the next life."""
        (self.folder / "realtime.toml").write_text(to_toml(self.settings), encoding="utf-8")

    # --- its life ---------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process without waiting for anything."""
        assert self._process is None or self._process.poll() is not None, "it is running"
        self._process = subprocess.Popen(
            self._command,
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            pass_fds=self.pass_fds,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def start(self) -> Self:
        """Start it and wait until it serves."""
        seen = len(self.log)
        self.launch()
        try:
            self.url = self.wait_for_log("serving", since=seen)["url"]
        except BaseException:
            self.kill()
            raise
        return self

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status; negative is the signal that killed it.  All of its log has been read then."""
        assert self._process is not None
        assert self._reader is not None
        status = self._process.wait(seconds)
        self._reader.join(seconds)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send it *number*."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, seconds: float = PATIENCE) -> int:
        """Ask it to stop, wait, and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """End it as nothing but a power cut would."""
        self.signal(signal.SIGKILL)
        self.wait()

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        """End it if it runs: asked first, so that its coverage is saved; an error if that does not help."""
        if not self.running:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError("the server did not stop when it was asked to, and was killed") from error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- its log ----------------------------------------------------------------------------------------------------

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                logger.info(line.rstrip("\n"))
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = {"event": line.rstrip("\n")}
                with self._news:
                    self.log.append(entry)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for_log(
        self, event: str, *, since: int = 0, seconds: float = PATIENCE, **fields: object
    ) -> dict[str, Any]:
        """The first line of the log from number *since* on with this event and these fields."""

        def found() -> dict[str, Any] | None:
            matching = (line for line in self.log[since:] if line.get("event") == event)
            return next((line for line in matching if all(line.get(k) == v for k, v in fields.items())), None)

        line = self.wait_until_logged(found, seconds)
        assert line is not None, f"no line {event!r} {fields} in the log:\n{self.text_of_log()}"
        return line

    def wait_until_logged(self, find: Callable[[], Found | None], seconds: float = PATIENCE) -> Found | None:
        """What *find* sees in the log, as soon as it sees something; None if it never does."""

        def done() -> bool:
            return find() is not None or not (self._reader is not None and self._reader.is_alive())

        with self._news:
            # The reader's last notification comes just before its end, hence the short turns.
            deadline = time.monotonic() + seconds
            while not self._news.wait_for(done, 0.2) and time.monotonic() < deadline:
                pass
        return find()

    def mark_log(self) -> int:
        """The number of lines in the log, once all that was logged until now has been read; creates an event."""
        self.wait_for_log("event_created", event_id=self.post_event("mark")["event_id"])
        return len(self.log)

    def text_of_log(self) -> str:
        """The log for people."""
        return "\n".join(map(str, self.log))

    def complaints(self) -> list[dict[str, Any]]:
        """The lines of the log that are worse than news."""
        return [line for line in self.log if line.get("level") not in ("debug", "info")]

    # --- talking to it ----------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def ws(self, path: str) -> str:
        """The address of the WebSocket at *path*."""
        return f"ws{self.url.removeprefix('http')}{path}"

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask it one thing over a connection of its own; a *body* other than bytes is sent as JSON."""
        sent = {"Connection": "close"}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, sent | dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        """The JSON at *path*, which has to be there."""
        answer = self.request("GET", path, headers=headers)
        assert answer.status == 200, (path, answer)
        return answer.json()

    def post_event(self, type: str = "door_opened", **fields: object) -> dict[str, Any]:
        """Create an event; returns what was stored."""
        answer = self.request("POST", "/api/events", {"type": type, **fields})
        assert answer.status == 201, answer
        stored: dict[str, Any] = answer.json()
        return stored

    def all_events(self) -> list[dict[str, Any]]:
        """Every event that it has, page by page."""
        events: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.get(f"/api/events?limit=1000{after}")
            events += page["events"]
            if page["next"] is None:
                return events
            after = f"&after={page['next']}"

    def crash(self, path: str) -> None:
        """Press the crash button of a worker; for a server in debug mode."""
        answer = self.request("POST", f"/api/supervisors/{path}/crash")
        assert answer.status == 202, answer
