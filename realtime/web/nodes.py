"""Nodes of the tree in the form that stands on the wire."""

from __future__ import annotations

import time
from typing import Any

import attrs

from realtime.messages import now_iso
from supervisors import LastExit, Node


def node_to_wire(node: Node, *, tracebacks: bool) -> dict[str, Any]:
    """*node* and all below it as plain data; what has no meaning for it is left out.

    Args:
      tracebacks: whether to show those of crashes, which tell of the code.
    """
    wire: dict[str, Any] = {
        "id": node.id,
        "path": node.path,
        "kind": node.kind,
        "state": node.state,
        "health": node.health,
        "reasons": list(node.reasons),
        "generation": node.generation,
        "restarts": node.restarts,
        "stats": {key: _plain(value) for key, value in node.stats.items()},
    }
    optional = {
        "strategy": node.strategy,
        "restart": node.restart,
        "budget": None if node.budget is None else attrs.asdict(node.budget),
        "uptime_s": None if node.uptime is None else round(node.uptime, 3),
        "mailbox": None if node.mailbox is None else attrs.asdict(node.mailbox),
        "next_retry_s": None if node.next_retry is None else round(node.next_retry, 3),
        "last_exit": None if node.last_exit is None else _last_exit(node.last_exit, tracebacks),
        "children_total": node.children_total,
    }
    wire.update({key: value for key, value in optional.items() if value is not None})
    if node.children is not None:
        wire["children"] = [node_to_wire(child, tracebacks=tracebacks) for child in node.children]
    return wire


def _last_exit(last: LastExit, tracebacks: bool) -> dict[str, Any]:
    wire: dict[str, Any] = {"reason": last.exit.reason, "at": now_iso(time.time() - last.seconds_ago)}
    if last.error is not None:
        wire["error"] = last.error
        if tracebacks:
            wire["traceback"] = last.traceback
    return wire


def _plain(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value
