"""What a topic keeps for those who come back, and that each of them sees all of it or is told that it cannot."""

import msgspec
import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from trio.testing import wait_all_tasks_blocked

from realtime.delivery import catalogue as catalogue_module
from realtime.delivery import frames
from realtime.delivery.catalogue import Catalogue
from realtime.delivery.connection import Connection
from realtime.delivery.errors import UnknownTopic
from realtime.delivery.history import History
from realtime.delivery.hub import Hub
from realtime.delivery.message import Message
from realtime.delivery.outbox import Outbox
from realtime.policy.lag import Overflow
from realtime.policy.pages import Cursor
from realtime.settings import TopicSettings

from .memory_wire import MemoryWire


def message(offset, size=10):
    return Message(frames.text(b"x" * (size - 2)), "t", offset)


def offsets(history, count=None):
    return [each.offset for each in history.last(len(history) if count is None else count)]


# --- what is kept --------------------------------------------------------------------------------------------------


def test_the_last_messages_are_kept():
    history = History(3, 1000)
    for offset in range(1, 6):
        history.add(message(offset))
    assert offsets(history) == [3, 4, 5]
    assert offsets(history, 2) == [4, 5]
    assert (history.first, history.room, history.bytes) == (3, 0, 30)
    assert history.sizes(5) == [10, 10, 10]


def test_bytes_bound_it_too():
    history = History(100, 25)
    for offset in range(1, 6):
        history.add(message(offset))
    assert offsets(history) == [4, 5]
    history.add(message(6, size=26))
    assert (len(history), history.bytes, history.first) == (0, 0, None)


def test_a_hole_in_the_numbers_ends_what_came_before():
    history = History(10, 1000)
    for offset in (1, 2, 5, 6):
        history.add(message(offset))
    assert offsets(history) == [5, 6]
    assert history.bytes == 20


def test_what_does_not_reach_to_the_present_is_of_no_use():
    history = History(10, 1000)
    history.add(message(4))
    assert history.sizes(5) == []
    assert History(10, 1000).sizes(0) == []


def test_older_messages_are_put_before_the_others_while_there_is_room():
    history = History(3, 35)
    history.add(message(9))
    assert history.prepend(message(8))
    assert not history.prepend(message(7, size=16))
    assert history.prepend(message(7, size=15))
    assert not history.prepend(message(6, size=1))
    assert (offsets(history), history.bytes) == ([7, 8, 9], 35)


# --- who comes back ------------------------------------------------------------------------------------------------


class Clients:
    """A hub without a flusher: what is published is delivered by `flush`, and outboxes are read by the test."""

    def __init__(self, *, history=5, overflow=Overflow.DROP_OLDEST, history_bytes=10_000):
        self.hub = Hub(
            lambda name: TopicSettings(overflow=overflow, history=history), epoch="e", history_bytes=history_bytes
        )
        self.hub.declare("t")
        self.hub.declare("rooms/*")
        self.count = 0

    def publish(self, count=1, topic="t", **options):
        for _ in range(count):
            self.hub.publish_nowait(topic, "m", {}, **options)

    def client(self, topic="t", since=None, *, max_messages=100, max_bytes=100_000):
        self.count += 1
        connection = Connection(f"c{self.count}", MemoryWire(), outbox=Outbox(max_messages, max_bytes))
        self.hub.register(connection)
        self.hub.subscribe(connection, topic, since)
        return connection

    def read(self, connection):
        """What has come for *connection*: offsets, gaps as (offset, missed), and confirmations as they are."""
        self.hub.flush("t")
        found = []
        while batch := connection.outbox.receive_nowait():
            for frame in batch:
                told = msgspec.json.decode(frame.payload)
                if told["type"] == "subscribed":
                    found.append(told)
                elif told["type"] == "gap":
                    found.append((told["offset"], told["missed"]))
                else:
                    found.append(told["offset"])
        return found

    def since(self, position, **options):
        """Whether who comes back from *position* is recovered, and what it is sent."""
        confirmation, *sent = self.read(self.client(since=position, **options))
        return confirmation["recovered"], sent


@pytest.fixture
async def clients():
    return Clients()


async def test_who_asks_gets_what_it_missed_after_a_confirmation_of_where_the_topic_stands(clients):
    clients.publish(4)
    confirmation, *sent = clients.read(clients.client(since=Cursor("e.1", 1)))
    assert confirmation == {"type": "subscribed", "topic": "t", "epoch": "e.1", "offset": 4, "recovered": True}
    assert sent == [2, 3, 4]


async def test_who_does_not_ask_gets_nothing_of_the_past(clients):
    clients.publish(4)
    assert clients.since(None) == (False, [])


async def test_who_missed_nothing_is_told_so(clients):
    clients.publish(4)
    assert clients.since(Cursor("e.1", 4)) == (True, [])


@pytest.mark.parametrize("position", [Cursor("e.2", 4), Cursor("e.1", 9), Cursor("e.1", 2)])
async def test_who_cannot_be_told_all_is_told_nothing(clients, position):
    clients.publish(8)
    assert clients.since(position) == (False, [])


async def test_what_follows_comes_behind_without_a_hole_or_a_double(clients):
    clients.publish(4)
    clients.client()  # somebody for whom the last ones are pending
    clients.publish(2)
    client = clients.client(since=Cursor("e.1", 3))
    clients.publish(2)
    assert clients.read(client)[1:] == [4, 5, 6, 7, 8]


async def test_messages_are_kept_while_nobody_listens_and_the_frames_are_shared(clients):
    clients.publish(3)
    first, second = (clients.client(since=Cursor("e.1", 0)) for _ in range(2))
    frames_ = [connection.outbox.receive_nowait()[1:] for connection in (first, second)]
    assert [id(frame) for frame in frames_[0]] == [id(frame) for frame in frames_[1]]


async def test_what_has_no_room_in_the_outbox_is_not_begun(clients):
    clients.publish(5)
    assert clients.since(Cursor("e.1", 0), max_messages=5) == (True, [1, 2, 3, 4, 5])
    assert clients.since(Cursor("e.1", 0), max_messages=4) == (False, [])
    assert clients.since(Cursor("e.1", 0), max_bytes=600) == (False, [])


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_each_missed_message_is_sent_under_every_policy(overflow):
    clients = Clients(overflow=overflow)
    clients.publish(4)
    assert clients.since(Cursor("e.1", 1)) == (True, [2, 3, 4])


async def test_a_topic_that_keeps_nothing_recovers_nobody():
    clients = Clients(history=0)
    clients.publish(4)
    assert clients.since(Cursor("e.1", 4)) == (False, [])


async def test_of_a_state_comes_what_was_missed_and_not_the_last_value_again():
    clients = Clients()
    clients.hub.declare("t", retain=True)
    clients.publish(4)
    assert clients.since(Cursor("e.1", 2)) == (True, [3, 4])
    assert clients.since(Cursor("e.1", 4)) == (True, [])
    assert clients.since(Cursor("x", 4)) == (False, [4])


async def test_a_subscriber_may_ask_again_where_it_is(clients):
    clients.publish(3)
    client = clients.client()
    clients.publish(2)
    clients.hub.subscribe(client, "t", Cursor("e.1", 4))
    assert [told for told in clients.read(client) if isinstance(told, int)] == [4, 5, 5]


async def test_an_offset_of_the_store_with_a_hole_before_it_begins_anew(clients):
    clients.publish(3)
    clients.publish(offset=7)
    assert clients.since(Cursor("e.1", 3)) == (False, [])
    assert clients.since(Cursor("e.1", 6)) == (True, [7])


async def test_a_new_epoch_forgets_what_was_kept_and_recovers_nobody(clients):
    clients.publish(3)
    client = clients.client(since=Cursor("e.1", 3))
    clients.hub.set_topic_position("t", "s", 3)
    assert [told["recovered"] for told in clients.read(client)] == [True, False]
    assert clients.since(Cursor("s", 2)) == (False, [])
    assert clients.since(Cursor("s", 3)) == (True, [])


async def test_the_history_is_bounded_by_what_an_outbox_holds():
    clients = Clients(history=400, history_bytes=1000)
    clients.publish(100)
    (topic,) = [topic for topic in clients.hub._catalogue.topics() if topic.name == "t"]
    assert 10 < len(topic.history) < 100
    assert topic.history.bytes <= 1000


async def test_no_more_is_kept_than_could_ever_be_sent():
    clients = Clients(history=100_000, history_bytes=10**6)
    clients.publish(600)
    assert clients.since(Cursor("e.1", 100), max_messages=1000)[0]
    assert clients.since(Cursor("e.1", 99), max_messages=1000) == (False, [])


# --- what is recalled ----------------------------------------------------------------------------------------------


async def test_messages_of_before_the_process_are_recalled_from_the_last_one_on(clients):
    clients.hub.set_topic_position("t", "s", 9)
    assert clients.hub.oldest("t") == (10, 5)
    assert not clients.hub.recall("t", "m", {}, 8)
    assert [clients.hub.recall("t", "m", {}, offset) for offset in (9, 8, 7)] == [True] * 3
    clients.publish()
    assert clients.hub.oldest("t") == (7, 1)
    assert clients.hub.recall("t", "m", {}, 6)
    assert not clients.hub.recall("t", "m", {}, 5)
    assert clients.since(Cursor("s", 5)) == (True, [6, 7, 8, 9, 10])


async def test_a_topic_that_keeps_nothing_recalls_nothing():
    clients = Clients(history=0)
    clients.publish(3)
    assert clients.hub.oldest("t") == (4, 0)
    assert not clients.hub.recall("t", "m", {}, 3)


# --- topics known by a prefix --------------------------------------------------------------------------------------


async def test_a_room_with_a_history_waits_for_those_who_left_it(clients):
    first = clients.client("rooms/a")
    (told,) = clients.read(first)
    clients.publish(1, "rooms/a")
    clients.hub.drop(first)
    clients.publish(2, "rooms/a")
    back = clients.client("rooms/a", Cursor(told["epoch"], 1))
    confirmation, *sent = clients.read(back)
    assert (confirmation["epoch"], confirmation["recovered"], sent) == (told["epoch"], True, [2, 3])


async def test_a_room_without_a_history_is_gone_with_its_last_guest():
    clients = Clients(history=0)
    clients.hub.drop(clients.client("rooms/a"))
    assert not clients.hub.knows("rooms/a")


async def test_the_room_that_was_left_first_is_the_first_to_go(clients, monkeypatch):
    monkeypatch.setattr(catalogue_module, "MAX_DESERTED", 2)
    guests = [clients.client(f"rooms/{name}") for name in "abcd"]
    for guest in guests[:3]:
        clients.hub.drop(guest)
    assert [clients.hub.knows(f"rooms/{name}") for name in "abcd"] == [False, True, True, True]
    # Who comes back to one makes it lively again.
    clients.client("rooms/b")
    clients.hub.drop(guests[3])
    assert [clients.hub.knows(f"rooms/{name}") for name in "abcd"] == [False, True, True, True]


async def test_a_topic_that_its_owner_gives_up_does_not_wait_for_anybody():
    catalogue = Catalogue(lambda name: TopicSettings(history=5), "e")
    catalogue.declare("jobs/a")
    topic = catalogue.known("jobs/a")
    topic.kept = False
    assert catalogue.forget_if_unused(topic)
    assert catalogue.find("jobs/a") is None


async def test_whether_a_topic_may_be_subscribed_to_can_be_asked(clients):
    clients.hub.check("t")
    clients.hub.check("rooms/a")
    with pytest.raises(UnknownTopic):
        clients.hub.check("elsewhere")


async def test_publishing_for_those_who_may_come_back_is_not_in_vain(clients):
    assert clients.hub.wanted("t")
    assert not clients.hub.wanted("rooms/a")
    nothing_kept = Clients(history=0)
    assert not nothing_kept.hub.wanted("t")
    nothing_kept.client()
    assert nothing_kept.hub.wanted("t")


# --- any order of it all -------------------------------------------------------------------------------------------


SELDOM = st.integers(0, 9).map(lambda number: number == 9)


class Back:
    """A client over all its connections: checks that what it sees goes on without a hole, or that it was told."""

    def __init__(self):
        self.connection = None
        self.position = Cursor("e.1", 0)
        self.owed = 0

    def take(self, told):
        if isinstance(told, dict):
            if told["recovered"]:
                assert self.position.epoch == told["epoch"]
                self.owed = told["offset"]
            else:
                self.position = Cursor(told["epoch"], told["offset"])
                self.owed = told["offset"]
        elif isinstance(told, tuple):
            offset, missed = told
            assert offset - missed == self.position.offset
            self.position = Cursor(self.position.epoch, offset)
        else:
            assert told == self.position.offset + 1
            self.position = Cursor(self.position.epoch, told)


class ResumeMachine(RuleBasedStateMachine):
    """Publishes, loses clients in the middle of anything, and lets them come back where they were."""

    @initialize(
        history=st.sampled_from([8, 3, 0, 100]), overflow=st.sampled_from([Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
    )
    def begin(self, history, overflow):
        self.clients = Clients(history=history, overflow=overflow)
        self.back = [Back() for _ in range(3)]
        self.epochs = 0

    @rule(count=st.integers(1, 5))
    def publish(self, count):
        self.clients.publish(count)

    @rule()
    def deliver(self):
        self.clients.hub.flush("t")

    @rule(who=st.integers(0, 2), outbox=st.sampled_from([50, 8, 4, 2]), asks=SELDOM.map(lambda seldom: not seldom))
    def come(self, who, outbox, asks):
        back = self.back[who]
        if back.connection is None:
            asked = back.position if asks else None
            back.connection = self.clients.client(since=asked, max_messages=outbox)

    @rule(who=st.integers(0, 2))
    def read(self, who):
        back = self.back[who]
        if back.connection is not None:
            for told in self.clients.read(back.connection):
                back.take(told)
            # All that was promised has come by now.
            assert back.position.offset >= back.owed

    @rule(who=st.integers(0, 2))
    def lose(self, who):
        """What has not been read is lost with the connection."""
        back = self.back[who]
        if back.connection is not None:
            self.clients.hub.drop(back.connection)
            back.connection = None

    @rule(who=st.integers(0, 2), seldom=SELDOM, offset=st.integers(0, 30))
    def mistake(self, who, seldom, offset):
        """A client takes another place for its own."""
        back = self.back[who]
        if seldom and back.connection is None:
            back.position = Cursor(back.position.epoch, offset)

    @rule(seldom=SELDOM)
    def begin_anew(self, seldom):
        """Another process, say: the numbers start again."""
        if seldom:
            self.epochs += 1
            self.clients.hub.set_topic_position("t", f"s{self.epochs}", 0)

    @invariant()
    def it_is_bounded(self):
        if hasattr(self, "clients"):
            _, room = self.clients.hub.oldest("t")
            assert room >= 0


def test_whoever_comes_back_sees_all_or_is_told():
    async def main():
        run_state_machine_as_test(
            ResumeMachine, settings=settings(deadline=None, max_examples=150, stateful_step_count=40)
        )

    trio.run(main)


async def test_over_real_connections_what_is_missed_comes_first(nursery):
    clients = Clients()
    await nursery.start(clients.hub.run)
    clients.publish(3)
    connection = Connection("c", MemoryWire())
    with clients.hub.registered(connection):
        clients.hub.subscribe(connection, "t", Cursor("e.1", 1))
        nursery.start_soon(connection.run, lambda _: None)
        clients.publish(1)
        await wait_all_tasks_blocked()
        clients.publish(1)
        await wait_all_tasks_blocked()
        assert connection.wire.offsets() == [2, 3, 4, 5]
        connection.wire.peer_closes()
        await wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()
