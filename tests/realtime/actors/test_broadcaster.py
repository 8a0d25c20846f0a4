import math
from itertools import pairwise

import pytest
import structlog.testing
import trio
import trio.testing

from realtime.actors.broadcaster import FASTEST, PeriodicBroadcaster
from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree

from .listeners import Listeners, a_hub


@pytest.fixture
async def listeners(nursery):
    hub = a_hub()
    await nursery.start(hub.run)
    return Listeners(hub)


class Counter(PeriodicBroadcaster):
    """Publishes 1, 2, 3 ..., or what it is told to; notes when."""

    def __init__(self, hub, *, interval=2.0, work=(), values=None):
        super().__init__(hub, topic="count", type="count_update", interval=interval)
        self.times = []
        self._work = list(work)
        self._values = values

    async def sample(self):
        self.times.append(trio.current_time() - self.began)
        await trio.sleep(self._work.pop(0) if self._work else 0)
        if self._values is None:
            return len(self.times)
        value = self._values.pop(0) if self._values else "nothing new"
        if isinstance(value, Exception):
            raise value
        return value

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        self.began = getattr(self, "began", trio.current_time())
        await super().run(task_status=task_status)


class Changing(Counter):
    only_if_changed = True


class Sleepy(Counter):
    only_while_listened_to = True


class Both(Counter):
    only_if_changed = True
    only_while_listened_to = True


def run(nursery, broadcaster):
    broadcaster.hub.declare("count", retain=True)
    return nursery.start(broadcaster.run)


async def seconds(count):
    """Time passes, up to just before the last moment of it."""
    await trio.sleep(count - 0.001)


# --- when ----------------------------------------------------------------------------------------------------------


async def test_it_publishes_at_once_and_then_each_interval(nursery, autojump_clock):
    counter = Counter(a_hub())
    await run(nursery, counter)
    await seconds(8)
    assert counter.times == [0, 2, 4, 6]


async def test_a_slow_sample_delays_no_later_tick(nursery, autojump_clock):
    counter = Counter(a_hub(), work=[1.5, 0, 1.9])
    await run(nursery, counter)
    await seconds(10)
    assert counter.times == [0, 2, 4, 6, 8]


async def test_ticks_that_a_sample_slept_through_are_skipped_and_counted_and_never_made_up_for(nursery, autojump_clock):
    counter = Counter(a_hub(), work=[5.0, 0, 0])
    await run(nursery, counter)
    await seconds(12)
    assert counter.times == [0, 6, 8, 10]
    assert counter.statistics().skipped == 2


async def test_a_crash_is_the_supervisor_s_business_and_the_next_life_ticks_at_once(autojump_clock):
    hub = a_hub()
    hub.declare("count", retain=True)
    counter = Counter(hub, values=[1, RuntimeError("on purpose"), 3, 4])
    spec = ChildSpec("count", counter.run, backoff=Backoff(first=0.5, maximum=5.0))
    async with open_tree(SupervisorSpec([spec])) as tree:
        await seconds(5)
        assert tree.find("count").restarts == 1
    assert counter.times == [0, 2, 2, 4]


@pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf])
def test_an_interval_that_is_none_is_refused_when_it_is_made(interval):
    with pytest.raises(ValueError, match="interval must be a number of seconds greater than 0"):
        Counter(a_hub(), interval=interval)


# --- what ----------------------------------------------------------------------------------------------------------


async def test_each_value_is_a_message_of_its_topic(nursery, listeners, autojump_clock):
    counter = Counter(listeners.hub)
    await run(nursery, counter)
    with listeners.one("count") as heard:
        await seconds(4)
        assert heard() == [("count_update", 1), ("count_update", 2)]


async def test_what_did_not_change_is_not_sent_again(nursery, listeners, autojump_clock):
    counter = Changing(listeners.hub, values=["a", "a", "b", "b", "a"])
    await run(nursery, counter)
    with listeners.one("count") as heard:
        await seconds(10)
        assert [value for _, value in heard()] == ["a", "b", "a"]
    assert (counter.statistics().published, counter.statistics().unchanged) == (3, 2)


async def test_nothing_is_a_value_too(nursery, listeners, autojump_clock):
    counter = Changing(listeners.hub, values=[None, None, 0])
    await run(nursery, counter)
    with listeners.one("count") as heard:
        await seconds(6)
        assert [value for _, value in heard()] == [None, 0]


async def test_who_comes_later_gets_what_is_the_state_by_then(nursery, listeners, autojump_clock):
    counter = Changing(listeners.hub, values=["a", "a", "a", "a"])
    await run(nursery, counter)
    await seconds(4)
    with listeners.one("count") as heard:
        await trio.testing.wait_all_tasks_blocked()
        assert [value for _, value in heard()] == ["a"]


# --- while nobody listens ------------------------------------------------------------------------------------------


async def test_it_sleeps_until_somebody_listens_who_gets_a_value_at_once(nursery, listeners, autojump_clock):
    sleepy = Sleepy(listeners.hub)
    await run(nursery, sleepy)
    await trio.sleep(100.5)
    assert (sleepy.times, sleepy.statistics().asleep) == ([], True)
    with listeners.one("count"):
        await seconds(4.5)
        assert (sleepy.times, sleepy.statistics().asleep) == ([100.5, 102.5, 104.5], False)


async def test_the_time_asleep_counts_as_no_missed_tick(nursery, listeners, autojump_clock):
    sleepy = Sleepy(listeners.hub)
    await run(nursery, sleepy)
    await trio.sleep(100)
    with listeners.one("count"):
        await seconds(2)
    assert (sleepy.statistics().skipped, sleepy.statistics().last_lateness_s) == (0, 0)


async def test_it_goes_back_to_sleep_when_the_last_one_has_left(nursery, listeners, autojump_clock):
    sleepy = Sleepy(listeners.hub)
    await run(nursery, sleepy)
    with listeners.one("count"):
        await seconds(2)
    await seconds(100)
    assert sleepy.times == [0]
    assert sleepy.statistics().asleep


async def test_who_wakes_it_is_sent_nothing_from_before(nursery, listeners, autojump_clock):
    sleepy = Both(listeners.hub, values=["old", "same", "same"])
    await run(nursery, sleepy)
    with listeners.one("count"):
        await seconds(2)
    await trio.sleep(100)
    with listeners.one("count") as heard:
        await trio.testing.wait_all_tasks_blocked()
        assert [value for _, value in heard()] == ["same"]


async def test_who_wakes_it_gets_a_value_even_if_it_is_the_one_from_before(nursery, listeners, autojump_clock):
    sleepy = Both(listeners.hub, values=["same"] * 10)
    await run(nursery, sleepy)
    for _ in range(2):
        with listeners.one("count") as heard:
            await trio.sleep(3)
            assert [value for _, value in heard()] == ["same"]
        await trio.sleep(100)


async def test_listeners_that_come_and_go_quickly_get_no_closer_ticks(nursery, listeners, autojump_clock):
    sleepy = Sleepy(listeners.hub)
    await run(nursery, sleepy)
    for _ in range(20):
        with listeners.one("count"):
            await trio.sleep(0.15)
        await trio.sleep(0.15)
    gaps = [later - earlier for earlier, later in pairwise(sleepy.times)]
    assert gaps
    assert min(gaps) >= 2.0 - 1e-9


# --- figures and log -----------------------------------------------------------------------------------------------


async def test_the_figures_of_a_run(nursery, autojump_clock):
    counter = Counter(a_hub(), work=[0.25, 0.5])
    before = counter.statistics()
    assert (before.last_run_s, before.last_lateness_s, before.published) == (None, None, 0)
    await run(nursery, counter)
    await seconds(4)
    after = counter.statistics()
    assert (after.interval_s, after.published, after.skipped, after.unchanged, after.asleep) == (2.0, 2, 0, 0, False)
    assert after.last_run_s == pytest.approx(0.5)
    assert after.last_lateness_s == pytest.approx(0, abs=1e-9)


async def test_the_tree_shows_the_figures(autojump_clock):
    hub = a_hub()
    hub.declare("count")
    async with open_tree(SupervisorSpec([ChildSpec("count", Counter(hub).run)])) as tree:
        await seconds(2)
        assert tree.find("count").stats["published"] == 1


async def test_start_with_its_interval_and_stop_are_logged_and_each_broadcast_only_for_debugging(autojump_clock):
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await run(nursery, Counter(a_hub()))
            await seconds(4)
            nursery.cancel_scope.cancel()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("broadcaster_started", "info"),
        ("broadcast", "debug"),
        ("broadcast", "debug"),
        ("broadcaster_stopped", "info"),
    ]
    assert (logs[0]["topic"], logs[0]["interval_s"], logs[-1]["published"]) == ("count", 2.0, 2)


@pytest.mark.parametrize(("interval", "warned"), [(FASTEST, 0), (FASTEST / 2, 1)])
async def test_an_interval_faster_than_people_see_is_warned_of(autojump_clock, interval, warned):
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await run(nursery, Counter(a_hub(), interval=interval))
            nursery.cancel_scope.cancel()
    assert len([line for line in logs if line["log_level"] == "warning"]) == warned
