"""``python -m tests.bench profile``: where the time of our server goes while it does one thing, line by line.

py-spy looks at the process from outside, a few hundred times a second: the server itself is the one that is measured
elsewhere. The time within a call into the kernel counts for the line that makes the call.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs

from tests.bench.build import ROOT, peer_python
from tests.bench.contenders import CONTENDERS
from tests.bench.processes import BenchError, LoadClient, ServerProcess

RATE: Final = 400
"""Samples a second."""

SHOWN: Final = 12
"""Lines in a table; the rest is one more."""

IDLE: Final = "get_events"
"""The function of Trio that waits for something to happen: not work."""

LEAF: Final = re.compile(r"(?P<function>\S.*) \((?P<file>.*):(?P<line>\d+)\)$")


@attrs.frozen
class Load:
    """What the server does while it is looked at, and what is open before."""

    name: str
    clients: int
    run: Callable[[LoadClient, float], dict[str, Any]]
    by_package: bool = False
    """Whether the table has a line for each package: where no single line of code stands out."""


LOADS: Final = (
    Load("1 message a tick to 1000 clients", 1000, lambda client, s: client("rounds", 256, 1, s, 1_000_000)),
    Load("16 messages a tick to 1000 clients", 1000, lambda client, s: client("rounds", 256, 16, s, 1_000_000)),
    Load("opening connections", 100, lambda client, _: client("open", 4100, 0), by_package=True),
)


def profile(seconds: float) -> str:
    """A table in Markdown for each of `LOADS`.

    Raises:
      BenchError: py-spy is not allowed to look, or did not see enough.
    """
    tables = []
    for load in LOADS:
        with CONTENDERS["ours"].run() as (server, client):
            client("open", load.clients, 0)
            samples = _watch(server, seconds, partial(load.run, client, seconds + 1))
        tables.append(table(load.name, samples, _package if load.by_package else _place))
    return "\n\n".join(tables)


def _watch(server: ServerProcess, seconds: float, work: Callable[[], object]) -> list[str]:
    spy = Path(peer_python()).parent / "py-spy"
    with TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "stacks"
        command = [str(spy), "record", "--pid", str(server.pid), "--duration", f"{seconds:.0f}", "--rate", str(RATE)]
        command += ["--format", "raw", "--output", str(path), "--nonblocking"]
        watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)  # it reads the symbols first; what it sees before the work begins is idle
        work()
        _, errors = watching.communicate(timeout=seconds + 30)
        if watching.returncode != 0 or not path.exists():
            raise BenchError(f"py-spy could not look at the server:\n{errors}")
        return path.read_text().splitlines()


def table(name: str, stacks: Iterable[str], place: Callable[[str], str]) -> str:
    """The lines at which most of the time was spent, of that in which there was work to do.

    Args:
      place: what the innermost frame is counted as.
      stacks: as py-spy writes them: frames from the outermost to the innermost, and how often they were seen.

    Raises:
      BenchError: nothing but idleness was seen.
    """
    counts: Counter[str] = Counter()
    for stack in stacks:
        frames, _, seen = stack.rpartition(" ")
        leaf = frames.rsplit(";", 1)[-1]
        if IDLE not in leaf:
            counts[place(leaf)] += int(seen)
    total = counts.total()
    if not total:
        raise BenchError(f"{name}: the server was never seen at work")
    lines = [f"| {name} | share |", "|---|---|"]
    common = counts.most_common(SHOWN)
    lines += [f"| {where} | {seen / total:.1%} |" for where, seen in common]
    lines.append(f"| {len(counts) - len(common)} more | {1 - sum(seen for _, seen in common) / total:.1%} |")
    return "\n".join(lines)


def _package(leaf: str) -> str:
    """The package that it belongs to; of the project's, the room within it."""
    match = LEAF.match(leaf)
    parts = Path(match["file"]).parts if match is not None else (leaf,)
    if parts[0].startswith("<attrs generated"):
        return "classes made by attrs"
    return "/".join(parts[:2]) if (ROOT / parts[0]).is_dir() else parts[0]


def _place(leaf: str) -> str:
    """Where it is, with the line itself if it is one of the project's."""
    match = LEAF.match(leaf)
    if match is None:
        return f"`{leaf}`"
    source = ROOT / match["file"]
    if not source.is_file():
        return f"`{match['function']}` ({match['file']})"
    text = source.read_text().splitlines()[int(match["line"]) - 1].strip()
    return f"`{text.replace('|', '/')}` in `{match['function']}` ({match['file']})"
