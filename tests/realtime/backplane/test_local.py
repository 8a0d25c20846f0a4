from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from realtime.backplane.local import LocalBackplane


@pytest.fixture
def sunk():
    return []


@pytest.fixture
def backplane(sunk):
    return LocalBackplane(lambda topic, frame: sunk.append((topic, frame)))


def test_a_message_goes_straight_to_the_sink(backplane, sunk):
    backplane.publish_nowait("clock", b"12:00")
    backplane.publish_nowait("events", b"door")
    assert sunk == [("clock", b"12:00"), ("events", b"door")]


def test_messages_and_bytes_are_counted(backplane):
    backplane.publish_nowait("clock", b"12:00")
    figures = backplane.statistics()
    assert (figures.published, figures.published_bytes) == (1, 5)


def test_what_the_sink_raises_reaches_the_publisher_and_is_not_counted():
    def sink(topic, frame):
        raise RuntimeError("no hub")

    backplane = LocalBackplane(sink)
    with pytest.raises(RuntimeError, match="no hub"):
        backplane.publish_nowait("clock", b"12:00")
    assert backplane.statistics().published == 0


async def test_its_child_reports_itself_and_runs_until_it_is_asked_to_stop(backplane, sunk):
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        assert await nursery.start(partial(backplane.run, stopping=stopping)) is backplane
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        stopping.set()


async def test_its_child_may_be_cancelled_as_well(backplane):
    async with trio.open_nursery() as nursery:
        await nursery.start(backplane.run)
        nursery.cancel_scope.cancel()
