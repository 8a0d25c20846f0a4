"""Draws the state machine of a child from its table, ``supervisors.policy.lifecycle.TRANSITIONS``.

Only the places of the states are given here; what leads where, and on what event, comes from the table.  A state
without a place is an error, so that the drawing cannot fall behind.  ``python docs/extensions/lifecycle.py > x.svg``
writes it to a file.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from typing import Any, Final, NamedTuple, get_args

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from supervisors.policy.lifecycle import TRANSITIONS, LifecycleEvent, State

WIDTH: Final = 780
HEIGHT: Final = 520
BOX: Final = (116, 40)


class Point(NamedTuple):
    """A place in the drawing, in pixels from its upper left corner."""

    x: float
    y: float


PLACES: Final[dict[State, Point]] = {
    "failed": Point(410, 40),
    "backing_off": Point(410, 130),
    "stopped": Point(160, 235),
    "starting": Point(660, 235),
    "stopping": Point(410, 345),
    "running": Point(410, 480),
}
"""So that no two arrows cross."""

BENDS: Final[dict[tuple[State, State], float]] = {
    ("stopped", "starting"): -16,
    ("starting", "stopped"): -16,
    ("stopped", "backing_off"): 14,
    ("backing_off", "stopped"): 14,
    ("stopped", "failed"): 76,
    ("failed", "stopped"): -40,
    ("failed", "starting"): 58,
    ("starting", "running"): 58,
    ("running", "stopped"): 58,
}
"""How far the middle of an arrow lies to the left of the straight line; others are straight."""

LOOPS: Final[dict[State, float]] = {"stopped": math.pi, "stopping": 0.0}
"""On which side an arrow that leads back to its state stands: 0 is right."""

STYLE: Final = """
.lifecycle { max-width: 100%; height: auto; font-family: var(--font-stack, sans-serif); font-size: 14px; }
.lifecycle .state rect { fill: var(--color-background-secondary, #f8f9fb);
  stroke: var(--color-foreground-primary, #000); stroke-width: 1.3; }
.lifecycle .state text { fill: var(--color-foreground-primary, #000);
  font-family: var(--font-stack--monospace, monospace); }
.lifecycle .arrow path { fill: none; stroke: var(--color-foreground-secondary, #5a5c63); stroke-width: 1.3; }
.lifecycle .arrow text { fill: var(--color-foreground-primary, #000); font-style: italic;
  paint-order: stroke; stroke: var(--color-background-primary, #fff); stroke-width: 5px; stroke-linejoin: round; }
.lifecycle text { dominant-baseline: central; }
.lifecycle marker path { fill: var(--color-foreground-secondary, #5a5c63); }
"""


def edges() -> dict[tuple[State, State], list[LifecycleEvent]]:
    """The events that lead from one state to another, in the table's order."""
    found: dict[tuple[State, State], list[LifecycleEvent]] = defaultdict(list)
    for (state, event), after in TRANSITIONS.items():
        found[state, after].append(event)
    return dict(found)


def border(center: Point, toward: Point) -> Point:
    """Where the line from the *center* of a box toward another point leaves the box."""
    dx, dy = toward.x - center.x, toward.y - center.y
    half_width, half_height = BOX[0] / 2, BOX[1] / 2
    scale = 1 / max(abs(dx) / half_width, abs(dy) / half_height)
    return Point(center.x + dx * scale, center.y + dy * scale)


def arrow(start: Point, end: Point, bend: float, label: str) -> str:
    """A curve between two boxes, its label in the middle."""
    length = math.dist(start, end)
    normal = Point((end.y - start.y) / length, (start.x - end.x) / length)
    # A quadratic curve passes its control point at half the distance.
    control = Point(
        (start.x + end.x) / 2 + 2 * bend * normal.x,
        (start.y + end.y) / 2 + 2 * bend * normal.y,
    )
    a, b = border(start, control), border(end, control)
    middle = Point(a.x / 4 + control.x / 2 + b.x / 4, a.y / 4 + control.y / 2 + b.y / 4)
    curve = f"M{a.x:.1f},{a.y:.1f} Q{control.x:.1f},{control.y:.1f} {b.x:.1f},{b.y:.1f}"
    return _arrow(curve, middle, label)


def loop(center: Point, angle: float, label: str) -> str:
    """An arrow that leaves a box to one side and comes back to it."""
    side = math.copysign(1, math.cos(angle))
    x = center.x + side * BOX[0] / 2
    curve = f"M{x:.1f},{center.y - 9:.1f} c{side * 42:.1f},-22 {side * 42:.1f},40 {side * 2:.1f},18"
    return _arrow(curve, Point(x + side * 38, center.y), label, "start" if side > 0 else "end")


def _arrow(curve: str, place: Point, label: str, anchor: str = "middle") -> str:
    text = f'<text x="{place.x:.1f}" y="{place.y:.1f}" text-anchor="{anchor}">{label}</text>'
    return f'<g class="arrow"><path d="{curve}" marker-end="url(#lifecycle-head)"/>{text}</g>'


def box(state: State, center: Point) -> str:
    """A state."""
    x, y = center.x - BOX[0] / 2, center.y - BOX[1] / 2
    return (
        f'<g class="state"><rect x="{x:.1f}" y="{y:.1f}" width="{BOX[0]}" height="{BOX[1]}" rx="8"/>'
        f'<text x="{center.x:.1f}" y="{center.y:.1f}" text-anchor="middle">{state}</text></g>'
    )


def draw() -> str:
    """The drawing as SVG; its colours are Furo's, or plain black and white elsewhere."""
    arrows = [
        loop(PLACES[before], LOOPS[before], ", ".join(events))
        if before == after
        else arrow(PLACES[before], PLACES[after], BENDS.get((before, after), 0.0), ", ".join(events))
        for (before, after), events in edges().items()
    ]
    boxes = [box(state, PLACES[state]) for state in get_args(State)]
    told = "; ".join(f"{before} to {after} on {' or '.join(events)}" for (before, after), events in edges().items())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="lifecycle" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="lifecycle-title lifecycle-desc">',
            '<title id="lifecycle-title">The states of a child</title>',
            f'<desc id="lifecycle-desc">{told}</desc>',
            f"<style>{STYLE}</style>",
            '<defs><marker id="lifecycle-head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z"/></marker></defs>',
            *arrows,
            *boxes,
            "</svg>",
        ]
    )


class LifecycleDiagram(SphinxDirective):
    """``lifecycle-diagram``: the drawing, within the page, so that it follows the page's colours."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        return [nodes.raw("", f'<div class="lifecycle-frame">{draw()}</div>', format="html")]


class LifecycleTable(SphinxDirective):
    """``lifecycle-table``: the same as a table; a row for each state, a column for each event."""

    def run(self) -> list[nodes.Node]:
        """Called by Sphinx."""
        events = get_args(LifecycleEvent)
        rows = [["", *events]]
        rows += [[state, *(TRANSITIONS.get((state, event), "") for event in events)] for state in get_args(State)]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in rows[0]), cols=len(rows[0]))
        group += nodes.thead("", _row(rows[0]))
        group += nodes.tbody("", *(_row(row) for row in rows[1:]))
        return [nodes.table("", group)]


def _row(texts: list[str]) -> nodes.row:
    cells = [
        nodes.entry("", nodes.paragraph("", "", nodes.literal(text, text))) if text else nodes.entry() for text in texts
    ]
    return nodes.row("", *cells)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("lifecycle-diagram", LifecycleDiagram)
    app.add_directive("lifecycle-table", LifecycleTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sys.stdout.write(draw())
