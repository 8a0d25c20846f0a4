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

# Files of /proc, and one entry for each open descriptor, are read in a thread.
_in_thread: Final = partial(trio.to_thread.run_sync, abandon_on_cancel=True)


@blueprint.get("/api/metrics")
@described(answers={200: Answer(shapes.Metrics)})
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
