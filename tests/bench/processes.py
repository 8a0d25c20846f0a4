"""One server on one core and the load client on another: started, measured from outside, and ended."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.bench.build import program

START_SECONDS: Final = 30.0
"""For a server to listen."""

STOP_SECONDS: Final = 20.0
"""For a server to end after SIGTERM; then it is killed."""

ANSWER_SECONDS: Final = 240.0
"""For the load client to carry out one command; it gives up by itself when nothing comes for 10 s."""

PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """A server or the load client did not do what it should; the text has the end of its log."""


def cores() -> tuple[int, int]:
    """A core for the server and one for the load client.

    Raises:
      BenchError: there are not two.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("two cores are needed: one for the server, one for the load client")
    return usable[0], usable[-1]


def free_port() -> int:
    """A port that was free a moment ago, for TCP and for UDP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def raise_file_limit() -> None:
    """As many open files as this user may have; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class ServerProcess:
    """A server that listens on *port* (TCP), and publishes at commands on *port* (UDP)."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """What all its threads have used so far, as the scheduler counts it (to the nanosecond)."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) * 1e-9

    def resident_bytes(self) -> int:
        """What it holds in memory now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE

    def forget_peak(self) -> None:
        """Let `peak_bytes` begin anew."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most that it held in memory since `forget_peak`."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def wait_ready(self) -> None:
        """Wait until it listens on both ports.

        Raises:
          BenchError: it ended, or took too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while not (_accepts(self.port) and _takes_commands(self.port)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the server did not start:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self) -> float | None:
        """End it by SIGTERM; return the seconds that took, or None if it had to be killed."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None
        return time.monotonic() - began

    def tail(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text(errors="replace")[-2000:]


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _takes_commands(port: int) -> bool:
    """Whether the UDP port is bound: nobody answers a datagram, but an unbound port refuses it."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.05)
        probe.connect(("127.0.0.1", port))
        try:
            probe.send(b"0 1")
            probe.recv(1)
        except TimeoutError:
            return True
        except ConnectionRefusedError:
            return False
    return True


@contextmanager
def serving(command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str]) -> Iterator[ServerProcess]:
    """Run *command* in *folder*, pinned to the first core, around a block; it is ready when the block begins.

    Raises:
      BenchError: it does not start.
    """
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": "0", **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=_pinned(cores()[0]),
        )
    server = ServerProcess(process, port, log)
    try:
        server.wait_ready()
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def _pinned(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


class LoadClient:
    """The load client (``load/main.c``), pinned to the last core; a context manager, at whose end it ends.

    Args:
      options: of the program, without its dashes; True stands for a flag.
    """

    def __init__(self, port: int, **options: str | int | bool) -> None:
        command = [str(program("load")), f"--port={port}"]
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            command += [] if value is False else [flag] if value is True else [f"{flag}={value}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=_pinned(cores()[1])
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __call__(self, *words: object) -> dict[str, Any]:
        """Have it carry out one command, as ``client("rounds", 256, 1, 1.0, 1000)``; return its answer.

        Raises:
          BenchError: it ended, or took too long.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = " ".join(map(str, words))
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        answer = self._process.stdout.readline() if ready else b""
        if not answer:
            raise BenchError(f"the load client did not answer {line!r}")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed
