"""The servers of the fan-out benchmark: how each is started, and how the load client speaks with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from tests.bench.build import ROOT, node_modules, peer_python, program
from tests.bench.processes import LoadClient, ServerProcess, free_port, serving

SETTINGS: Final = """\
[server]
bind = "127.0.0.1:{port}"
max_connections = 20000
max_connections_per_address = 20000

# The other servers have no such actors either.
[actors.clock]
enabled = false
[actors.system]
enabled = false

[actors.load]
use = "tests.bench.servers.load_actor"
port = {port}
"""
"""What differs from the defaults of ``realtime serve``: one address may open them all, and what is published."""


@attrs.frozen(eq=False)
class Contender:
    """A server to measure.

    Attributes:
      command: for its port, the program and its arguments; run in a folder of its own.
      client: options of the load client.
      files: written to that folder before; ``{port}`` stands for the port.
    """

    name: str
    command: Callable[[int], list[str]]
    client: Mapping[str, str | int | bool] = attrs.field(factory=dict)
    files: Mapping[str, str] = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=dict)

    @contextmanager
    def run(self, *, deflate: bool = False) -> Iterator[tuple[ServerProcess, LoadClient]]:
        """The server and the load client around a block, in processes of their own.

        Args:
          deflate: whether the client offers permessage-deflate.
        """
        port = free_port()
        with TemporaryDirectory(prefix="bench-") as name:
            for file, text in self.files.items():
                (Path(name) / file).write_text(text.replace("{port}", str(port)))
            environment = {"PYTHONPATH": str(ROOT), **self.environment}
            with (
                serving(self.command(port), port, Path(name), environment) as server,
                LoadClient(port, **self.client, deflate=deflate) as client,
            ):
                yield server, client


def _python(module: str, *arguments: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", module, str(port), *arguments]


def _peer(name: str) -> Callable[[int], list[str]]:
    return lambda port: [peer_python(), "-m", f"tests.bench.peers.{name}", str(port)]


def _node(port: int) -> list[str]:
    script = ROOT / "tests" / "bench" / "peers" / "node" / "server.js"
    return ["node", str(script), str(port), str(node_modules())]


def _ours(*command: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", *(part.replace("{port}", str(port)) for part in command)]


_SESSION: Final[Mapping[str, str | int | bool]] = {
    "path": "/ws/load-%d",
    "subscribe": '{"type":"subscribe","topic":"load"}',
    "confirmations": 3,  # of the topics "clock", "session/load-1" and "load"
}

_SOCKET_IO: Final[Mapping[str, str | int | bool]] = {
    "path": "/socket.io/?EIO=4&transport=websocket",
    "subscribe": "40",  # connect to the default namespace
    "confirmations": 2,  # Engine.IO's "open" and Socket.IO's "connect"
    "engineio": True,
}

CONTENDERS: Final = {
    contender.name: contender
    for contender in (
        Contender("ours", _ours("realtime", "serve"), _SESSION, {"realtime.toml": SETTINGS}),
        Contender(
            "ours on Hypercorn",
            _ours("hypercorn", "-k", "trio", "-w", "0", "-b", "127.0.0.1:{port}", "realtime.asgi:app"),
            _SESSION,
            {"realtime.toml": SETTINGS},
        ),
        Contender("raw", _python("tests.bench.servers.raw", "send")),
        Contender("raw joined", _python("tests.bench.servers.raw", "join")),
        Contender("C writev", lambda port: [str(program("floor")), str(port)]),
        Contender("picows", _peer("picows_peer")),
        Contender("aiohttp", _peer("aiohttp_peer")),
        Contender("websockets", _peer("websockets_peer")),
        Contender("FastAPI", _peer("fastapi_peer"), {"path": "/ws/%d"}),
        Contender("Socket.IO", _peer("socketio_peer"), _SOCKET_IO),
        Contender("Node ws", _node),
    )
}
