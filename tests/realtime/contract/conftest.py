"""One server for all rows that need no special one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from tests.realtime.server_process import ServerProcess

ADMIN_TOKEN = "admin-correct-horse-battery-staple"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SECRET = b"a secret for the contract only"

SHOP = '''
"""Brings one of everything that a module can bring."""

import trio
from quart import Blueprint, websocket

from realtime.actors.methods import method
from realtime.actors.tasks import job
from supervisors import Actor, ChildSpec


class Shop(Actor):
    """Has a mailbox, and a figure that tells its code from a later one."""

    def statistics(self):
        return {"sold": 0}


def children(services) -> list[ChildSpec]:
    services.hub.declare("stock")
    for topic in ("strict", "lossy", "board", "patient"):
        services.hub.declare(topic)
    return [ChildSpec("shop", "shop:Shop")]


def methods(services):
    @method("burst")
    async def burst(caller, topic: str, count: int):
        """Without a checkpoint, so that an outbox cannot be emptied meanwhile."""
        for number in range(count):
            services.hub.publish_nowait(topic, "snapshot", {"number": number, "ballast": "x" * 50_000})
        return {"published": count}

    return [burst]


def prices():
    return {"at": 1.0, "quotes": []}


def routes(services) -> Blueprint:
    made = Blueprint("shop", __name__)

    @made.websocket("/shop/fails")
    async def fails():
        await websocket.accept()
        raise RuntimeError("on purpose")

    return made


@job("wait")
async def wait(progress):
    progress.update("waiting", 42.5, "not long", place="shop")
    await trio.sleep_forever()


@job("fail")
async def fail(progress):
    raise ValueError("on purpose")


@job("done")
async def done(progress):
    progress.update("almost", 99)
    return {"sold": 1}


@method("add")
async def add(caller, a: int, b: int):
    return {"sum": a + b}
'''


QUEUE = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, status TEXT);
INSERT INTO jobs VALUES ('q1', 'waiting');
"""
"""The table of a job queue."""

BOB = "bob-correct-horse-battery-staple"

MAILBOX = 20
"""Messages that may wait for one client of the server."""


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """In debug mode, with an admin token, a webhook, and a module that brings one of everything."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    (folder / "admin.token").write_text(ADMIN_TOKEN, encoding="utf-8")
    (folder / "forge.secret").write_bytes(SECRET)
    (folder / "tokens.toml").write_text(f'[tokens.bob]\ntoken = "{BOB}"\n', encoding="utf-8")
    with contextlib.closing(sqlite3.connect(folder / "queue.db")) as database:
        database.executescript(QUEUE)
    settings = {
        "server": {"allowed_origins": ["https://friend.example"]},
        "auth": {"admin_token_file": "admin.token", "tokens_file": "tokens.toml"},
        "log": {"level": "debug"},
        "webhooks.forge": {"secret_file": "forge.secret"},
        "actors.shop": {"use": "shop"},
        "actors.queue": {"use": "realtime.actors.queue", "database": "queue.db"},
        "actors.market": {"use": "realtime.actors.market", "call": "shop:prices"},
        'topics."room/*"': {"publish": "anyone", "presence": True},
        'topics."session/closed"': {"subscribe": "editors"},
        "topics.strict": {"overflow": "disconnect"},
        "topics.board": {"overflow": "conflate"},
        "topics.patient": {"overflow": "wait"},
        "delivery": {"mailbox_messages": MAILBOX},
    }
    with ServerProcess(folder, settings, debug=True) as process:
        yield process


INTERVAL = 0.3
"""Seconds between two pings of the brisk server, and for their answers."""


@pytest.fixture(scope="package")
def brisk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Pings often, and takes few messages and few connections."""
    folder = tmp_path_factory.mktemp("brisk")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    settings = {
        "server": {"max_connections_per_address": 8},
        "heartbeat": {"interval": INTERVAL, "pong_timeout": INTERVAL},
        "delivery": {"max_inbound_per_second": 30},
        "actors.shop": {"use": "shop"},
    }
    with ServerProcess(folder, settings) as process:
        yield process
