"""Queries of every store against plain Python, under Hypothesis."""

import contextlib
import tempfile
from pathlib import Path

import attrs
import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.policy.checks import SEVERITIES
from realtime.policy.timestamps import to_iso
from realtime.ports import EventQuery, NewEvent
from realtime.storage.memory import MemoryStore
from realtime.storage.sqlite import SqliteStore

from .conftest import running

# Few different values, so that filters meet; letters in both cases, and what LIKE and JSON treat specially.
TYPES = st.sampled_from(["a", "A", "door.opened", "a_b", "aXb"])
TAGS = st.sampled_from(["x", "X", "a%", "é", "tag one"])
TEXTS = st.text(alphabet='aAbé%_\\"x{}:, ', min_size=1, max_size=4)
SECONDS = st.integers(1_000_000, 1_000_020)

EVENTS = st.builds(
    NewEvent,
    type=TYPES,
    data=st.dictionaries(TEXTS, TEXTS | st.integers(-5, 5) | st.none() | st.lists(TEXTS, max_size=2), max_size=2),
    severity=st.sampled_from(SEVERITIES),
    source=st.none() | TEXTS,
    tags=st.lists(TAGS, max_size=3).map(tuple),
)
# A clock that jumps both ways from event to event.
HISTORIES = st.lists(st.tuples(SECONDS, EVENTS), max_size=15)
MOMENTS = SECONDS.map(lambda second: to_iso(second * 1000))
QUERIES = st.builds(
    EventQuery,
    limit=st.integers(1, 20),
    type=st.none() | TYPES,
    since=st.none() | MOMENTS,
    until=st.none() | MOMENTS,
    severity=st.none() | st.sampled_from(SEVERITIES),
    tag=st.none() | TAGS,
    q=st.none() | TEXTS,
)


@contextlib.asynccontextmanager
async def new_store(kind, clock):
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryStore(clock=clock) if kind == "memory" else SqliteStore(Path(folder, "e.db"), clock=clock)
        async with running(store):
            yield store


def fold(text):
    """Lower case for ASCII alone."""
    return "".join(character.lower() if character.isascii() else character for character in text)


def wanted(query, event):
    texts = [event.type, event.source or "", *event.tags, msgspec.json.encode(event.data).decode()]
    return (
        query.type in (None, event.type)
        and query.severity in (None, event.severity)
        and (query.tag is None or query.tag in event.tags)
        and (query.since is None or query.since <= event.timestamp)
        and (query.until is None or query.until > event.timestamp)
        and (query.q is None or any(fold(query.q) in fold(text) for text in texts))
    )


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_query_equals_a_plain_filter(kind):
    @given(HISTORIES, st.lists(QUERIES, min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None)
    def check(history, queries):
        trio.run(compare, kind, history, queries)

    check()


async def compare(kind, history, queries):
    now = [1_000_000]
    async with new_store(kind, lambda: now[0]) as store:
        stored = []
        for second, event in history:
            now[0] = second
            stored.append(await store.append(event))
        for query in queries:
            matching = [event for event in stored if wanted(query, event)]
            page = await store.query(query)
            assert list(page.events) == matching[: query.limit]
            assert (page.next is None) == (len(matching) <= query.limit)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_paging_visits_each_event_once_in_order_while_others_arrive(kind):
    @given(QUERIES, st.lists(st.tuples(st.integers(1, 5), st.lists(EVENTS, max_size=4)), min_size=1, max_size=12))
    @settings(max_examples=40, deadline=None)
    def check(query, steps):
        trio.run(page_through, kind, attrs.evolve(query, since=None, until=None), steps)

    check()


async def page_through(kind, query, steps):
    """Between two pages of any size some more events are stored; a reader at the end carries on when there are more."""
    async with new_store(kind, lambda: 1_000_000) as store:
        stored, seen, after = [], [], None
        for limit, arriving in steps:
            stored += [await store.append(event) for event in arriving]
            page = await store.query(attrs.evolve(query, after=after, limit=limit))
            seen += page.events
            after = page.next or (seen[-1].event_id if seen else None)
        rest = await store.query(attrs.evolve(query, after=after, limit=1000))
        assert seen + list(rest.events) == [event for event in stored if wanted(query, event)]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_paging_beside_running_creators_misses_nothing(kind):
    async with new_store(kind, lambda: 1_000_000) as store, trio.open_nursery() as nursery:
        seen = []

        async def create():
            for _ in range(50):
                await store.append(NewEvent("t"))

        for _ in range(8):
            nursery.start_soon(create)
        while len(seen) < 400:
            page = await store.query(EventQuery(limit=7, after=seen[-1].event_id if seen else None))
            seen += page.events
        assert [event.offset for event in seen] == list(range(1, 401))
