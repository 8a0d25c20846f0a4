"""What all connections together do is counted, and nothing of it goes back when a connection or topic goes."""

from trio.testing import wait_all_tasks_blocked

from realtime.delivery.catalogue import FamilyStatistics
from realtime.policy.lag import Overflow

OLD = "drop_oldest"


async def test_a_batch_is_one_observation_however_many_messages_and_subscribers_it_has(world):
    [world.client(OLD) for _ in range(3)]
    await wait_all_tasks_blocked()
    for _ in range(5):
        world.hub.publish_nowait(OLD, "m", {})
    assert world.hub.counts.latency.statistics().count == 0
    await wait_all_tasks_blocked()
    figures = world.hub.counts.latency.statistics()
    assert figures.count == 1
    assert 0 < figures.sum < 10


async def test_latency_counts_from_the_oldest_message_of_a_batch(world, monkeypatch):
    now = iter([10.0, 13.0])
    monkeypatch.setattr("realtime.delivery.topics.perf_counter", lambda: next(now))
    world.client(OLD)
    await wait_all_tasks_blocked()
    world.hub.publish_nowait(OLD, "m", {})
    world.hub.publish_nowait(OLD, "m", {})
    await wait_all_tasks_blocked()
    assert world.hub.counts.latency.sum == 3.0


async def test_what_nobody_gets_is_no_observation(world):
    world.hub.publish_nowait(OLD, "m", {})
    await wait_all_tasks_blocked()
    assert world.hub.counts.latency.statistics().count == 0


async def test_messages_of_clients_are_counted_with_their_bytes(world):
    client = world.client(OLD)
    await wait_all_tasks_blocked()
    for message in ("ab", "ä€", b"\xff"):
        client.wire.peer_sends(message)
    await wait_all_tasks_blocked()
    assert (world.hub.counts.received, world.hub.counts.received_bytes) == (3, 2 + 5 + 1)


async def test_bytes_that_the_send_actor_writes_are_counted(world):
    client = world.client(OLD)
    await wait_all_tasks_blocked()
    world.hub.publish_nowait(OLD, "m", {})
    await wait_all_tasks_blocked()
    assert world.hub.counts.sent_bytes == sum(len(frame.data) for frame in client.wire.sent)
    assert world.hub.counts.written_bytes == 0


async def test_the_time_that_something_waits_for_a_client_is_observed_when_it_is_over(world, autojump_clock):
    client = world.client(OLD)
    await wait_all_tasks_blocked()
    assert world.hub.counts.queued.sum == 0
    client.wire.stall()
    world.hub.publish_nowait(OLD, "m", {})
    await wait_all_tasks_blocked()
    autojump_clock.jump(2)
    client.wire.release()
    await wait_all_tasks_blocked()
    assert world.hub.counts.queued.sum == 2.0


async def test_ends_are_counted_by_who_made_them_and_by_code(world, autojump_clock):
    clients = [world.client(OLD) for _ in range(5)]
    await wait_all_tasks_blocked()
    clients[0].close(4001)
    clients[1].wire.peer_closes(1001)
    clients[2].wire.peer_closes(1006)
    for stranger, code in ((clients[3], 3017), (clients[4], 4999)):
        stranger.wire.peer_closes(code)
    await wait_all_tasks_blocked()
    assert world.hub.counts.closed == {
        ("server", "4001"): 1,
        ("client", "1001"): 1,
        ("nobody", "1006"): 1,
        ("client", "other"): 2,
    }
    assert world.hub.counts.registered == 5


async def test_a_family_keeps_what_was_published_on_its_topics_when_they_go(world):
    world.hub.declare("drop_newest/*")
    client = world.client("drop_newest/one", "drop_newest/two", stalled=True, max_messages=1)
    await wait_all_tasks_blocked()
    for topic in ("drop_newest/one", "drop_newest/two"):
        for _ in range(3):
            world.hub.publish_nowait(topic, "m", {})
    await wait_all_tasks_blocked()
    (before,) = (family for family in world.hub.families() if family.name == "drop_newest/*")
    assert (before.subscribers, before.published) == (2, 6)
    assert before.dropped > 0
    world.hub.drop(client)
    (after,) = (family for family in world.hub.families() if family.name == "drop_newest/*")
    assert after == FamilyStatistics("drop_newest/*", Overflow.DROP_NEWEST, 0, 6, before.dropped)
    assert world.hub.statistics().dropped == before.dropped


async def test_topics_known_by_a_prefix_are_one_family(world):
    world.hub.declare("wait:*")
    world.client("wait:one", "wait:two", "wait")
    await wait_all_tasks_blocked()
    names = {family.name: family.subscribers for family in world.hub.families()}
    assert names == {OLD: 0, "drop_newest": 0, "conflate": 0, "disconnect": 0, "wait": 1, "wait:*": 2}
