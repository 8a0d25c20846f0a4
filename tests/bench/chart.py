"""The figures of the fan-out as a picture: a panel of bars for each, ours in another colour.

SVG by hand: text and bars, no background, in greys and a blue that can be read on white and on black.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from html import escape
from typing import Any, Final

import attrs

from tests.bench.figures import short
from tests.bench.goals import CPU, IDLE, RATE

WIDTH: Final = 420
ROW: Final = 22
LEFT: Final = 130
RIGHT: Final = 84
TOP: Final = 46
TEXT: Final = "#7a7f87"
BAR: Final = "#9aa3ad"
OURS: Final = "#3b82f6"

CLIPPED: Final = 4
"""Where less is better a bar ends at so many times the median: what lies far off would leave the others no room."""


@attrs.frozen
class Panel:
    figure: str
    title: str
    less_is_better: bool


PANELS: Final = (
    Panel(CPU.format(1000), "Server CPU per delivery (us): 1000 clients, 256 B", True),
    Panel(RATE, "Deliveries/s: 1000 clients, 16 messages a tick", False),
    Panel("latency p99 (ms)", "Latency p99 (ms): 1000 clients, 10 messages/s", True),
    Panel(IDLE, "Memory per idle connection (KiB)", True),
    Panel("connections/s", "Connections opened per second", False),
)


def chart(data: Mapping[str, Any]) -> str:
    """An SVG of those `PANELS` that were measured, two side by side."""
    shown = [(panel, servers) for panel in PANELS if (servers := _medians(data, panel.figure))]
    parts: list[str] = []
    bottom = left = right = 0
    for number, (panel, servers) in enumerate(shown):
        x, y = (0, left) if number % 2 == 0 else (WIDTH, right)
        height = TOP + ROW * len(servers) + 14
        parts.append(f'<g transform="translate({x} {y})">{_panel(panel, servers)}</g>')
        left, right = (left + height, right) if number % 2 == 0 else (left, right + height)
        bottom = max(left, right)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {max(bottom, 1)}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}">\n'
        "<title>Fan-out of ours, its floors and other servers</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _medians(data: Mapping[str, Any], figure: str) -> dict[str, float]:
    measured = data["figures"].get(figure, {})
    return {server: spread["median"] for server, spread in measured.items() if spread is not None}


def _panel(panel: Panel, servers: Mapping[str, float]) -> str:
    best_first = sorted(servers.items(), key=lambda item: item[1], reverse=not panel.less_is_better)
    longest = max(servers.values()) or 1.0
    if panel.less_is_better:  # the winners' bars are never cut
        longest = min(longest, CLIPPED * statistics.median(servers.values())) or longest
    better = "less is better" if panel.less_is_better else "more is better"
    lines = [
        f'<text x="8" y="18" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="8" y="35" font-size="11">{better}</text>',
    ]
    for row, (server, value) in enumerate(best_first):
        y = TOP + row * ROW
        width = min(value, longest) / longest * (WIDTH - LEFT - RIGHT)
        colour = OURS if server == "ours" else BAR
        cut = " (cut)" if value > longest else ""
        lines += [
            f'<text x="{LEFT - 6}" y="{y + 13}" text-anchor="end">{escape(server)}</text>',
            f'<rect x="{LEFT}" y="{y + 1}" width="{width:.1f}" height="{ROW - 6}" fill="{colour}"/>',
            f'<text x="{LEFT + width + 5:.1f}" y="{y + 13}">{short(value)}{cut}</text>',
        ]
    return "\n".join(lines)
