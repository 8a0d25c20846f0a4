import pytest
import trio
import trio.testing

from realtime.actors.broadcaster import FASTEST
from realtime.actors.driven import CHECK, WAITING, EventDrivenBroadcaster, HybridBroadcaster
from realtime.policy.significance import changed_by
from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree

from .listeners import Listeners, a_hub


@pytest.fixture
async def listeners(nursery):
    hub = a_hub()
    await nursery.start(hub.run)
    hub.declare("doors", retain=True)
    return Listeners(hub)


class Doors(EventDrivenBroadcaster):
    def __init__(self, hub, **options):
        super().__init__(hub, topic="doors", type="door_update", **options)


class Shelf(HybridBroadcaster):
    """Publishes what is in it; notes when it looked."""

    def __init__(self, hub, **options):
        super().__init__(hub, topic="doors", type="shelf_update", **options)
        self.content = 0
        self.looked = []
        self.fails = False
        self.takes = 0.0

    async def sample(self):
        self.looked.append(round(trio.current_time() - self.began, 3))
        content = self.content
        await trio.sleep(self.takes)
        if self.fails:
            self.fails = False
            raise RuntimeError("on purpose")
        return content

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        self.began = getattr(self, "began", trio.current_time())
        await super().run(task_status=task_status)


class SleepyShelf(Shelf):
    only_while_listened_to = True


# --- event-driven --------------------------------------------------------------------------------------------------


async def test_what_it_is_told_goes_out_at_once_and_in_order(nursery, listeners, autojump_clock):
    doors = Doors(listeners.hub)
    await nursery.start(doors.run)
    began = trio.current_time()
    with listeners.one("doors") as heard:
        for name in ("front", "back", "front"):
            doors.tell({"opened": name})
        await trio.testing.wait_all_tasks_blocked()
        assert [value["opened"] for _, value in heard()] == ["front", "back", "front"]
        assert heard()[0][0] == "door_update"
    assert trio.current_time() == began
    assert doors.statistics().published == 3
    assert doors.statistics().interval_s is None


async def test_what_it_is_told_while_it_is_down_waits_for_its_next_life(nursery, listeners, autojump_clock):
    doors = Doors(listeners.hub)
    doors.tell("early")
    with listeners.one("doors") as heard:
        spec = ChildSpec("doors", doors.run, backoff=Backoff(first=5.0, maximum=5.0))
        async with open_tree(SupervisorSpec([spec])) as tree:
            for _ in range(2):  # the first restart is at once
                await trio.testing.wait_all_tasks_blocked()
                tree.crash("doors", RuntimeError("on purpose"))
            await trio.testing.wait_all_tasks_blocked()
            assert tree.find("doors").state == "backing_off"
            doors.tell("meanwhile")
            await trio.sleep(6)
        assert [value for _, value in heard()] == ["early", "meanwhile"]


async def test_it_refuses_what_does_not_fit_and_keeps_the_rest():
    doors = Doors(a_hub())
    for number in range(WAITING):
        doors.tell(number)
    with pytest.raises(trio.WouldBlock):
        doors.tell("one too many")


async def test_each_key_is_compared_with_its_own_last_value(nursery, listeners, autojump_clock):
    doors = Doors(listeners.hub, significant=changed_by(0.10))
    await nursery.start(doors.run)
    with listeners.one("doors") as heard:
        for key, value in [("a", 100), ("b", 200), ("a", 105), ("b", 230), ("a", 110)]:
            doors.tell(value, key=key)
        await trio.testing.wait_all_tasks_blocked()
        assert [value for _, value in heard()] == [100, 200, 230, 110]
    assert doors.statistics().unchanged == 1


# --- hybrid --------------------------------------------------------------------------------------------------------


async def test_a_change_that_is_told_is_sent_at_once_and_once(nursery, listeners, autojump_clock):
    shelf = Shelf(listeners.hub)
    await nursery.start(shelf.run)
    with listeners.one("doors") as heard:
        await trio.sleep(2)
        shelf.content = 1
        shelf.notify()
        await trio.testing.wait_all_tasks_blocked()
        assert [value for _, value in heard()] == [0, 1]
        await trio.sleep(60)  # the checks find the same and say nothing
        assert [value for _, value in heard()] == [0, 1]
    assert shelf.statistics().caught == 0


async def test_a_change_that_nobody_told_of_is_found_within_the_check_s_interval(nursery, listeners, autojump_clock):
    shelf = Shelf(listeners.hub)
    await nursery.start(shelf.run)
    with listeners.one("doors") as heard:
        await trio.sleep(0.1)
        shelf.content = 1
        await trio.sleep(CHECK)
        assert [value for _, value in heard()] == [0, 1]
    assert shelf.statistics().caught == 1


async def test_a_burst_of_notifications_is_few_samples_and_the_last_state_is_sent(nursery, listeners, autojump_clock):
    shelf = Shelf(listeners.hub)
    await nursery.start(shelf.run)
    with listeners.one("doors") as heard:
        for number in range(1, 101):
            shelf.content = number
            shelf.notify()
            await trio.sleep(0.01)
        await trio.sleep(FASTEST)
        assert heard()[-1][1] == 100
    assert len(shelf.looked) <= 1 / FASTEST + 2


async def test_what_happens_during_a_sample_is_looked_at_again(nursery, listeners, autojump_clock):
    shelf = Shelf(listeners.hub)
    shelf.takes = 0.5
    await nursery.start(shelf.run)
    with listeners.one("doors") as heard:
        await trio.sleep(0.25)
        shelf.content = 1  # the sample under way has read its value already
        shelf.notify()
        await trio.sleep(1)
        assert [value for _, value in heard()] == [0, 1]


async def test_a_notification_just_before_a_check_counts_as_told(nursery, listeners, autojump_clock):
    shelf = Shelf(listeners.hub)
    await nursery.start(shelf.run)
    await trio.sleep(CHECK - 0.05)
    shelf.content = 1
    shelf.notify()
    await trio.sleep(1)
    assert shelf.statistics().caught == 0
    assert shelf.looked == [0, CHECK - 0.05]


async def test_a_crash_forgets_nothing_that_was_told(listeners, autojump_clock):
    shelf = Shelf(listeners.hub)
    with listeners.one("doors") as heard:
        async with open_tree(SupervisorSpec([ChildSpec("shelf", shelf.run, backoff=Backoff())])):
            await trio.sleep(1)
            shelf.content, shelf.fails = 1, True
            shelf.notify()
            await trio.sleep(1)
            assert [value for _, value in heard()] == [0, 1]


async def test_it_sleeps_while_nobody_listens_whatever_it_is_told(nursery, listeners, autojump_clock):
    shelf = SleepyShelf(listeners.hub)
    await nursery.start(shelf.run)
    await trio.sleep(20)
    shelf.notify()
    await trio.sleep(20)
    assert shelf.looked == []
    with listeners.one("doors") as heard:
        await trio.testing.wait_all_tasks_blocked()
        assert [value for _, value in heard()] == [0]
    assert shelf.statistics().caught == 0
