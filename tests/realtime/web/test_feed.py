from contextlib import asynccontextmanager

import pytest
import structlog.testing
import trio
import trio.testing

from realtime.web.feed import CROWD_INTERVAL, SupervisorFeed
from supervisors import (
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    GaveUp,
    HealthChanged,
    Ignored,
    Stuck,
    SupervisorSpec,
    open_tree,
)


class Listener:
    """Stands for the hub: keeps what is published, and when."""

    def __init__(self):
        self.heard = []
        self.watching = trio.Event()

    def wanted(self, topic):
        assert topic == "supervisors"
        return int(self.watching.is_set())

    async def wait_for_subscriber(self, topic):
        await self.watching.wait()

    def publish_nowait(self, topic, type, data):
        assert (topic, type) == ("supervisors", "supervisor_event")
        assert list(data) == ["event", "path", "node"]
        self.heard.append((trio.current_time(), data))

    def told(self, path):
        """What was told of *path*, as (event, state or None)."""
        return [(data["event"], (data["node"] or {}).get("state")) for _, data in self.heard if data["path"] == path]


class World:
    def __init__(self, tracebacks):
        self.hub = Listener()
        self.tree = None
        self.feed = SupervisorFeed(self.hub, lambda: self.tree, tracebacks=tracebacks)


@asynccontextmanager
async def a_world(*specs, tracebacks=False, watching=True):
    world = World(tracebacks)
    if watching:
        world.hub.watching.set()
    spec = SupervisorSpec([ChildSpec("feed", world.feed.run), *specs])
    async with open_tree(spec, on_event=world.feed.on_event, random=lambda: 0.5) as world.tree:
        yield world


async def endless():
    await trio.sleep_forever()


def worker(**options):
    return ChildSpec("clock", endless, **options)


CROWD = ChildSpec("connections", DynamicSupervisorSpec())


def guest(number):
    return ChildSpec(f"c{number}", endless, restart="temporary")


# --- what is told --------------------------------------------------------------------------------------------------


async def test_the_start_of_the_tree_itself_is_not_news():
    async with a_world(worker()) as world:
        await trio.testing.wait_all_tasks_blocked()
        assert world.hub.heard == []


async def test_restarts_are_told_step_by_step(autojump_clock):
    async with a_world(worker(backoff=Backoff(first=0.5, maximum=5.0, healthy_uptime=5.0))) as world:
        world.tree.crash("clock", RuntimeError("one"))
        await trio.sleep(0.1)
        assert [event for event, _ in world.hub.told("clock")] == ["exited", "restarting", "restarted"]
        world.hub.heard.clear()
        world.tree.crash("clock", RuntimeError("two"))
        await trio.sleep(10)
    assert world.hub.told("clock")[:4] == [
        ("exited", "stopped"),  # what becomes of it is decided next
        ("restart_delayed", "backing_off"),
        ("restarted", "running"),
        ("recovered", "running"),
    ]


async def test_a_message_shows_the_node_as_it_is_at_that_moment(autojump_clock):
    async with a_world(worker(backoff=Backoff())) as world:
        world.tree.crash("clock", RuntimeError("x"))
        await trio.sleep(0.1)
        exited, restarting, restarted = [data["node"] for _, data in world.hub.heard]
    assert exited["last_exit"]["error"] == "RuntimeError: x"
    assert restarting["health"] == "degraded"
    assert (restarted["state"], restarted["generation"], restarted["restarts"]) == ("running", 2, 1)


@pytest.mark.parametrize("tracebacks", [True, False])
async def test_tracebacks_are_shown_if_they_may_be(tracebacks):
    async with a_world(worker(), tracebacks=tracebacks) as world:
        world.tree.crash("clock", RuntimeError("x"))
        await trio.testing.wait_all_tasks_blocked()
    (_, first), *_ = world.hub.heard
    assert ("traceback" in first["node"]["last_exit"]) == tracebacks


async def test_a_stop_and_a_start_by_hand_are_told():
    async with a_world(worker()) as world:
        await world.tree.stop_child("clock")
        await world.tree.start_again("clock")
        assert world.hub.told("clock") == [("exited", "stopped"), ("restarted", "running")]


async def test_a_child_that_is_forgotten_has_no_node_any_more():
    async with a_world(ChildSpec("jobs", DynamicSupervisorSpec())) as world:
        await world.tree.start_child("jobs", guest(1))
        await world.tree.stop_child("jobs/c1")
        assert world.hub.told("jobs/c1")[0] == ("started", "running")
        assert world.hub.told("jobs/c1")[-1] == ("removed", None)


async def test_a_start_that_fails_is_told(autojump_clock):
    starts = []

    async def sometimes(task_status):
        starts.append(1)
        if len(starts) == 2:
            raise RuntimeError("not now")
        task_status.started()
        await trio.sleep_forever()

    async with a_world(ChildSpec("sometimes", sometimes, backoff=Backoff())) as world:
        world.tree.crash("sometimes", RuntimeError("x"))
        await trio.sleep(4)
    events = [event for event, _ in world.hub.told("sometimes")]
    assert events[:5] == ["exited", "restarting", "start_failed", "restart_delayed", "restarted"]


async def test_while_nobody_watches_the_tree_is_not_looked_at():
    async with a_world(worker(), watching=False) as world:
        world.tree.crash("clock", RuntimeError("x"))
        await trio.testing.wait_all_tasks_blocked()
    assert world.hub.heard
    assert all(data["node"] is None for _, data in world.hub.heard)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (Ignored("clock", "worker", 1.0), "ignored"),
        (Stuck("clock", "worker", 2.0, 1.0), "stuck"),
        (GaveUp("clock", "worker", RuntimeError("x"), 1.0), "gave_up"),
        (HealthChanged("clock", "worker", 1.0), "recovered"),
    ],
)
async def test_every_event_has_its_name(event, name):
    async with a_world(worker()) as world:
        world.feed.on_event(event)
        assert world.hub.told("clock") == [(name, "running")]


# --- the crowd -----------------------------------------------------------------------------------------------------


async def test_connections_that_come_and_go_are_told_as_totals_once_a_second(autojump_clock):
    async with a_world(CROWD) as world:
        began = trio.current_time()
        for number in range(50):
            await world.tree.start_child("connections", guest(number))
            await trio.sleep(0.05)
        await trio.sleep(10)
        heard = list(world.hub.heard)
    assert {data["path"] for _, data in heard} == {"connections"}
    reports = [(time - began, data) for time, data in heard if data["event"] == "changed"]
    assert [round(time / CROWD_INTERVAL) for time, _ in reports] == [0, 1, 2, 3]
    assert [data["node"]["children_total"] for _, data in reports][-1] == 50


async def test_a_crowd_that_does_not_change_is_not_told(autojump_clock):
    async with a_world(CROWD) as world:
        await trio.sleep(60)
        assert world.hub.heard == []


async def test_a_crowd_that_nobody_watches_is_told_when_somebody_does(autojump_clock):
    async with a_world(CROWD, watching=False) as world:
        await world.tree.start_child("connections", guest(1))
        await trio.sleep(10)
        assert world.hub.heard == []
        world.hub.watching.set()
        await trio.testing.wait_all_tasks_blocked()
        assert world.hub.told("connections") == [("changed", "running")]


# --- what is logged ------------------------------------------------------------------------------------------------


def noteworthy(logs):
    return [line for line in logs if line["log_level"] not in ("debug", "info")]


async def test_a_crash_is_logged_with_path_attempt_delay_and_cause(autojump_clock):
    async with a_world(worker(backoff=Backoff(first=0.5, maximum=5.0))) as world:
        with structlog.testing.capture_logs() as logs:
            world.tree.crash("clock", RuntimeError("one"))
            await trio.sleep(0.1)
            world.tree.crash("clock", RuntimeError("two"))
            await trio.sleep(3)
    crashed, restarting, again, delayed = noteworthy(logs)
    assert {line["log_level"] for line in noteworthy(logs)} == {"error"}
    assert {line["path"] for line in noteworthy(logs)} == {"clock"}
    assert (crashed["event"], str(crashed["exc_info"])) == ("child_crashed", "one")
    assert (restarting["event"], restarting["attempt"], restarting["next_delay_s"]) == ("child_restarting", 1, 0.0)
    assert restarting["cause"] == "RuntimeError('one')"
    assert (again["event"], str(again["exc_info"])) == ("child_crashed", "two")
    assert (delayed["event"], delayed["attempt"], delayed["next_delay_s"]) == ("child_restart_delayed", 2, 0.25)
    assert delayed["cause"] == "RuntimeError('two')"


async def test_a_start_that_fails_and_a_child_that_is_given_up_are_errors(autojump_clock):
    starts = []

    async def once(task_status):
        starts.append(1)
        if len(starts) > 1:
            raise RuntimeError("no more")
        task_status.started()
        await trio.sleep_forever()

    async with a_world(ChildSpec("once", once, backoff=Backoff(max_failures=2))) as world:
        with structlog.testing.capture_logs() as logs:
            world.tree.crash("once", RuntimeError("x"))
            await trio.sleep(60)
    events = [line["event"] for line in noteworthy(logs)]
    assert events[-1] == "gave_up"
    assert "child_start_failed" in events


async def test_a_child_that_does_not_end_is_a_warning():
    async with a_world(worker()) as world:
        with structlog.testing.capture_logs() as logs:
            world.feed.on_event(Stuck("clock", "worker", 2.0, 1.0))
    (line,) = noteworthy(logs)
    assert (line["event"], line["log_level"], line["waited_s"]) == ("child_stuck", "warning", 2.0)


async def test_an_orderly_stop_is_nothing_to_worry_about():
    with structlog.testing.capture_logs() as logs:
        async with a_world(worker(), CROWD) as world:
            await world.tree.start_child("connections", guest(1))
    assert noteworthy(logs) == []
    assert logs
