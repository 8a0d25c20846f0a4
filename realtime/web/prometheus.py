"""The figures in the form that Prometheus scrapes.

Nothing is counted here: the figures are plain integers elsewhere, and read when somebody asks. No label has more values
than the configuration has names or the protocol has codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from realtime.delivery.refusals import RefusalStatistics
from realtime.policy.histogram import HistogramStatistics
from realtime.web.figures import Figures, blocked
from supervisors import Node

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_HEALTH: Final[Mapping[str, int]] = {"ok": 0, "degraded": 1, "failing": 2}


def text(figures: Figures) -> bytes:
    """All of ours."""
    registry = CollectorRegistry()
    registry.register(_Ours(figures))
    return generate_latest(registry)


def process_text() -> bytes:
    """Those of the operating system's process, under the names that all clients of Prometheus give them; blocking."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Ours(Collector):
    """One scrape."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        yield from _connections(figures)
        yield from _messages(figures)
        yield from _waiting(figures)
        yield from _store(figures)
        yield from _supervision(figures.nodes)
        yield from _broadcasters(figures.nodes)
        yield from _loop(figures)
        yield from _refusals(figures)


def _connections(figures: Figures) -> Iterator[Metric]:
    counts = figures.counts
    yield _gauge("connections", "Open WebSockets and event streams.", figures.hub.connections)
    yield _counter("connections_opened", "WebSockets and event streams that were opened.", counts.registered)
    yield _counters(
        "connections_closed",
        "Those that ended, by who ended them and the close code.",
        ("by", "code"),
        counts.closed,
    )
    if figures.admission is not None:
        admission = figures.admission
        yield _gauge("tcp_connections", "Open connections to the listening socket.", admission.open)
        yield _counter("tcp_connections_accepted", "Connections that were let in.", admission.accepted)
        refused = {
            ("address",): admission.refused_of_address,
            ("all",): admission.refused - admission.refused_of_address,
        }
        yield _counters(
            "tcp_connections_refused", "Connections beyond the limit of an address, or of all.", ("limit",), refused
        )
    yield _histogram("heartbeat_round_trip_seconds", "Round trips of pings, each once.", counts.round_trip.statistics())


def _messages(figures: Figures) -> Iterator[Metric]:
    counts, labels = figures.counts, ("topic", "policy")
    families = {(family.name, family.overflow.value): family for family in figures.families}
    yield _counters(
        "messages_published",
        "Messages published, by family of topics and its policy when an outbox is full.",
        labels,
        {key: family.published for key, family in families.items()},
    )
    yield _counters(
        "messages_dropped",
        "Messages that a subscriber lost to a full outbox.",
        labels,
        {key: family.dropped for key, family in families.items()},
    )
    subscribers = GaugeMetricFamily("realtime_subscribers", "Subscriptions, by family of topics.", labels=labels)
    for key, family in families.items():
        subscribers.add_metric(key, family.subscribers)
    yield subscribers
    yield _counter("deliveries", "Offers of a batch to one subscriber.", figures.hub.deliveries)
    yield _counter("deliveries_direct", "Those that the socket took whole at once.", figures.hub.written)
    yield _gauge("messages_pending", "Messages that the flusher has not taken up yet.", figures.hub.pending)
    yield _counter("messages_received", "Messages of clients.", counts.received)
    yield _counter("received_bytes", "Bytes of messages of clients.", counts.received_bytes)
    yield _counters(
        "sent_bytes",
        "Bytes handed to sockets: at once by the flusher, or by send actors from an outbox.",
        ("path",),
        {("direct",): counts.written_bytes, ("outbox",): counts.sent_bytes},
    )
    yield _histogram(
        "publish_latency_seconds",
        "From the publishing of the oldest message of a batch until it was brought to every subscriber.",
        counts.latency.statistics(),
    )


def _waiting(figures: Figures) -> Iterator[Metric]:
    queues = figures.queues
    yield _gauge("outbox_connections", "Connections for which something waits.", queues.connections)
    yield _gauge("outbox_messages", "Messages that wait in outboxes.", queues.messages)
    yield _gauge("outbox_bytes", "Bytes that wait in outboxes.", queues.bytes)
    yield _gauge("outbox_messages_max", "Messages that wait in the fullest outbox.", queues.most_messages)
    yield _histogram(
        "outbox_wait_seconds",
        "From the first message that has to wait for a client until nothing does.",
        figures.counts.queued.statistics(),
    )


def _store(figures: Figures) -> Iterator[Metric]:
    store = figures.store
    yield _gauge("store_events", "Events in the store.", store.events)
    yield _gauge("store_file_bytes", "Size of its file.", store.file_bytes)
    yield _gauge("store_queued_events", "Events that wait for their commit.", store.queued)
    yield _gauge("store_queue_capacity_events", "Events that may wait for it.", store.capacity)
    yield _counter("store_events_appended", "Events committed.", store.appended)
    yield _counter("store_events_failed", "Events that could not be stored.", store.failed)
    yield _counter("store_events_retired", "Events that were too old or too many.", store.retired)
    yield _histogram("store_commit_seconds", "Commits, their way to the worker thread included.", figures.commits)


def _supervision(nodes: Iterable[Node]) -> Iterator[Metric]:
    restarts = CounterMetricFamily("realtime_supervisor_restarts", "Restarts of a child.", labels=["path"])
    health = GaugeMetricFamily(
        "realtime_supervisor_health", "0 is ok, 1 degraded, 2 failing; the root has an empty path.", labels=["path"]
    )
    left = GaugeMetricFamily(
        "realtime_supervisor_budget_left", "Restarts that a supervisor may still make in its window.", labels=["path"]
    )
    for node in nodes:
        restarts.add_metric([node.path], node.restarts)
        health.add_metric([node.path], _HEALTH[node.health])
        if node.budget is not None:
            left.add_metric([node.path], node.budget.left)
    yield from (restarts, health, left)


def _broadcasters(nodes: Iterable[Node]) -> Iterator[Metric]:
    """Of those workers that report what broadcasters do."""
    run = GaugeMetricFamily("realtime_broadcaster_run_seconds", "How long the last value took.", labels=["path"])
    late = GaugeMetricFamily("realtime_broadcaster_late_seconds", "Lateness of the last tick.", labels=["path"])
    skipped = CounterMetricFamily(
        "realtime_broadcaster_ticks_skipped", "Ticks that were due while an earlier one was at work.", labels=["path"]
    )
    for node in nodes:
        stats = node.stats
        if "last_lateness_s" not in stats or "skipped" not in stats:
            continue
        skipped.add_metric([node.path], stats["skipped"])
        for family, key in ((run, "last_run_s"), (late, "last_lateness_s")):
            if stats.get(key) is not None:
                family.add_metric([node.path], stats[key])
    yield from (run, late, skipped)


def _loop(figures: Figures) -> Iterator[Metric]:
    yield _gauge("loop_tasks", "Tasks of the loop.", figures.tasks)
    yield _gauge("loop_runnable_tasks", "Tasks that wait for their turn.", figures.runnable)
    yield _counter("loop_blocked", "Steps that a watchdog saw block the loop.", blocked(figures.nodes))
    yield _histogram(
        "loop_lag_seconds",
        "By how much the heartbeat was woken too late, at each of its wakings.",
        figures.counts.lag.statistics(),
    )
    yield _gauge("uptime_seconds", "Since the process was last begun anew.", figures.uptime)
    yield _counter("process_restarts", "How often it has begun anew in its own place.", figures.restarts)


def _refusals(figures: Figures) -> Iterator[Metric]:
    yield _counters(
        "refusals",
        "What clients were refused: answers over HTTP, errors on open sockets, closes; by code.",
        ("by", "code"),
        _codes(figures.refusals),
    )
    yield _gauge("principals", "Principals that are signed in.", figures.access.principals)
    yield _counter("sign_ins_refused", "Credentials that were not good.", figures.access.refused)


def _codes(refusals: RefusalStatistics) -> dict[tuple[str, ...], int]:
    kinds = {"http": refusals.http, "error": refusals.errors, "close": refusals.closes}
    return {(kind, code): number for kind, codes in kinds.items() for code, number in codes.items()}


# --- the forms ------------------------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"realtime_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"realtime_{name}", text, value=value)


def _counters(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(f"realtime_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, found: HistogramStatistics) -> Metric:
    buckets = [(repr(bound), float(number)) for bound, number in zip(found.bounds, found.at_most, strict=True)]
    return HistogramMetricFamily(
        f"realtime_{name}", text, buckets=[*buckets, ("+Inf", float(found.count))], sum_value=found.sum
    )
