"""Presence: what clients are told of each other is the truth, whatever crashes."""

from collections import Counter

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given, settings
from trio.testing import MockClock

from realtime.actors.presence import TICK, Member, Presence
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.policy.access import Principal
from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree
from tests.realtime.delivery.memory_wire import MemoryWire

from .sessions import Sessions, heard, settings_of, settle

ROOM = "room/1"


class World(Sessions):
    def __init__(self, nursery):
        hub = Hub(settings_of, epoch="e")
        super().__init__(hub, nursery)
        for topic in ("session/*", "room/*", "plain"):
            hub.declare(topic)
        self.presence = Presence(hub)

    async def start(self):
        await self.nursery.start(self.hub.run)
        await self.nursery.start(self.presence.run)


@pytest.fixture
async def world(nursery):
    world = World(nursery)
    await world.start()
    return world


def told(connection, topic=ROOM):
    """What *connection* was told of *topic*: joins and leaves, by session."""
    found = [
        message for message in connection.wire.messages if (message["type"], message["topic"]) == ("presence", topic)
    ]
    return [
        ([each["session"] for each in message["data"]["joined"]], [each["session"] for each in message["data"]["left"]])
        for message in found
    ]


def view(connection, topic=ROOM):
    """Who is there, as a client knows that does as it is told: empty at `subscribed`, then joins and leaves."""
    there = set()
    for message in connection.wire.messages:
        if message.get("topic") != topic:
            continue
        if message["type"] == "subscribed":
            there = set()
        elif message["type"] == "presence":
            there |= {each["session"] for each in message["data"]["joined"]}
            there -= {each["session"] for each in message["data"]["left"]}
    return there


async def test_joins_and_leaves_are_told_as_the_contract_says(world, autojump_clock):
    """Contract 3: ``{"type":"presence","topic":...,"data":{"joined":[],"left":[]}}``."""
    one = world.join("s1", ROOM)
    await trio.sleep(1)
    two = world.join("s2", ROOM)
    await trio.sleep(1)
    two.wire.peer_closes()
    await trio.sleep(1)
    messages = [message for message in heard(one) if message["type"] == "presence"]
    assert messages[2] == {
        "type": "presence",
        "topic": ROOM,
        "offset": 2,
        "data": {"joined": [{"session": "s2"}], "left": []},
    }
    assert told(one) == [([], []), (["s1"], []), (["s2"], []), ([], ["s2"])]


async def test_who_comes_is_told_first_who_is_there(world, autojump_clock):
    world.join("s1", ROOM)
    world.join("s2", ROOM)
    await trio.sleep(1)
    late = world.join("s3", ROOM)
    await trio.sleep(1)
    assert told(late) == [(["s1", "s2"], []), (["s3"], [])]


async def test_several_connections_of_a_session_count_once(world, autojump_clock):
    watcher = world.join("w", ROOM)
    first, second = world.join("s1", ROOM), world.join("s1", ROOM)
    await trio.sleep(1)
    assert world.presence.members(ROOM) == Counter({Member("w"): 1, Member("s1"): 2})
    before = len(told(watcher))
    first.wire.peer_closes()
    await trio.sleep(1)
    assert len(told(watcher)) == before
    world.hub.unsubscribe(second, ROOM)
    await trio.sleep(1)
    assert told(watcher)[before:] == [([], ["s1"])]


async def test_a_crowd_makes_one_message_and_who_is_back_at_once_has_not_left(world, autojump_clock):
    watcher = world.join("w", ROOM)
    await trio.sleep(1)
    before = len(told(watcher))
    first = world.join("s00", ROOM)
    await trio.sleep(TICK / 10)
    for number in range(1, 30):
        world.join(f"s{number:02}", ROOM)
    world.hub.unsubscribe(first, ROOM)
    world.hub.subscribe(first, ROOM)
    await trio.sleep(1)
    assert told(watcher)[before:] == [(["s00"], []), ([f"s{number:02}" for number in range(1, 30)], [])]


async def test_a_lone_join_is_told_at_once(world, autojump_clock):
    watcher = world.join("w", ROOM)
    await trio.sleep(1)
    world.join("s1", ROOM)
    await settle()
    assert view(watcher) == {"w", "s1"}


async def test_fixed_streams_and_other_topics_tell_nothing(world, autojump_clock):
    plain = world.join("s1", "plain")
    world.join(None, ROOM)
    await trio.sleep(1)
    assert told(plain, "plain") == []
    assert world.presence.members(ROOM) == {}
    assert world.presence.statistics().topics == 0


async def test_who_has_signed_in_is_named(world, autojump_clock):
    connection = Connection("c", MemoryWire(), session="s1", principal=Principal("alice"))
    world.hub.register(connection)
    world.hub.subscribe(connection, ROOM)
    watcher = world.join("w", ROOM)
    await trio.sleep(1)
    joined = heard(watcher)[-1]["data"]["joined"]
    assert joined == [{"session": "s1", "principal": "alice"}, {"session": "w"}]


async def test_the_retained_state_of_a_topic_stays(nursery, autojump_clock):
    world = World(nursery)
    world.hub.declare("room/state", retain=True)
    await world.start()
    world.hub.publish_nowait("room/state", "snapshot", {"it": "is"})
    world.join("s1", "room/state")
    await trio.sleep(1)
    late = world.join("s2", "room/state")
    await trio.sleep(1)
    assert [message["data"] for message in heard(late) if message["type"] == "snapshot"] == [{"it": "is"}]
    assert view(late, "room/state") == {"s1", "s2"}


async def test_a_room_that_was_empty_begins_anew(world, autojump_clock):
    one = world.join("s1", ROOM)
    await trio.sleep(1)
    one.wire.peer_closes()
    await trio.sleep(1)
    assert world.presence.statistics().topics == 0
    two = world.join("s2", ROOM)
    await trio.sleep(1)
    assert told(two) == [([], []), (["s2"], [])]


# --- whatever happens ---

ROOMS = ("room/1", "room/2")
LONG = 30.0
"""Seconds for every restart, and for the look after it."""
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from("abc"), st.sampled_from([ROOMS[:1], ROOMS])),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("subscribe"), st.integers(0, 9), st.sampled_from(ROOMS)),
        st.tuples(st.just("unsubscribe"), st.integers(0, 9), st.sampled_from(ROOMS)),
        st.tuples(st.just("crash"), st.sampled_from(["hub", "presence"])),
        st.tuples(st.just("wait"), st.sampled_from([0.0, TICK / 2, TICK, LONG])),
    ),
    max_size=30,
)


class Crashing(World):
    """Its two actors are children of a tree, and can be made to raise."""

    def __init__(self, nursery):
        super().__init__(nursery)
        self.alive = []
        self.crash = {}

    def child(self, name, run):
        async def child(*, task_status):
            async def crash():
                await self.crash[name].wait()
                raise RuntimeError(name)

            self.crash[name] = trio.Event()
            async with trio.open_nursery() as nursery:
                await nursery.start(run)
                nursery.start_soon(crash)
                task_status.started()

        return ChildSpec(name, child, backoff=Backoff(first=0.5, maximum=1))

    def spec(self):
        return SupervisorSpec([self.child("hub", self.hub.run), self.child("presence", self.presence.run)])

    async def step(self, name, *arguments):
        match name, *arguments:
            case "join", session, rooms:
                self.alive.append(self.join(session, *rooms, max_messages=1000))
            case "crash", actor:
                self.crash[actor].set()
                await settle()
            case "wait", seconds:
                await trio.sleep(seconds)
                if seconds >= LONG:
                    self.check()
            case _ if not self.alive:
                pass
            case "leave", number:
                self.alive.pop(number % len(self.alive)).wire.peer_closes()
                await settle()
            case "subscribe", number, room:
                self.hub.subscribe(self.alive[number % len(self.alive)], room)
            case "unsubscribe", number, room:
                self.hub.unsubscribe(self.alive[number % len(self.alive)], room)

    def check(self):
        """Each client knows who is in each room it is in; so does the server."""
        for room in ROOMS:
            there = {each.session for each in self.alive if room in each.topics}
            assert {member.session for member in self.presence.members(room)} == there
            for client in self.alive:
                if room in client.topics:
                    assert view(client, room) == there


@settings(max_examples=300, deadline=None)
@given(steps)
def test_what_clients_know_is_the_truth_whoever_comes_goes_and_crashes(steps):
    async def play():
        async with trio.open_nursery() as nursery:
            world = Crashing(nursery)
            async with open_tree(world.spec()):
                for step in steps:
                    await world.step(*step)
                await world.step("wait", LONG)
            nursery.cancel_scope.cancel()

    trio.run(play, clock=MockClock(autojump_threshold=0))
