"""The process's figures over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import attrs
import psutil
import trio
from quart import Blueprint, Response

from realtime.delivery.topics import TopicStatistics
from realtime.web.backend import Backend, backend
from realtime.web.errors import json_response

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/api/metrics")
async def metrics() -> Response:
    """The process's figures as JSON; counters count from its start."""
    # In a thread: it reads files of /proc, and one entry for each open descriptor.
    process = await trio.to_thread.run_sync(process_figures, abandon_on_cancel=True)
    state = backend()
    # Not that of the operating system's process, which a restart in its place leaves as it is.
    life = {"uptime_s": round(time.monotonic() - state.began, 3), "restarts": state.restarts}
    return json_response({"process": {**process, **life}, **figures(state)})


def process_figures() -> Mapping[str, object]:
    """Those of the process as a whole; blocking."""
    process = psutil.Process()
    with process.oneshot():
        return {
            "rss_bytes": process.memory_info().rss,
            "cpu_s": round(sum(process.cpu_times()[:2]), 3),
            "open_files": process.num_fds(),
            "threads": process.num_threads(),
        }


def figures(state: Backend) -> Mapping[str, object]:
    """Those of everything that runs in it."""
    hub = state.hub.statistics()
    loop = trio.lowlevel.current_statistics()
    nodes = () if state.tree is None else tuple(state.tree.snapshot().walk())
    return {
        "connections": {"open": hub.connections},
        "messages": {"published": hub.published, "deliveries": hub.deliveries, "dropped": hub.dropped},
        "topics": _by_family(state.hub.topics()),
        "store": attrs.asdict(state.store.statistics()),
        "supervisors": {
            "restarts": sum(n.restarts for n in nodes),
            "not_ok": sum(n.health != "ok" for n in nodes if n.kind == "worker"),
            "nodes": len(nodes),
        },
        "loop": {"tasks": loop.tasks_living, "runnable": loop.tasks_runnable},
        "refusals": attrs.asdict(state.refusals.statistics()),
        "access": attrs.asdict(state.access.statistics()),
    }


def _by_family(topics: Iterable[TopicStatistics]) -> Mapping[str, Mapping[str, int]]:
    """Sums by name; of topics with a slash, of which every session has one, by what stands before it, as ``session/*``.

    Each by itself is shown by ``/api/topics``.
    """
    families: dict[str, dict[str, int]] = {}
    for topic in topics:
        first, slash, _ = topic.topic.partition("/")
        family = families.setdefault(f"{first}/*" if slash else first, {"subscribers": 0, "published": 0, "dropped": 0})
        family["subscribers"] += topic.subscribers
        family["published"] += topic.published
        family["dropped"] += topic.dropped
    return families
