"""One suite for every EventStore."""

from functools import partial

import pytest
import structlog
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from realtime.fields import BadField
from realtime.policy.retention import Retention
from realtime.policy.timestamps import to_ms
from realtime.ports import EventPage, EventQuery, NewEvent, StoreStopped

from .conftest import all_quiet, running

FULL = NewEvent("door.opened", {"door": 7, "by": ["é", None]}, "warning", "hall", ("a", "b", "a"))


async def append(store, *types):
    return [await store.append(NewEvent(type_)) for type_ in types]


async def test_an_appended_event_is_returned_with_its_id_offset_and_time(make_store):
    async with running(make_store(clock=lambda: 1767225600.25)) as store:
        event = await store.append(FULL)
    assert (event.offset, event.timestamp) == (1, "2026-01-01T00:00:00.250Z")
    assert (event.type, event.severity, event.source) == ("door.opened", "warning", "hall")
    assert (event.tags, event.data) == (("a", "b", "a"), {"door": 7, "by": ["é", None]})


async def test_what_is_read_equals_what_append_returned(store):
    event = await store.append(FULL)
    assert await store.get(event.event_id) == event
    assert await store.query(EventQuery()) == EventPage((event,), None)
    assert await store.since(store.epoch, 0, 1, 1) == (event,)


async def test_offsets_count_from_one_and_ids_ascend_with_them(store):
    events = await append(store, "a", "b", "c")
    assert [event.offset for event in events] == [1, 2, 3]
    assert sorted(events, key=lambda event: event.event_id) == events
    assert store.last_offset == 3


async def test_many_at_once_each_get_their_own_event_back(store):
    returned = {}

    async def create(number):
        returned[number] = await store.append(NewEvent("t", {"number": number}))

    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(create, number)
    assert all(event.data == {"number": number} for number, event in returned.items())
    assert sorted(event.offset for event in returned.values()) == list(range(1, 301))
    assert store.statistics().batches < 300


async def test_an_unknown_id_is_none(store):
    assert await store.get("01ARZ3NDEKTSV4RRFFQ69G5FAV") is None
    assert await store.get("") is None


async def test_ids_and_offsets_go_on_after_the_child_was_stopped_and_run_again(make_store):
    now = [1000.0]
    store = make_store(clock=lambda: now[0], retention=Retention(days=None))
    async with running(store):
        epoch = store.epoch
        before = await append(store, "a", "b")
    now[0] = 500.0  # set back meanwhile
    async with running(store):
        after = await append(store, "c")
        assert store.epoch == epoch
        assert (await store.query(EventQuery())).events == (*before, *after)
    assert after[0].offset == 3
    assert after[0].event_id > before[1].event_id


# --- what is handed over --------------------------------------------------------------------------------------------


async def test_committed_events_are_handed_over_once_each_in_order_before_their_creator_knows(store):
    handed = []
    store.on_commit.append(handed.append)

    async def create():
        event = await store.append(NewEvent("t"))
        assert event in handed

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(create)
    assert [event.offset for event in handed] == list(range(1, 101))
    assert list((await store.query(EventQuery())).events) == handed


async def test_a_receiver_that_raises_is_logged_and_holds_up_nobody(store):
    handed = []

    def broken(event):
        raise RuntimeError("broken receiver")

    store.on_commit += [broken, handed.append]
    with structlog.testing.capture_logs() as logs:
        events = await append(store, "a", "b")
    assert handed == events
    assert store.statistics().hand_over_failures == 2
    assert [(entry["event"], entry["event_id"], entry["exc_info"]) for entry in logs] == [
        ("hand_over_failed", event.event_id, True) for event in events
    ]


# --- queries --------------------------------------------------------------------------------------------------------


async def test_a_page_ends_with_a_cursor_only_if_something_later_exists(store):
    events = await append(store, "a", "b", "c")
    first = await store.query(EventQuery(limit=2))
    second = await store.query(EventQuery(limit=2, after=first.next))
    assert first.events == tuple(events[:2])
    assert second == EventPage((events[2],), None)
    assert await store.query(EventQuery(limit=3)) == EventPage(tuple(events), None)


async def test_an_event_id_is_a_position_too(store):
    events = await append(store, "a", "b", "c")
    assert (await store.query(EventQuery(after=events[0].event_id))).events == tuple(events[1:])
    assert (await store.query(EventQuery(after=events[2].event_id))) == EventPage((), None)


async def test_a_cursor_finds_what_came_later(store):
    await append(store, "a", "b")
    cursor = (await store.query(EventQuery(limit=1))).next
    later = await append(store, "c")
    assert [event.type for event in (await store.query(EventQuery(after=cursor))).events] == ["b", later[0].type]


@pytest.mark.parametrize("after", ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense", "other:1", "{epoch}:9"])
async def test_an_unknown_position_is_refused_by_name(store, after):
    await append(store, "a")
    after = after.format(epoch=store.epoch)
    with pytest.raises(BadField, match="after") as caught:
        await store.query(EventQuery(after=after))
    assert caught.value.field == "after"
    assert after in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"type": "b"}, [2]),
        ({"severity": "error"}, [2, 3]),
        ({"tag": "x"}, [1, 3]),
        ({"tag": "x", "severity": "error"}, [3]),
        ({"since": "2026-01-01T00:00:01Z"}, [2, 3]),
        ({"until": "2026-01-01T00:00:01Z"}, [1]),
        ({"since": "2026-01-01T00:00:01Z", "until": "2026-01-01T00:00:02Z"}, [2]),
        ({"since": "2026-01-01T00:00:00.0001Z"}, [2, 3]),
        ({"since": "2030-01-01"}, []),
        ({"until": "1960-01-01"}, []),
        ({"q": "HALL"}, [2]),
        ({"q": "100%"}, [1]),
        ({"q": "_"}, [3]),
        ({"q": "\\\\"}, [2]),
        ({"q": "yy"}, [3]),
        ({"q": "nowhere"}, []),
        ({"type": "c", "tag": "y"}, []),
    ],
)
async def test_filters(make_store, wanted, found):
    now = [to_ms("2026-01-01") / 1000]
    store = make_store(clock=lambda: now[0])
    async with running(store):
        await store.append(NewEvent("a", {"text": "100% sure"}, tags=("x",)))
        now[0] += 1
        await store.append(NewEvent("b", {"text": "back\\slash"}, "error", "The Hall"))
        now[0] += 1
        await store.append(NewEvent("c", {"text": "under_score"}, "error", tags=("x", "yyy")))
        page = await store.query(EventQuery(**wanted))
    assert [event.offset for event in page.events] == found


async def test_a_filtered_page_goes_on_behind_its_last_match(store):
    await append(store, "a", "b", "a", "b", "a")
    first = await store.query(EventQuery(type="a", limit=2))
    second = await store.query(EventQuery(type="a", limit=2, after=first.next))
    assert [event.offset for event in first.events + second.events] == [1, 3, 5]
    assert second.next is None


# --- replay ---------------------------------------------------------------------------------------------------------


async def test_a_replay_is_all_that_lies_between_two_offsets(store):
    events = await append(store, "a", "b", "c", "d")
    assert await store.since(store.epoch, 1, 3, 500) == tuple(events[1:3])
    assert await store.since(store.epoch, 4, 4, 500) == ()


async def test_a_replay_that_could_not_be_whole_is_refused(store):
    await append(store, "a", "b", "c")
    assert await store.since("other", 1, 3, 500) is None
    assert await store.since(store.epoch, 0, 3, 2) is None
    assert await store.since(store.epoch, 0, 4, 500) is None
    assert await store.since(store.epoch, 3, 2, 500) is None


async def test_a_replay_does_not_reach_behind_what_was_forgotten(make_store):
    store = make_store(retention=Retention(events=2))
    async with running(store):
        await append(store, "a", "b", "c")
    async with running(store):  # looks for what has expired when it starts
        await all_quiet()
        assert await store.since(store.epoch, 0, 3, 500) is None
        assert [event.type for event in await store.since(store.epoch, 1, 3, 500)] == ["b", "c"]


# --- retention ------------------------------------------------------------------------------------------------------


async def test_what_is_too_old_goes_and_takes_its_tags_along(make_store):
    now = [1000.0]
    store = make_store(retention=Retention(days=1), clock=lambda: now[0])
    async with running(store):
        old = await store.append(FULL)
        await all_quiet()
        now[0] += 90_000  # a day has 86 400 seconds
        new = await store.append(FULL)
        assert store.statistics().retired == 0
    async with running(store):
        await all_quiet()
        assert (await store.query(EventQuery())).events == (new,)
        assert (await store.query(EventQuery(tag="b"))).events == (new,)
        assert await store.get(old.event_id) is None
        assert (store.statistics().events, store.statistics().retired) == (1, 1)


async def test_a_cursor_outlives_its_event_and_an_event_id_does_not(make_store):
    store = make_store(retention=Retention(events=1))
    async with running(store):
        old, new = await append(store, "a", "b")
    async with running(store):
        await all_quiet()
        assert (await store.query(EventQuery(after=f"{store.epoch}:{old.offset}"))).events == (new,)
        with pytest.raises(BadField):
            await store.query(EventQuery(after=old.event_id))


async def test_a_look_follows_each_interval(make_store, mock_clock):
    now = [1000.0]
    store = make_store(retention=Retention(days=1), clock=lambda: now[0])
    async with running(store):
        await append(store, "a")
        await all_quiet()
        now[0] += 90_000
        mock_clock.jump(59)
        await all_quiet()
        assert store.statistics().events == 1
        mock_clock.jump(2)
        await all_quiet()
        assert store.statistics().events == 0
        assert (await append(store, "b"))[0].offset == 2


async def test_the_number_of_events_stays_bounded_however_fast_they_come(make_store):
    store = make_store(retention=Retention(events=100), max_batch=64)
    async with running(store):

        async def create():
            for _ in range(40):
                await store.append(NewEvent("t", tags=("x",)))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(create)
        await all_quiet()
        figures = store.statistics()
        assert figures.appended == 2000
        # A step follows every 500 new events, and a batch may pass that mark by 63.
        assert 100 <= figures.events <= 100 + 500 + 2 * 64
        assert figures.retired == 2000 - figures.events


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_before_its_first_run_a_store_refuses(make_store):
    store = make_store()
    with pytest.raises(StoreStopped):
        await store.append(NewEvent("t"))
    for read in (store.get("x"), store.query(EventQuery()), store.since("e", 0, 0, 1)):
        with pytest.raises(StoreStopped):
            await read
    with pytest.raises(StoreStopped):
        _ = store.epoch
    with pytest.raises(StoreStopped):
        _ = store.last_offset
    assert store.statistics().events == 0


async def test_after_an_orderly_stop_a_store_refuses_until_it_runs_again(make_store):
    store = make_store()
    async with running(store):
        await append(store, "a")
    with pytest.raises(StoreStopped):
        await store.append(NewEvent("b"))
    with pytest.raises(StoreStopped):
        await store.query(EventQuery())
    async with running(store):
        await append(store, "c")
        assert [event.type for event in (await store.query(EventQuery())).events] == ["a", "c"]


async def end_while_many_wait(store, stopping, end):
    """Call *end* during the first commit that finds many waiting behind it; True if all of them were committed."""
    expected = []

    def end_once(event):
        queued = store.statistics().queued
        if not expected and queued > 20:
            expected.append(event.offset - 1 + queued)  # the event itself is in the queue until it is settled
            end(nursery.cancel_scope)

    async def create():
        try:
            acknowledged.append(await store.append(NewEvent("t")))
        except StoreStopped:
            pass  # not queued before the end; counted below

    acknowledged = []
    store.on_commit.append(end_once)
    with trio.fail_after(10):
        async with trio.open_nursery() as creators, trio.open_nursery() as nursery:
            await nursery.start(partial(store.run, stopping=stopping))
            for _ in range(50):
                creators.start_soon(create)
    return [len(acknowledged)] == [store.statistics().appended] == expected


async def test_what_is_queued_is_committed_before_an_orderly_stop_ends(make_store):
    stopping = trio.Event()
    assert await end_while_many_wait(make_store(max_batch=8), stopping, lambda scope: stopping.set())


@pytest.mark.parametrize("stopping", [None, trio.Event()])
async def test_cancelled_it_still_commits_what_is_queued(make_store, stopping):
    assert await end_while_many_wait(make_store(max_batch=8), stopping, lambda scope: scope.cancel())


async def test_two_children_at_once_are_an_error(store):
    with pytest.raises(RuntimeError, match="running already"):
        await store.run()
    await append(store, "a")  # and the first one never noticed


async def test_idle_it_sleeps(store):
    await append(store, "a")
    await wait_all_tasks_blocked()


async def test_every_call_is_a_checkpoint(store):
    with assert_checkpoints():
        event = await store.append(NewEvent("t"))
    with assert_checkpoints():
        await store.get(event.event_id)
    with assert_checkpoints():
        await store.query(EventQuery())
    with assert_checkpoints():
        await store.since(store.epoch, 0, 1, 1)
    with assert_checkpoints():
        await store.since("other", 0, 1, 1)


async def test_figures(store):
    await append(store, "a", "b")
    figures = store.statistics()
    assert (figures.events, figures.last_offset, figures.appended, figures.failed) == (2, 2, 2, 0)
    assert (figures.batches, figures.queued, figures.capacity, figures.retired) == (2, 0, 1024, 0)
    assert figures.last_commit_s > 0
