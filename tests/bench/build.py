"""Builds what the benchmarks need beside the project: the programs in C, and the peers in environments of their own.

Everything lies below ``.cache/bench``, outside the project's own environment, and is built again when its sources
have changed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache" / "bench"
SOURCES: Final = Path(__file__).parent / "load"
NODE: Final = Path(__file__).parent / "peers" / "node"

SECONDS: Final = 300.0
"""For one installation."""

FLAGS: Final = ("-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")

PROGRAMS: Final = {"load": ("main.c", "crowd.c", "wire.c", "histogram.c"), "floor": ("floor.c",)}


class CannotBuild(Exception):
    """What is missing on this machine, or the compiler's own words."""


def program(name: str) -> Path:
    """The path of a program of `PROGRAMS`, compiled if its sources have changed.

    Raises:
      CannotBuild: there is no gcc, or it refuses.
    """
    stamp = _digest(*sorted(SOURCES.glob("*.[ch]")), text=" ".join(FLAGS))
    path = CACHE / "load" / f"{name}-{stamp}"
    if path.exists():
        return path
    gcc = _tool("gcc")
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{name}-*"):
        old.unlink()
    built = path.with_suffix(".new")
    _run([gcc, *FLAGS, "-o", str(built), *(str(SOURCES / source) for source in PROGRAMS[name])])
    built.rename(path)  # whole or not at all
    return path


def peer_python() -> str:
    """The interpreter with the peers: the dependency group ``bench`` of pyproject.toml, in an environment of its own.

    Raises:
      CannotBuild: the installation failed.
    """
    project = ROOT / "pyproject.toml"
    group = tomllib.loads(project.read_text())["dependency-groups"]["bench"]
    folder = CACHE / "fanout"
    python = folder / "bin" / "python"
    if _is_new(folder, stamp := _digest(text=repr(group))):
        venv.create(folder, with_pip=False, clear=True)
        _run([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *group])
        (folder / ".installed").write_text(stamp)
    return str(python)


def node_modules() -> Path:
    """The folder with Node's packages, as ``peers/node/package-lock.json`` pins them.

    Raises:
      CannotBuild: there is no npm, or it fails.
    """
    folder = CACHE / "node"
    sources = [NODE / "package.json", NODE / "package-lock.json"]
    if _is_new(folder, stamp := _digest(*sources)):
        npm = _tool("npm")
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            shutil.copy(source, folder)
        _run([npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
        (folder / ".installed").write_text(stamp)
    return folder


def _is_new(folder: Path, stamp: str) -> bool:
    done = folder / ".installed"
    return not done.exists() or done.read_text() != stamp


def _digest(*files: Path, text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotBuild(f"{name} is not installed on this machine")
    return found


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=cwd)
    if ran.returncode != 0:
        raise CannotBuild(f"{' '.join(command)} failed:\n{ran.stderr or ran.stdout}")
