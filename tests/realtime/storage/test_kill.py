"""What was acknowledged is there after a kill, whenever it comes."""

import os
import random
import signal
import sqlite3
import subprocess
import sys

import trio

from realtime.ports import EventQuery
from realtime.storage.sqlite import SqliteStore

from .conftest import running

ROUNDS = 6

# Acknowledges by a plain write of one line, so that nothing is left in a buffer of the process that dies.
CREATOR = """
import os, sys, trio
from realtime.ports import NewEvent
from realtime.storage.sqlite import SqliteStore

async def create(store, number):
    while True:
        event = await store.append(NewEvent("killed", {"text": "x" * 200}, tags=("a", str(number))))
        os.write(1, event.event_id.encode() + b"\\n")

async def main():
    store = SqliteStore(sys.argv[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for number in range(20):
            nursery.start_soon(create, store, number)

trio.run(main)
"""


def acknowledged_until_killed(path, count):
    """The ids that a process acknowledged that was killed after about *count* of them."""
    with subprocess.Popen([sys.executable, "-c", CREATOR, str(path)], stdout=subprocess.PIPE) as creator:
        first = [creator.stdout.readline() for _ in range(count)]
        creator.send_signal(signal.SIGKILL)
        rest = creator.stdout.readlines()
    assert creator.returncode == -signal.SIGKILL
    return [line.decode().strip() for line in first + rest if line.endswith(b"\n")]


async def test_every_acknowledged_event_survives_kills_at_random_moments(tmp_path):
    path = tmp_path / "events.db"
    seed = int.from_bytes(os.urandom(4))
    print("seed", seed)
    moments = random.Random(seed)
    acknowledged = []
    for _ in range(ROUNDS):
        count = moments.randrange(1, 400)
        acknowledged += await trio.to_thread.run_sync(acknowledged_until_killed, path, count)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = {event_id for (event_id,) in connection.execute("SELECT event_id FROM events")}
        connection.close()
        assert set(acknowledged) <= stored
    assert len(acknowledged) == len(set(acknowledged)) >= ROUNDS

    # And the store that opens the file afterwards can tell the whole story.
    async with running(SqliteStore(path)) as store:
        story = await store.since(store.epoch, 0, store.last_offset, store.last_offset)
        assert {event.event_id for event in story} == stored
        assert [event.event_id for event in story] == sorted(stored)
        tagged = await store.query(EventQuery(tag="a", limit=1000))
        assert tagged.events == story[:1000]
