"""What Prometheus scrapes, read by Prometheus's own parser; and the dashboard that is made of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import wait_all_tasks_blocked

from realtime.policy.histogram import Histogram
from realtime.transport import Admission
from realtime.web import prometheus
from realtime.web.figures import gather
from supervisors import ChildSpec, DynamicSupervisorSpec, SupervisorRef

from ..in_process import CLOCK, make_settings, receive, running

DASHBOARD = Path(__file__).parents[3] / "docs/grafana/realtime.json"


async def scrape(system):
    """The metric families by name."""
    answer = await system.client.get("/metrics")
    assert answer.status_code == 200
    text = (await answer.get_data()).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families, name, **labels):
    """The one sample of *name* with these *labels*."""
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


async def test_it_is_text_of_the_version_that_every_prometheus_reads(system):
    answer = await system.client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_names_follow_the_ecosystem(system):
    for name, family in (await scrape(system)).items():
        assert re.fullmatch(r"(realtime|process)_[a-z_]+", name)
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert not family.samples or {sample.name for sample in family.samples} == {f"{name}_total"}
        if family.type == "histogram":
            assert name.endswith("_seconds")


async def test_what_happens_is_counted(system):
    async with system.websocket("/ws/events") as socket:
        await receive(socket, 1)
        await system.client.post("/api/events", json={"type": "t"})
        await receive(socket, 1)
        await system.client.get("/nothing")
        during = await scrape(system)
    assert value(during, "realtime_connections") == 1
    assert value(during, "realtime_messages_published_total", topic="events", policy="drop_oldest") == 1
    assert value(during, "realtime_subscribers", topic="events") == 1
    assert value(during, "realtime_publish_latency_seconds_count") == 1
    assert value(during, "realtime_store_commit_seconds_count") == 1
    assert value(during, "realtime_refusals_total", by="http", code="not_found") == 1
    assert value(during, "process_resident_memory_bytes") > 1_000_000


async def test_restarts_are_told_by_path(system):
    # In real time: a scrape waits for a thread, during which a clock that jumps would make the child healthy again.
    system.tree.crash("heartbeat", RuntimeError("x"))
    await wait_all_tasks_blocked(0.05)
    families = await scrape(system)
    assert value(families, "realtime_supervisor_restarts_total", path="heartbeat") == 1
    assert value(families, "realtime_supervisor_health", path="heartbeat") == 1
    assert value(families, "realtime_supervisor_health", path="hub") == 0
    assert value(families, "realtime_supervisor_budget_left", path="broadcasters") == 3


async def test_a_broadcaster_tells_how_late_it_was():
    async with running(make_settings(actors={"clock": CLOCK})) as system:
        async with system.websocket("/ws/s") as socket:
            await receive(socket, 3)
        families = await scrape(system)
    assert value(families, "realtime_broadcaster_late_seconds", path="broadcasters/clock") >= 0
    assert value(families, "realtime_broadcaster_ticks_skipped_total", path="broadcasters/clock") == 0


async def test_children_that_come_and_go_make_no_series():
    crowd = SupervisorRef("crowd")
    specs = [ChildSpec("crowd", DynamicSupervisorSpec(), ref=crowd)]
    async with running(actors=specs) as system:
        before = set(paths(await scrape(system)))
        for number in range(20):
            await crowd.start_child(ChildSpec(f"n{number}", trio.sleep_forever, restart="temporary"))
        assert set(paths(await scrape(system))) == before
        assert "broadcasters/crowd" in before


def paths(families):
    return [sample.labels["path"] for sample in families["realtime_supervisor_health"].samples]


async def test_refused_connections_are_told_by_the_limit(system):
    admission = system.system.backend.admission = Admission(3, 2)
    for address in ("a", "a", "b"):
        admission.admit(address)
    for address in ("a", "c", "c"):
        with pytest.raises(Exception, match="already"):
            admission.admit(address)
    families = await scrape(system)
    assert value(families, "realtime_tcp_connections") == 3
    assert value(families, "realtime_tcp_connections_refused_total", limit="all") == 3
    admission.release("b")
    with pytest.raises(Exception, match="from a"):
        admission.admit("a")
    assert value(await scrape(system), "realtime_tcp_connections_refused_total", limit="address") == 1


async def test_the_buckets_of_a_histogram_are_those_of_ours(system):
    figures = gather(system.system.backend)
    histogram = Histogram()
    for seconds in (0.0003, 0.0003, 20.0):
        histogram.observe(seconds)
    text = prometheus.text(attrs.evolve(figures, commits=histogram.statistics())).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    name = "realtime_store_commit_seconds"
    assert value(families, f"{name}_bucket", le="0.00025") == 0
    assert value(families, f"{name}_bucket", le="0.0005") == 2
    assert value(families, f"{name}_bucket", le="10.0") == 2
    assert value(families, f"{name}_bucket", le="+Inf") == value(families, f"{name}_count") == 3
    assert value(families, f"{name}_sum") == pytest.approx(20.0006)


async def test_two_systems_in_one_process_do_not_share_figures(system):
    async with running() as other, other.websocket("/ws/events") as socket:
        await receive(socket, 1)
        assert value(await scrape(other), "realtime_connections") == 1
        assert value(await scrape(system), "realtime_connections") == 0


# --- the dashboard --------------------------------------------------------------------------------------------------

# What PromQL has of its own in our expressions.
FUNCTIONS = {"rate", "increase", "sum", "max", "by", "histogram_quantile", "le", "clamp_min"}


def expressions():
    return [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]


def names(expression):
    """The metric names in *expression*."""
    without = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)', " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", without)) - FUNCTIONS


async def scrape_a_busy_one():
    """The metrics of a server with all that brings some: a listening socket, a broadcaster, a client, a refusal."""
    async with running(make_settings(actors={"clock": CLOCK})) as system:
        system.system.backend.admission = Admission(10, 10)
        async with system.websocket("/ws/events") as socket:
            await receive(socket, 1)
        await system.client.get("/nothing")
        return await scrape(system)


async def test_the_dashboard_asks_for_nothing_that_is_not_there():
    families = await scrape_a_busy_one()
    there = {sample.name for family in families.values() for sample in family.samples}
    there |= {f"{name}_total" for name, family in families.items() if family.type == "counter"}
    asked = set().union(*map(names, expressions()))
    assert asked - there == set()
    assert len(asked) >= 20


async def test_the_labels_that_the_dashboard_groups_by_are_there():
    families = await scrape_a_busy_one()
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    grouped = {
        label for one in expressions() for group in re.findall(r"by \(([^)]*)\)", one) for label in group.split(", ")
    }
    assert grouped <= labels | {"by", "code"}
    assert grouped


def test_panels_have_titles_units_and_places_of_their_own():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
