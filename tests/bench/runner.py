"""Runs measurements, each in a process of its own, in interleaved pairs; what counts is the median of the ratios.

A machine that others use as well has no absolute times; two processes that run one after the other see much the same
of it, and the median over pairs forgets the moments in which they did not.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

PEERS = Path(__file__).parents[2] / ".cache" / "bench"
"""Where peers live that need an environment of their own."""

SECONDS = 300.0
"""For one measurement; the longest takes some ten."""


@attrs.frozen
class Peer:
    """Another library: what to install for it, in an environment of its own."""

    name: str
    requirements: tuple[str, ...]


@attrs.frozen
class Case:
    """One figure: measured for us, for its floor, and for those peers that have it.

    *goal* is the ratio ours / floor to reach: at least that where more is better, at most that where less is.
    """

    name: str
    unit: str
    more_is_better: bool
    goal: float | None
    peers: tuple[str, ...] = ()


@attrs.frozen
class Suite:
    """Cases measured by one module: ``python -m MODULE NAME SIDE`` prints the figure."""

    module: str
    cases: tuple[Case, ...]
    peers: Mapping[str, Peer]


def measure(suite: Suite, case: Case, pairs: int, *, peers: bool) -> dict[str, Any]:
    """The figures of *case*: medians, and the median of the ratios of the pairs."""
    sides = ["floor", "ours", *(case.peers if peers else ())]
    runs: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(pairs):
        for side in sides:
            runs[side].append(_run(suite, case.name, side))
    ratios = [ours / floor for ours, floor in zip(runs["ours"], runs["floor"], strict=True)]
    ratio = statistics.median(ratios)
    met = None if case.goal is None else (ratio >= case.goal if case.more_is_better else ratio <= case.goal)
    return {
        "name": case.name,
        "unit": case.unit,
        "median": {side: statistics.median(values) for side, values in runs.items()},
        "ratio_to_floor": round(ratio, 3),
        "ratio_min_max": [round(min(ratios), 3), round(max(ratios), 3)],
        "goal": None if case.goal is None else f"{'>=' if case.more_is_better else '<='} {case.goal}",
        "met": met,
        "pairs": pairs,
        "python": platform.python_version(),
        "trio": version("trio"),
    }


def _run(suite: Suite, name: str, side: str) -> float:
    python = _python_of(suite.peers[side]) if side in suite.peers else sys.executable
    ran = subprocess.run(
        [python, "-m", suite.module, name, side],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    if ran.returncode != 0:
        raise RuntimeError(f"{name} of {side} failed:\n{ran.stderr}")
    return float(ran.stdout)


def _python_of(peer: Peer) -> str:
    """The interpreter of the peer's environment, which is made if need be."""
    folder = PEERS / peer.name
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements]
        subprocess.run(command, check=True, timeout=SECONDS)
        done.write_text("\n".join(peer.requirements))
    return str(python)


def table(figures: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| what | floor | ours | ours / floor | goal | met | peers |", "|---|---|---|---|---|---|---|"]
    for figure in figures:
        median = figure["median"]
        peers = ", ".join(f"{side} {_short(value)}" for side, value in median.items() if side not in ("ours", "floor"))
        low, high = figure["ratio_min_max"]
        met = {True: "yes", False: "no", None: ""}[figure["met"]]
        lines.append(
            f"| {figure['name']} ({figure['unit']}) | {_short(median['floor'])} | {_short(median['ours'])} "
            f"| {figure['ratio_to_floor']:.2f} ({low:.2f} to {high:.2f}) | {figure['goal'] or ''} | {met} | {peers} |"
        )
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
