"""The figures of a benchmark: medians over its pairs, goals as ratios of pairs, and the table of both."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import attrs

SHARE: Final = "share of a core"
"""How the names of figures begin that are kept in the report and not shown in its tables."""

Values = dict[int, float | None]
"""By the number of the pair; None: it could not be done."""


@attrs.define
class Runs:
    """What each server did: by its name, by the figure's."""

    values: dict[str, dict[str, Values]] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    def add(self, server: str, figure: str, pair: int, value: float | None) -> None:
        """Take in one measurement."""
        self.values.setdefault(server, {}).setdefault(figure, {})[pair] = value

    def fail(self, server: str, visit: str, reason: str) -> None:
        """A run that came to nothing."""
        self.values.setdefault(server, {})
        self.failures.append(f"{server}, {visit}: {reason}")

    def of(self, server: str, figure: str) -> Values:
        """What was measured, pair by pair."""
        return self.values.get(server, {}).get(figure, {})

    def figures(self) -> list[str]:
        """The names of all figures, in the order in which they were first measured."""
        return list(dict.fromkeys(figure for figures in self.values.values() for figure in figures))


@attrs.frozen
class Spread:
    """The middle of some measurements, and how far they lie apart."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """Of those that were measured; None if none was."""
        there = [value for value in values if value is not None]
        return cls(statistics.median(there), min(there), max(there), len(there)) if there else None


@attrs.frozen
class Goal:
    """A bound for one figure, or for its ratio to another one of the same pair."""

    what: str
    figure: tuple[str, str]
    bound: float
    than: Literal["at most", "at least"]
    against: tuple[str, str] | None = None

    def judge(self, runs: Runs) -> dict[str, Any] | None:
        """Whether it is met; None if it was not measured, on either side."""
        values = runs.of(*self.figure)
        if self.against is not None:
            values = ratios(values, runs.of(*self.against))
        spread = Spread.over(values.values())
        if spread is None:
            return None
        met = spread.median <= self.bound if self.than == "at most" else spread.median >= self.bound
        return {"what": self.what, "goal": f"{self.than} {self.bound:g}", **attrs.asdict(spread), "met": met}


def ratios(values: Mapping[int, float | None], others: Mapping[int, float | None]) -> Values:
    """One by the other, for the pairs that have both."""
    both = values.keys() & others.keys()
    return {pair: _ratio(values[pair], others[pair]) for pair in sorted(both)}


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def report(runs: Runs, goals: Iterable[Goal], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, as plain data."""
    spreads: dict[str, dict[str, Any]] = {}
    for figure in runs.figures():
        for server in runs.values:
            if measured := runs.of(server, figure):
                spread = Spread.over(measured.values())
                spreads.setdefault(figure, {})[server] = None if spread is None else attrs.asdict(spread)
    judged = [verdict for goal in goals if (verdict := goal.judge(runs)) is not None]
    return {"about": dict(about), "goals": judged, "figures": spreads, "failures": runs.failures}


def busiest_client(data: Mapping[str, Any]) -> str:
    """How near the load client came to being the limit."""
    shares = [
        (spread["most"], server, figure.partition(", client, ")[2])
        for figure, servers in data["figures"].items()
        if figure.startswith(f"{SHARE}, client")
        for server, spread in servers.items()
        if spread is not None
    ]
    most, server, figure = max(shares, default=(0.0, "nobody", "nothing"))
    return f"at most {most:.2f} of its core ({server}, {figure})"


def markdown(data: Mapping[str, Any]) -> str:
    """A report as tables: first the goals, then each figure with the servers in the order of their medians."""
    about = {**data["about"], "load client": busiest_client(data)}
    parts = ["\n".join(f"- {name}: {value}" for name, value in about.items())]
    if data["goals"]:
        rows = [
            f"| {goal['what']} | {goal['goal']} | {short(goal['median'])} | {short(goal['least'])} to "
            f"{short(goal['most'])} | {'yes' if goal['met'] else 'no'} |"
            for goal in data["goals"]
        ]
        parts.append("\n".join(["| goal | bound | median | min to max | met |", "|---|---|---|---|---|", *rows]))
    shown = {name: servers for name, servers in data["figures"].items() if not name.startswith(SHARE)}
    parts += [_table(title, figures) for title, figures in groups(shown).items()]
    if data["failures"]:
        parts.append("Failed:\n\n" + "\n".join(f"- {failure}" for failure in data["failures"]))
    return "\n\n".join(parts)


def groups(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures with the same words before their colon stand in one table, a column each."""
    found: dict[str, dict[str, Any]] = {}
    for figure, servers in figures.items():
        title, colon, column = figure.partition(": ")
        found.setdefault(title if colon else "", {})[column or figure] = servers
    return found


def _table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> str:
    servers = list(dict.fromkeys(server for column in columns.values() for server in column))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for server in servers:
        cells = [_cell(column[server]) if server in column else "" for column in columns.values()]
        lines.append(f"| {server} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(spread: Mapping[str, float] | None) -> str:
    if spread is None:
        return "stalls"
    middle = short(spread["median"])
    return middle if spread["count"] == 1 else f"{middle} ({short(spread['least'])} to {short(spread['most'])})"


def short(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
