import contextlib
import sqlite3

import pytest

from realtime.policy.pages import Cursor
from realtime.ports import StoreError
from realtime.storage import schema
from realtime.storage.database import WriteConnection
from realtime.storage.deliveries import DeliveryStore

EVENT = {"event_id": "01J", "type": "t", "data": {"x": [1, "é"]}}


@pytest.fixture(params=["memory", "file"])
def path(request, tmp_path):
    if request.param == "memory":
        return ":memory:"
    path = tmp_path / "events.db"
    WriteConnection(str(path)).close()
    return str(path)


@pytest.fixture
async def deliveries(path):
    store = DeliveryStore(path, max_letters=3)
    yield store
    await store.aclose()


def at(offset):
    return Cursor("e", offset)


async def bury(deliveries, offset=1, *, sink="a", status=500):
    event = {**EVENT, "event_id": f"id{offset}"}
    await deliveries.bury(sink, event, at(offset), attempts=3, status=status, error="no luck")


async def test_each_sink_has_its_position(deliveries):
    assert await deliveries.position("a") is None
    await deliveries.advance("a", at(5))
    await deliveries.advance("b", at(7))
    await deliveries.advance("a", at(6))
    assert (await deliveries.position("a"), await deliveries.position("b")) == (at(6), at(7))


async def test_a_letter_is_kept_and_its_sink_is_done_with_it_in_one(deliveries):
    await bury(deliveries)
    (letter,) = await deliveries.letters()
    assert (letter.sink, letter.event["data"], letter.attempts) == ("a", EVENT["data"], 3)
    assert (letter.status, letter.error, letter.again) == (500, "no luck", False)
    assert await deliveries.position("a") == at(1)
    assert letter.to_wire()["id"] == str(letter.id)


async def test_what_cannot_be_buried_is_not_done_with(deliveries):
    await deliveries.advance("a", at(1))
    with pytest.raises(StoreError):
        await deliveries.bury("a", EVENT, Cursor(None, 2), attempts=1, status=None, error=None)
    assert await deliveries.count() == 0
    assert await deliveries.position("a") == at(1)
    await bury(deliveries, 2)  # and the connection goes on


async def test_the_oldest_letters_are_forgotten_beyond_the_bound(deliveries):
    for offset in range(1, 6):
        await bury(deliveries, offset)
    assert [letter.event["event_id"] for letter in await deliveries.letters()] == ["id3", "id4", "id5"]


async def test_letters_are_listed_by_sink_and_page(deliveries):
    for offset, sink in ((1, "a"), (2, "b"), (3, "a")):
        await bury(deliveries, offset, sink=sink)
    first, third = await deliveries.letters(sink="a")
    assert [letter.event["event_id"] for letter in (first, third)] == ["id1", "id3"]
    assert await deliveries.letters(after=first.id, limit=1) == await deliveries.letters(sink="b")
    assert (await deliveries.count(), await deliveries.count("a"), await deliveries.count("c")) == (3, 2, 0)


async def test_a_letter_that_is_to_be_sent_again_is_told_to_its_sink(deliveries):
    told = []
    deliveries.on_again.append(told.append)
    await bury(deliveries)
    (letter,) = await deliveries.letters()
    assert await deliveries.due("a") == []
    assert (await deliveries.send_again(letter.id)).again
    assert told == ["a"]
    assert [each.id for each in await deliveries.due("a")] == [letter.id]
    assert await deliveries.due("b") == []
    await deliveries.failed_again(letter.id, attempts=2, status=None, error="still none")
    assert await deliveries.due("a") == []
    (letter,) = await deliveries.letters()
    assert (letter.attempts, letter.status, letter.error) == (5, None, "still none")


async def test_a_letter_that_is_not_there_cannot_be_sent_or_discarded(deliveries):
    assert await deliveries.send_again(7) is None
    assert not await deliveries.discard(7)
    await bury(deliveries)
    (letter,) = await deliveries.letters()
    assert await deliveries.discard(letter.id)
    assert await deliveries.count() == 0


async def test_two_sinks_of_one_name_are_refused(deliveries):
    deliveries.claim("a")
    with pytest.raises(ValueError, match="two sinks are called 'a'"):
        deliveries.claim("a")
    deliveries.release("a")
    deliveries.claim("a")


async def test_everything_is_there_after_it_was_closed(path):
    store = DeliveryStore(path)
    await bury(store, 4)
    await store.aclose()
    await store.aclose()
    again = store if path == ":memory:" else DeliveryStore(path)
    assert (await again.position("a"), await again.count()) == (at(4), 1)
    await again.aclose()


async def test_a_file_that_cannot_be_used_is_named(tmp_path):
    store = DeliveryStore(str(tmp_path / "nowhere" / "events.db"))
    with pytest.raises(StoreError, match="nowhere"):
        await store.position("a")


def test_lists_are_read_by_an_index():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for statement in schema.DELIVERIES:
            connection.execute(statement)

        def plan(where):
            rows = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM dead_letters WHERE {where} ORDER BY id LIMIT 9"
            )
            return " / ".join(row[3] for row in rows)

        for where in ("id > 5", "id > 5 AND sink = 'a'", "sink = 'a' AND again = 1"):
            assert "SEARCH" in plan(where)
            assert "TEMP B-TREE" not in plan(where)
