"""The child, with a medium that does as it is told, under virtual time."""

from functools import partial

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from realtime.ports import AppendFailed, NewEvent, StoreStopped
from realtime.storage import commits
from realtime.storage.memory import MemoryStore

from .conftest import crashing, running


class Scripted(MemoryStore):
    """Commits when the gate is open, or fails with *failure*; remembers its batches and how it was closed."""

    def __init__(self, **options):
        super().__init__(**options)
        self.gate = trio.Event()
        self.failure = None
        self.begun = []
        self.closed = []

    async def _commit(self, drafts):
        await trio.lowlevel.checkpoint()
        self.begun.append([draft.event.type for draft in drafts])
        with trio.CancelScope(shield=True):  # like a thread
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        # An event of type "bad" is the one that cannot be stored.
        good = iter(await super()._commit([draft for draft in drafts if draft.event.type != "bad"]))
        return [ValueError("bad event") if draft.event.type == "bad" else next(good) for draft in drafts]

    async def _close(self, *, keep_claim):
        self.closed.append(keep_claim)
        await super()._close(keep_claim=keep_claim)


@attrs.define
class Creator:
    """A task that creates one event, and what it got."""

    got: object = None

    async def create(self, store, type_):
        try:
            self.got = await store.append(NewEvent(type_))
        except Exception as error:
            self.got = error


def create(nursery, store, type_):
    creator = Creator()
    nursery.start_soon(creator.create, store, type_)
    return creator


async def test_what_gathers_during_a_commit_goes_into_the_next_one():
    store = Scripted()
    async with running(store), trio.open_nursery() as nursery:
        create(nursery, store, "a")
        await wait_all_tasks_blocked()
        for _ in range(3):
            create(nursery, store, "b")
        await wait_all_tasks_blocked()
        assert store.begun == [["a"]]
        store.gate.set()
    assert store.begun == [["a"], ["b", "b", "b"]]


async def test_batches_are_bounded():
    store = Scripted(max_batch=2)
    async with running(store), trio.open_nursery() as nursery:
        create(nursery, store, "a")
        await wait_all_tasks_blocked()
        for _ in range(5):
            create(nursery, store, "b")
        await wait_all_tasks_blocked()
        store.gate.set()
    assert store.begun == [["a"], ["b", "b"], ["b", "b"], ["b"]]


async def test_a_full_queue_makes_creators_wait_and_cancelled_ones_leave_no_trace():
    store = Scripted(max_queued=2)
    async with running(store), trio.open_nursery() as nursery:
        queued = [create(nursery, store, "a") for _ in range(2)]
        await wait_all_tasks_blocked()
        with trio.move_on_after(5) as scope:
            scope.cancel()
            await store.append(NewEvent("cancelled"))
        late = create(nursery, store, "late")
        await wait_all_tasks_blocked()
        assert store.statistics().queued == 2
        store.gate.set()
    assert [creator.got.type for creator in (*queued, late)] == ["a", "a", "late"]
    assert late.got.offset == 3


async def test_a_creator_that_is_cancelled_while_its_event_waits_may_find_it_stored():
    store = Scripted()
    async with running(store):
        async with trio.open_nursery() as nursery:
            create(nursery, store, "a")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        store.gate.set()
    assert store.statistics().appended == 1


async def test_one_event_that_cannot_be_stored_sinks_no_other_and_takes_no_offset():
    store = Scripted()
    async with running(store), trio.open_nursery() as nursery:
        create(nursery, store, "first")
        await wait_all_tasks_blocked()
        one, bad, other = [create(nursery, store, type_) for type_ in ("a", "bad", "b")]
        await wait_all_tasks_blocked()
        store.gate.set()
    assert sorted(store.begun[1]) == ["a", "b", "bad"]
    assert sorted([one.got.offset, other.got.offset]) == [2, 3]
    assert isinstance(bad.got, AppendFailed)
    assert str(bad.got.__cause__) == "bad event"
    assert store.statistics().failed == 1


# --- crashes --------------------------------------------------------------------------------------------------------


async def crash(store, nursery, first, *later):
    """Let the commit of *first* fail while *later* wait, and return all their creators."""
    async with trio.open_nursery() as child:
        await child.start(crashing(store, OSError, "no space left"))
        creators = [create(nursery, store, first)]
        await wait_all_tasks_blocked()
        creators += [create(nursery, store, type_) for type_ in later]
        await wait_all_tasks_blocked()
        store.failure = OSError("no space left")
        store.gate.set()
    return creators


async def test_a_failed_commit_crashes_the_child_and_fails_its_events_at_once_with_the_cause():
    store = Scripted()
    async with trio.open_nursery() as nursery:
        (creator,) = await crash(store, nursery, "a")
        await wait_all_tasks_blocked()
    assert isinstance(creator.got, AppendFailed)
    assert creator.got.__cause__ is store.failure


async def test_each_creator_of_a_failed_batch_gets_an_exception_of_its_own():
    store = Scripted()
    async with trio.open_nursery() as nursery:
        _, one, other = await crash(store, nursery, "a", "b", "b")
        await nursery.start(crashing(store, OSError, "no space left"))
    assert store.begun == [["a"], ["b", "b"]]
    assert one.got is not other.got
    assert one.got.event_id != other.got.event_id
    assert one.got.__cause__ is other.got.__cause__ is store.failure


async def test_what_else_was_queued_is_served_by_the_next_run():
    store = Scripted()
    async with trio.open_nursery() as nursery:
        _, waiting = await crash(store, nursery, "a", "b")
        await wait_all_tasks_blocked()
        assert waiting.got is None
        meanwhile = create(nursery, store, "c")
        await wait_all_tasks_blocked()
        store.failure = None
        async with running(store):
            await wait_all_tasks_blocked()
            assert (waiting.got.offset, meanwhile.got.offset) == (1, 2)


async def test_after_a_crash_the_claim_is_kept_and_after_a_stop_it_is_not():
    store = Scripted()
    async with trio.open_nursery() as nursery:
        await crash(store, nursery, "a")
        store.failure = None
        async with running(store):
            pass
    assert store.closed == [True, False]


async def test_reads_go_on_between_a_crash_and_the_next_run():
    store = Scripted()
    store.gate.set()
    async with trio.open_nursery() as nursery:
        async with running(store):
            event = await store.append(NewEvent("a"))
        store.gate = trio.Event()
        await crash(store, nursery, "b")
        assert await store.get(event.event_id) == event


async def test_a_failed_first_start_claims_nothing():
    class Unopened(Scripted):
        async def _open(self, last_offset):
            raise OSError("no such disk")

    store = Unopened()
    with pytest.raises(OSError, match="no such disk"):
        await store.run()
    assert store.closed == [False]
    with pytest.raises(StoreStopped):
        await store.append(NewEvent("a"))


async def test_a_commit_that_fails_while_it_is_being_stopped_leaves_nobody_waiting():
    store = Scripted(max_batch=1)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(crashing(store, OSError, "no space left", stopping=stopping))
        creators = [create(nursery, store, "a") for _ in range(2)]
        await wait_all_tasks_blocked()
        stopping.set()
        store.failure = OSError("no space left")
        store.gate.set()
    failed, refused = sorted((creator.got for creator in creators), key=lambda got: type(got).__name__)
    assert isinstance(failed, AppendFailed)
    assert isinstance(refused, StoreStopped)
    assert store.closed == [False]


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_creators_that_waited_for_room_are_refused_by_a_stop_instead_of_holding_it_up():
    store = Scripted(max_queued=1)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(store.run, stopping=stopping))
        await wait_all_tasks_blocked()
        queued = create(nursery, store, "queued")
        await wait_all_tasks_blocked()
        outside = [create(nursery, store, "outside") for _ in range(3)]
        await wait_all_tasks_blocked()
        stopping.set()
        store.gate.set()
    assert queued.got.offset == 1
    assert all(isinstance(creator.got, StoreStopped) for creator in outside)


async def test_a_cancelled_child_whose_medium_hangs_refuses_what_it_could_not_write(autojump_clock, monkeypatch):
    class Hanging(Scripted):
        async def _commit(self, drafts):
            await self.gate.wait()  # cancelled, it has begun nothing

    store = Hanging()
    async with trio.open_nursery() as creators:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            creator = create(creators, store, "a")
            await wait_all_tasks_blocked()
            begun = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun == commits.LAST_COMMITS
    assert isinstance(creator.got, StoreStopped)


async def test_a_cancelled_start_after_a_crash_leaves_nobody_waiting():
    store = Scripted()
    async with trio.open_nursery() as nursery:
        _, waiting = await crash(store, nursery, "a", "b")
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.run()
    assert isinstance(waiting.got, StoreStopped)
    assert store.closed == [True, False]


# --- the hand-over after a crash ------------------------------------------------------------------------------------


async def test_what_a_failed_commit_stored_all_the_same_is_handed_over_by_the_next_run():
    class Torn(Scripted):
        """Reports a failure after it has stored everything."""

        async def _open(self, last_offset):
            opened = await super()._open(last_offset)
            if last_offset is None:
                return opened
            return attrs.evolve(
                opened, last_offset=len(self._held), unseen=[e for e in self._held if e.offset > last_offset]
            )

        async def _commit(self, drafts):
            await MemoryStore._commit(self, drafts)
            return await super()._commit(drafts)

    store = Torn()
    handed = []
    store.on_commit.append(handed.append)
    async with trio.open_nursery() as nursery:
        (creator,) = await crash(store, nursery, "a")
        assert handed == []
        async with running(store):
            assert [(event.type, event.offset) for event in handed] == [("a", 1)]
            assert store.last_offset == 1
    assert isinstance(creator.got, AppendFailed)
