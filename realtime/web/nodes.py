"""Nodes of the tree in the form that stands on the wire."""

from __future__ import annotations

import time
from typing import Any, Final

import attrs
import msgspec

from realtime.messages import encode, now_iso
from supervisors import LastExit, Node

LONGEST_ERROR: Final = 1000
"""Characters of an error's text; it stands in every node that is sent, and an error may repeat any input."""
LONGEST_TRACEBACK: Final = 20_000

_ATOMS: Final = (bool, int, type(None))


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
        "reasons": [_text(reason, LONGEST_ERROR) for reason in node.reasons],
        "generation": node.generation,
        "restarts": node.restarts,
        "stats": {str(key): _plain(value) for key, value in node.stats.items()},
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
        wire["error"] = _text(last.error, LONGEST_ERROR)
        if tracebacks:
            wire["traceback"] = _text(last.traceback or "", LONGEST_TRACEBACK)
    return wire


def _text(text: str, longest: int) -> str:
    """*text* as UTF-8 can carry it; too long a one without its middle: a traceback names its error at the end."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]}\n[... {len(text) - longest} characters ...]\n{text[-(longest // 2) :]}"


def _plain(value: object) -> object:
    """A figure that somebody's actor reports, in a form that has JSON: none of them can make the tree unreadable."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, float):
        return round(float(value), 6)
    try:
        return msgspec.Raw(encode(value))
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__qualname__} has no JSON form>"
