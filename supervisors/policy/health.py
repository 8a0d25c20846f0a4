"""How a node fares, from its state and its recent failures.

A child is degraded from a failure until it has run for its ``healthy_uptime``, and so is every supervisor above it.
So is one that failed, went down again with its restart group, and was not started since, as the restart of the group
was cut short by hand.  To stop such a child by hand, or to start it, ends that.
A child that was given up is failing; its supervisor is degraded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from .lifecycle import State

Health = Literal["ok", "degraded", "failing"]

HEALTHY_UPTIME: Final = 5.0
"""Seconds without a failure after which a child without a backoff of its own counts as healthy again."""


def own_health(state: State, *, recovering: bool, stuck: bool, error: str | None) -> tuple[Health, list[str]]:
    """Health and reasons of one node, its children left out.

    *recovering*: it failed and has not run for its healthy uptime since.
    """
    cause = f": {error}" if error else ""
    if state == "failed":
        return "failing", [f"given up{cause}"]
    if stuck:
        return "degraded", ["does not end, although it was cancelled"]
    if state == "backing_off":
        return "degraded", [f"waits to be started again{cause}"]
    if recovering and state == "stopped":
        return "degraded", [f"failed and is down{cause}"]
    if recovering:
        return "degraded", [f"failed a moment ago{cause}"]
    return "ok", []


def with_children(own: Health, reasons: list[str], troubled: Sequence[str]) -> tuple[Health, list[str]]:
    """Health and reasons of a supervisor, given its own and the paths of its children that are not ok.

    A reason of its own, such as that it can never shut itself down as it should, degrades it as much as a child does.
    """
    if not (reasons or troubled):
        return own, reasons
    return ("degraded" if own == "ok" else own), [*reasons, *(f"{path} is not ok" for path in troubled)]
