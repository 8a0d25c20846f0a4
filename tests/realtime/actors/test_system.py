import os
import threading
from types import SimpleNamespace

import psutil
import pytest
import trio
import trio.testing

from realtime.actors import system
from realtime.actors.broadcaster import RESTART
from realtime.actors.system import System, SystemSampler
from realtime.messages import encode
from realtime.tree import build

from ..in_process import make_settings
from .listeners import Listeners, a_hub

KEYS = {
    "cpu_percent": (int, float),
    "cpu_count": int,
    "load": list,
    "memory": dict,
    "network": dict,
    "process": dict,
}


class Network:
    """Counters that a test sets."""

    def __init__(self, monkeypatch):
        self.sent = self.received = 0
        self.there = True
        self.now = 100.0
        monkeypatch.setattr(psutil, "net_io_counters", self.counters)

    def counters(self):
        if not self.there:
            return None
        return SimpleNamespace(bytes_sent=self.sent, bytes_recv=self.received)

    def clock(self):
        return self.now


@pytest.fixture
def network(monkeypatch):
    return Network(monkeypatch)


def test_a_reading_has_every_figure():
    found = SystemSampler(lambda: 0.0).read()
    assert list(found) == list(KEYS)
    for key, kind in KEYS.items():
        assert isinstance(found[key], kind), key
    assert len(found["load"]) == 3
    assert 0 < found["memory"]["available_bytes"] < found["memory"]["total_bytes"]
    assert 0 <= found["memory"]["percent"] <= 100
    assert found["cpu_count"] == os.cpu_count()


def test_the_process_is_this_one():
    process = SystemSampler(lambda: 0.0).read()["process"]
    assert process["rss_bytes"] > 1_000_000
    assert process["threads"] >= threading.active_count() > 0
    assert process["open_files"] >= 3
    assert process["started_at"].endswith("Z")


def test_a_reading_has_json():
    assert encode(SystemSampler(lambda: 0.0).read())


def test_rates_are_since_the_reading_before(network):
    sampler = SystemSampler(network.clock)
    assert sampler.read()["network"] == {"sent_bytes_per_s": 0, "received_bytes_per_s": 0}
    network.now, network.sent, network.received = 105.0, 1000, 5000
    assert sampler.read()["network"] == {"sent_bytes_per_s": 200, "received_bytes_per_s": 1000}
    network.now, network.sent = 106.0, 1001
    assert sampler.read()["network"] == {"sent_bytes_per_s": 1, "received_bytes_per_s": 0}


def test_two_readings_at_one_moment_have_no_rate(network):
    sampler = SystemSampler(network.clock)
    sampler.read()
    network.sent = 1000
    assert sampler.read()["network"] == {"sent_bytes_per_s": 0, "received_bytes_per_s": 0}


def test_counters_that_begin_anew_are_no_negative_rate(network):
    """As those of an interface that was taken down, or of 32 bits that are used up."""
    sampler = SystemSampler(network.clock)
    network.sent = network.received = 1000
    sampler.read()
    network.now, network.sent, network.received = 105.0, 10, 1500
    assert sampler.read()["network"] == {"sent_bytes_per_s": 0, "received_bytes_per_s": 100}


def test_a_machine_without_a_network_has_none(network):
    network.there = False
    sampler = SystemSampler(network.clock)
    sampler.read()
    network.now = 105.0
    assert sampler.read()["network"] == {"sent_bytes_per_s": 0, "received_bytes_per_s": 0}


async def test_it_is_read_in_a_thread(monkeypatch):
    where = []
    broadcaster = System(a_hub())
    monkeypatch.setattr(broadcaster._sampler, "read", lambda: where.append(threading.current_thread()) or {"a": 1})
    assert await broadcaster.sample() == {"a": 1, "connections": 0}
    assert where != [threading.main_thread()]


async def test_a_reading_that_hangs_does_not_hold_up_the_stop(monkeypatch):
    go = threading.Event()
    broadcaster = System(a_hub())
    monkeypatch.setattr(broadcaster._sampler, "read", go.wait)
    try:
        with trio.fail_after(5), trio.move_on_after(0.01) as stop:
            await broadcaster.sample()
        assert stop.cancelled_caught
    finally:
        go.set()


async def test_connections_are_counted():
    hub = a_hub()
    hub.declare("anything")
    with Listeners(hub).one("anything"):
        found = await System(hub).sample()
    assert found["connections"] == 1


async def test_it_reads_nothing_while_nobody_listens(nursery, mock_clock):
    hub = a_hub()
    hub.declare("system", retain=True)
    broadcaster = System(hub)
    await nursery.start(broadcaster.run)
    mock_clock.jump(1000)
    await trio.testing.wait_all_tasks_blocked()
    assert (broadcaster.statistics().asleep, broadcaster.statistics().last_run_s) == (True, None)


class Twice(System):
    """Tells when it has read the figures for the second time."""

    def __init__(self, hub, **options):
        super().__init__(hub, **options)
        self.first, self.second = trio.Event(), trio.Event()

    async def sample(self):
        (self.second if self.first.is_set() else self.first).set()
        return await super().sample()


async def test_who_subscribes_gets_a_snapshot(nursery):
    hub = a_hub()
    hub.declare("system", retain=True)
    await nursery.start(hub.run)
    broadcaster = Twice(hub, interval=0.05)
    await nursery.start(broadcaster.run)
    with Listeners(hub).one("system") as heard, trio.fail_after(10):
        await broadcaster.second.wait()
        ((kind, data),) = heard()
    assert kind == "snapshot"
    assert list(data) == [*KEYS, "connections"]


def test_it_stands_in_the_tree_as_a_module():
    made = build(make_settings())
    (spec,) = system.children(made.services, interval=2.0)
    assert (spec.id, spec.backoff) == ("system", RESTART)
    assert spec.start.__self__.interval == 2.0
    assert "system" in [topic.topic for topic in made.hub.topics()]
