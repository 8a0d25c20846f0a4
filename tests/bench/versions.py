"""The versions of what is measured, for the table."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from importlib.metadata import version
from typing import Final

from tests.bench.build import node_modules, peer_python

OURS: Final = ("trio", "hypercorn", "quart-trio", "h11", "wsproto", "msgspec")

PACKAGES: Final = {
    "picows": ("picows", "uvloop"),
    "aiohttp": ("aiohttp", "uvloop"),
    "websockets": ("websockets", "uvloop"),
    "FastAPI": ("fastapi", "starlette", "uvicorn", "uvloop", "websockets"),
    "Socket.IO": ("python-socketio", "uvicorn", "uvloop"),
}


def versions(servers: list[str]) -> dict[str, str]:
    """By package, for those *servers* only."""
    found = {"Python": platform.python_version()}
    if any(name.startswith("ours") for name in servers):
        found |= {package: version(package) for package in OURS}
    if packages := sorted({package for name in servers for package in PACKAGES.get(name, ())}):
        found |= _of_peers(packages)
    if "Node ws" in servers:
        lock = json.loads((node_modules() / "package-lock.json").read_text())
        found["Node"] = _output("node", "--version").strip().removeprefix("v")
        found["ws"] = lock["packages"]["node_modules/ws"]["version"]
    if match := re.search(r"\) ([0-9.]+)", _output("gcc", "--version")):
        found["gcc"] = match[1]
    return found


def _of_peers(packages: list[str]) -> dict[str, str]:
    script = "import json, sys; from importlib.metadata import version; "
    script += "print(json.dumps({package: version(package) for package in sys.argv[1:]}))"
    found: dict[str, str] = json.loads(_output(peer_python(), "-c", script, *packages))
    return found


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
