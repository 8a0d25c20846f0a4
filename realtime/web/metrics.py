"""The process's figures over HTTP: as JSON for people and scripts, as text for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import psutil
import trio
from quart import Blueprint, Response

from realtime.web import prometheus, shapes
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import json_response
from realtime.web.figures import gather, to_json

blueprint = Blueprint("metrics", __name__)

_FAST: Final = {"count": 61, "sum": 0.0123, "p50": 0.00025, "p99": 0.0005}
EXAMPLE: Final = {
    "process": {
        "rss_bytes": 61865984,
        "cpu_s": 1.27,
        "open_files": 17,
        "threads": 3,
        "uptime_s": 61.5,
        "restarts": 0,
    },
    "connections": {
        "open": 1,
        "opened": 3,
        "closed": {"client": {"1001": 2}},
        "accepted": 5,
        "refused": 0,
        "round_trip_s": _FAST,
    },
    "messages": {
        "published": 61,
        "deliveries": 61,
        "dropped": 0,
        "pending": 0,
        "received": 4,
        "received_bytes": 120,
        "sent_bytes": 5432,
        "queued": {"connections": 0, "messages": 0, "bytes": 0, "most_messages": 0},
        "latency_s": _FAST,
        "wait_s": _FAST,
    },
    "topics": {"clock": {"subscribers": 1, "published": 61, "dropped": 0}},
    "store": {
        "events": 12,
        "last_offset": 12,
        "appended": 12,
        "failed": 0,
        "retired": 0,
        "batches": 9,
        "queued": 0,
        "capacity": 1024,
        "last_commit_s": 0.0021,
        "file_bytes": 28672,
        "hand_over_failures": 0,
        "commit_s": _FAST,
    },
    "supervisors": {
        "restarts": 1,
        "not_ok": 0,
        "nodes": 12,
        "restarts_by_path": {"broadcasters/clock": 1},
        "budget_left": {"": 3, "broadcasters": 2},
    },
    "loop": {"tasks": 31, "runnable": 0, "lag_s": _FAST, "blocked": 0},
    "refusals": {"http": {"not_found": 1}, "errors": {}, "closes": {}},
    "access": {"principals": 0, "connections": 0, "refused": 0},
}

# Files of /proc, and one entry for each open descriptor, are read in a thread.
_in_thread: Final = partial(trio.to_thread.run_sync, abandon_on_cancel=True)


@blueprint.get("/api/metrics")
@described(answers={200: Answer(shapes.Metrics, EXAMPLE)})
async def metrics() -> Response:
    """The process's figures; counters count from its start."""
    process = await _in_thread(process_figures)
    figures = gather(backend())
    life = {"uptime_s": round(figures.uptime, 3), "restarts": figures.restarts}
    return json_response({"process": {**process, **life}, **to_json(figures)})


@blueprint.get("/metrics")
@described(answers={200: Answer(content_type=prometheus.CONTENT_TYPE)}, tag="metrics")
async def scrape() -> Response:
    """The same for Prometheus, as text of version 0.0.4."""
    process = await _in_thread(prometheus.process_text)
    text = prometheus.text(gather(backend())) + process
    return Response(text, content_type=prometheus.CONTENT_TYPE, headers={"Cache-Control": "no-store"})


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
