"""All figures of the process that need no waiting, gathered at one moment: what `/metrics` and `/api/metrics` tell."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import trio

from realtime.actors.access import AccessStatistics
from realtime.delivery.catalogue import FamilyStatistics
from realtime.delivery.counts import Counts
from realtime.delivery.hub import Hub, HubStatistics
from realtime.delivery.refusals import RefusalStatistics
from realtime.policy.histogram import HistogramStatistics
from realtime.ports import StoreStatistics
from realtime.transport import AdmissionStatistics
from realtime.web.backend import Backend
from supervisors import Node


@attrs.frozen
class Queues:
    """What waits in all outboxes together, and in the fullest one."""

    connections: int
    messages: int
    bytes: int
    most_messages: int


@attrs.frozen
class Figures:
    """A frozen snapshot.

    Attributes:
      admission: of our own server; None under another one.
      nodes: of the tree, without the children of dynamic supervisors, which come and go by the thousand.
      uptime: seconds since the process was last begun anew.
    """

    hub: HubStatistics
    counts: Counts
    families: Sequence[FamilyStatistics]
    queues: Queues
    store: StoreStatistics
    commits: HistogramStatistics
    refusals: RefusalStatistics
    access: AccessStatistics
    admission: AdmissionStatistics | None
    nodes: Sequence[Node]
    tasks: int
    runnable: int
    uptime: float
    restarts: int


def gather(state: Backend) -> Figures:
    """The figures of now; on the loop's thread."""
    loop = trio.lowlevel.current_statistics()
    return Figures(
        hub=state.hub.statistics(),
        counts=state.hub.counts,
        families=state.hub.families(),
        queues=_queues(state.hub),
        store=state.store.statistics(),
        commits=state.store.commit_seconds.statistics(),
        refusals=state.refusals.statistics(),
        access=state.access.statistics(),
        admission=None if state.admission is None else state.admission.statistics(),
        nodes=() if state.tree is None else tuple(standing(state.tree.snapshot())),
        tasks=loop.tasks_living,
        runnable=loop.tasks_runnable,
        # Not that of the operating system's process, which a restart in its place leaves as it is.
        uptime=time.monotonic() - state.began,
        restarts=state.restarts,
    )


def standing(node: Node) -> Iterator[Node]:
    """*node* and all below it whose names are known beforehand."""
    yield node
    for child in () if node.dynamic else node.children or ():
        yield from standing(child)


def _queues(hub: Hub) -> Queues:
    # An idle outbox is told by one attribute, and nearly all are idle.
    waiting = [one.outbox.statistics() for one in hub.connections if not one.outbox.idle]
    return Queues(
        connections=sum(queue.queued_messages > 0 for queue in waiting),
        messages=sum(queue.queued_messages for queue in waiting),
        bytes=sum(queue.queued_bytes for queue in waiting),
        most_messages=max((queue.queued_messages for queue in waiting), default=0),
    )


def to_json(figures: Figures) -> dict[str, Any]:
    """The figures in the shape of ``/api/metrics``."""
    hub, counts, queues = figures.hub, figures.counts, figures.queues
    return {
        "connections": {
            "open": hub.connections,
            "opened": counts.registered,
            "closed": _closed(counts),
            "accepted": None if figures.admission is None else figures.admission.accepted,
            "refused": None if figures.admission is None else figures.admission.refused,
            "round_trip_s": summary(counts.round_trip.statistics()),
        },
        "messages": {
            "published": hub.published,
            "deliveries": hub.deliveries,
            "dropped": hub.dropped,
            "pending": hub.pending,
            "received": counts.received,
            "received_bytes": counts.received_bytes,
            "sent_bytes": counts.written_bytes + counts.sent_bytes,
            "queued": attrs.asdict(queues),
            "latency_s": summary(counts.latency.statistics()),
            "wait_s": summary(counts.queued.statistics()),
        },
        "topics": _topics(figures.families),
        "store": {**attrs.asdict(figures.store), "commit_s": summary(figures.commits)},
        "supervisors": {
            "restarts": sum(node.restarts for node in figures.nodes),
            "not_ok": sum(node.health != "ok" for node in figures.nodes if node.kind == "worker"),
            "nodes": len(figures.nodes),
            "restarts_by_path": {node.path: node.restarts for node in figures.nodes if node.restarts},
            "budget_left": {node.path: node.budget.left for node in figures.nodes if node.budget is not None},
        },
        "loop": {
            "tasks": figures.tasks,
            "runnable": figures.runnable,
            "lag_s": summary(counts.lag.statistics()),
            "blocked": blocked(figures.nodes),
        },
        "refusals": attrs.asdict(figures.refusals),
        "access": attrs.asdict(figures.access),
    }


def summary(histogram: HistogramStatistics) -> dict[str, float | None]:
    """A histogram in four numbers; a quantile beyond the last bucket is null, like that of nothing."""
    return {
        "count": histogram.count,
        "sum": round(histogram.sum, 6),
        "p50": histogram.quantile(0.5),
        "p99": histogram.quantile(0.99),
    }


def blocked(nodes: Sequence[Node]) -> int:
    """How often a watchdog saw the loop blocked."""
    return sum(node.stats["loop_blocked"]["count"] for node in nodes if "loop_blocked" in node.stats)


def _closed(counts: Counts) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (by, code), number in sorted(counts.closed.items()):
        found.setdefault(by, {})[code] = number
    return found


def _topics(families: Sequence[FamilyStatistics]) -> dict[str, dict[str, int]]:
    """By family; each topic by itself is shown by ``/api/topics``."""
    found: dict[str, dict[str, int]] = {}
    for family in families:
        sums = found.setdefault(family.name, {"subscribers": 0, "published": 0, "dropped": 0})
        sums["subscribers"] += family.subscribers
        sums["published"] += family.published
        sums["dropped"] += family.dropped
    return found
