"""One server for all rows that need no special one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.realtime.server_process import ServerProcess

ADMIN_TOKEN = "admin-correct-horse-battery-staple"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SECRET = b"a secret for the contract only"

SHOP = '''
"""Brings one of everything that a module can bring."""

import trio
from quart import Blueprint

from realtime.actors.methods import method
from realtime.actors.tasks import job
from supervisors import Actor, ChildSpec


class Shop(Actor):
    """Has a mailbox, and a figure that tells its code from a later one."""

    def statistics(self):
        return {"sold": 0}


def children(services) -> list[ChildSpec]:
    services.hub.declare("stock")
    return [ChildSpec("shop", "shop:Shop")]


def routes(services) -> Blueprint:
    made = Blueprint("shop", __name__)

    @made.websocket("/shop/fails")
    async def fails():
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


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """In debug mode, with an admin token, a webhook, and a module that brings one of everything."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    (folder / "admin.token").write_text(ADMIN_TOKEN, encoding="utf-8")
    (folder / "forge.secret").write_bytes(SECRET)
    settings = {
        "server": {"allowed_origins": ["https://friend.example"]},
        "auth": {"admin_token_file": "admin.token"},
        "log": {"level": "debug"},
        "webhooks.forge": {"secret_file": "forge.secret"},
        "actors.shop": {"use": "shop"},
        'topics."room/*"': {"publish": "anyone", "presence": True},
        'topics."session/closed"': {"subscribe": "editors"},
        "delivery": {"max_inbound_per_second": 500},
    }
    with ServerProcess(folder, settings, debug=True) as process:
        yield process
