"""Node's package ``ws`` as a client: a process that does what it is told and tells what happens to it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

HERE = Path(__file__).parent / "node"
BUILD = Path(__file__).parents[3] / "build" / "node-client"
_STAMP = BUILD / "node_modules" / ".package-lock.json"


def install() -> None:
    """Install what ``package-lock.json`` says below ``build``, unless it is there.

    Raises:
      FileNotFoundError: there is no npm.
      subprocess.CalledProcessError: it could not be installed.
    """
    lock = HERE / "package-lock.json"
    if _STAMP.exists() and (BUILD / lock.name).exists() and (BUILD / lock.name).read_bytes() == lock.read_bytes():
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", lock.name):
        shutil.copy(HERE / name, BUILD / name)
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=BUILD, check=True, timeout=120)


@attrs.define
class NodeClient:
    """One that runs."""

    _process: trio.Process
    _unread: bytes = b""

    async def tell(self, command: str, *, data: bytes | None = None, **more: Any) -> None:
        """Have it do *command*, see ``client.mjs``; *data* are bytes to send."""
        if data is not None:
            more["base64"] = base64.b64encode(data).decode()
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"command": command, **more}).encode() + b"\n")

    async def hear(self, event: str) -> dict[str, Any]:
        """What comes next, which has to be *event*; bytes are bytes again."""
        said = await self._line()
        assert said.pop("event") == event, said
        return said

    async def hear_until(self, event: str) -> dict[str, Any]:
        """The next *event*; what comes before it is thrown away."""
        while (said := await self._line()).pop("event") != event:
            pass
        return said

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            chunk = await self._process.stdout.receive_some()
            assert chunk, "it has ended"
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "bytes" in said:
            said["bytes"] = base64.b64decode(said["bytes"])
        return said


@asynccontextmanager
async def node_client(url: str, **options: Any) -> AsyncIterator[NodeClient]:
    """A client of *url*, which begins to connect; *options* are those of ``ws``, and its ``protocols``."""
    await trio.to_thread.run_sync(install)
    command = ["node", str(HERE / "client.mjs"), url, json.dumps(options)]
    process = await trio.lowlevel.open_process(command, cwd=BUILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with process.stdin, process.stdout:
            yield NodeClient(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # it has been killed, so this ends
            await process.wait()
