"""Whatever is published, stalled, dropped, conflated, disconnected or crashed: no loss is invisible, no order broken.

Each example is a random life of a hub with one topic per overflow policy and a few clients that subscribe to all of
them. At the end everybody is released, and what each client received is held against what was published.
"""

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from realtime.policy.lag import Overflow

from .conftest import a_world
from .memory_wire import MemoryWire

CLIENTS = 3
TOPICS = [overflow.value for overflow in Overflow]
MAX_MESSAGES = 4
MAX_BYTES = 900
KEYS = "abc"

topics = st.sampled_from(TOPICS)
clients = st.integers(0, CLIENTS - 1)
steps = st.one_of(
    st.tuples(st.just("publish"), topics, st.sampled_from(KEYS), st.integers(0, 150)),
    st.tuples(st.just("publish_and_wait"), st.just("wait"), st.sampled_from(KEYS), st.integers(0, 150)),
    st.tuples(st.just("settle")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("stall"), clients),
    st.tuples(st.just("release"), clients),
    st.tuples(st.just("resubscribe"), clients, topics),
    st.tuples(st.just("reply"), clients),
    st.tuples(st.just("crash")),
    st.tuples(st.just("flusher")),
    st.tuples(st.just("sleep"), st.sampled_from([0.3, 1.5])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=60))
def test_what_a_client_receives_and_its_gaps_are_what_was_published(plan):
    async def main():
        async with a_world() as world:
            life = Life(world)
            await wait_all_tasks_blocked()
            for what, *arguments in plan:
                await getattr(life, what)(*arguments)
                life.check_bounds()
            await life.end()
            for client in life.clients:
                life.check(client)

    trio.run(main, clock=MockClock(autojump_threshold=0))


class Life:
    def __init__(self, world, make_wire=lambda: MemoryWire(write_timeout=1000)):
        self.world = world
        self.published = {topic: [] for topic in TOPICS}  # (offset, key)
        self.flushing = True
        self.clients = [
            world.client(*TOPICS, max_messages=MAX_MESSAGES, max_bytes=MAX_BYTES, wire=make_wire())
            for _ in range(CLIENTS)
        ]

    # --- steps ---

    async def publish(self, topic, key, fill):
        offset = self.world.hub.publish_nowait(topic, "m", "x" * fill, key=key)
        self.published[topic].append((offset, key))

    async def publish_and_wait(self, topic, key, fill):
        self.world.nursery.start_soon(self._publish_and_wait, topic, key, fill)

    async def _publish_and_wait(self, topic, key, fill):
        offset = len(self.published[topic]) + 1
        self.published[topic].append((offset, key))
        assert await self.world.hub.publish(topic, "m", "x" * fill, key=key) == offset

    async def settle(self):
        await wait_all_tasks_blocked()

    async def tick(self):
        await trio.lowlevel.checkpoint()

    async def stall(self, number):
        self.clients[number].wire.stall()

    async def release(self, number):
        self.clients[number].wire.release()

    async def resubscribe(self, number, topic):
        client = self.clients[number]
        if self.world.hub.unsubscribe(client, topic):
            self.world.hub.subscribe(client, topic)

    async def reply(self, number):
        self.clients[number].reply(b'{"type":"reply"}')

    async def crash(self):
        self.world.flusher.cancel()
        self.flushing = False
        await wait_all_tasks_blocked()

    async def flusher(self):
        if not self.flushing:
            await self.world.start_flusher()
            self.flushing = True

    async def sleep(self, seconds):
        await trio.sleep(seconds)

    async def end(self):
        for client in self.clients:
            client.wire.release()
        await self.flusher()
        await trio.sleep(20)

    # --- what has to hold ---

    def check_bounds(self):
        for client in self.clients:
            queue = client.outbox._queue
            assert queue.messages <= MAX_MESSAGES
            assert queue.bytes <= MAX_BYTES + 400 * queue.replies

    def check(self, client):
        """Every stream of the client's, from one confirmation to the next, accounts for what was published then."""
        streams = {}
        for message in client.wire.messages:
            topic = message.get("topic")
            if message["type"] == "subscribed":
                streams[topic] = Stream(topic, message["offset"])
            elif message["type"] in ("m", "gap"):
                streams[topic].take(message)
            elif message["type"] == "unsubscribed":
                # All that was published before it was to be told before it, lost or not.
                del streams[topic]
        open_ = client.closed is None
        if not open_:
            assert client.closed.code == 4000
        assert set(streams) <= set(TOPICS)
        for topic, stream in streams.items():
            stream.check(self.published[topic], complete=open_)


@attrs.define
class Stream:
    topic: str
    start: int
    received: list[int] = attrs.field(factory=list)
    missed: list[tuple[int, int]] = attrs.field(factory=list)
    last: int = attrs.field(init=False)

    @last.default
    def _last(self):
        return self.start

    def take(self, message):
        offset = message["offset"]
        assert offset > self.last, "order is kept, and nothing comes twice"
        if message["type"] == "gap":
            first = offset - message["missed"] + 1
            assert self.topic == "conflate" or first == self.last + 1
            self.missed.append((offset, message["missed"]))
        else:
            assert self.topic == "conflate" or offset == self.last + 1, "what is missing is told before what follows"
            self.received.append(offset)
        self.last = offset

    def check(self, published, *, complete):
        due = [(offset, key) for offset, key in published if offset > self.start]
        if not complete or not due:
            return
        assert self.last == due[-1][0], "the latest has arrived, or a gap tells of it"
        if self.topic == "conflate":
            for key in KEYS:
                latest = max((offset for offset, of in due if of == key), default=None)
                told = [offset for offset, _ in self.missed]
                assert latest is None or latest in self.received or any(offset >= latest for offset in told)
