"""The whole system in the test's own process: the real tree, and the real application behind Quart's test client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError

from realtime.sections import Server, Store
from realtime.settings import ActorSettings, Settings
from realtime.tree import System, build
from realtime.web.app import Application, create_app
from supervisors import ChildSpec, Tree

CLOCK = ActorSettings(use="realtime.actors.clock")

OWN = "http://localhost"
"""The origin of our own page, as the test client calls us."""


def make_settings(*, server: dict[str, Any] | None = None, **sections: Any) -> Settings:
    """Defaults, with the events in memory and no actors but those that are given."""
    sections = {"store": Store(path=Path(":memory:")), "actors": {}} | sections
    return Settings(server=Server(**(server or {})), **sections)


@attrs.frozen
class Running:
    """A system whose tree runs."""

    system: System
    app: Application
    tree: Tree

    @property
    def client(self):
        return self.app.test_client()

    async def get(self, path: str, **options: Any) -> Any:
        """The answer's body, which is JSON; it has to be 200."""
        answer = await self.client.get(path, **options)
        assert answer.status_code == 200, await answer.get_data()
        return await answer.get_json()

    def websocket(self, path: str, **options: Any):
        return self.client.websocket(path, **options)


@asynccontextmanager
async def running(settings: Settings | None = None, actors: Sequence[ChildSpec] = ()) -> AsyncIterator[Running]:
    """Run a system without a server of its own.

    Args:
      actors: stand below ``broadcasters``, besides those of the settings.
    """
    system = build(make_settings() if settings is None else settings)
    system.actors.extend(actors)
    app = create_app(system.backend)
    async with system.run(app, None) as tree:
        yield Running(system, app, tree)


async def error_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The error in *answer*, which has to have that *status* and *code*, and the one form that errors have."""
    body = await answer.get_json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), body
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["code", "message", "details"]
    assert error["code"] == code
    assert error["message"]
    assert answer.headers["Cache-Control"] == "no-store"
    return error


async def refused(socket: Any) -> Any:
    """The answer to the handshake of *socket*, which has to be refused."""
    async with socket as connection:
        try:
            await connection.receive()
        except WebsocketResponseError as refusal:
            return refusal.response
    raise AssertionError("the handshake was accepted")


async def closed(connection: Any) -> int:
    """The code with which *connection* is closed; what comes before is thrown away."""
    with trio.fail_after(600):
        while True:
            try:
                await connection.receive()
            except WebsocketDisconnectError as close:
                return close.args[0]


async def receive(socket: Any, count: int) -> list[dict[str, Any]]:
    """The next *count* messages."""
    with trio.fail_after(60):
        return [await socket.receive_json() for _ in range(count)]


async def receive_until(socket: Any, type: str) -> dict[str, Any]:
    """The next message of *type*; what comes before it is thrown away."""
    with trio.fail_after(60):
        while True:
            message = await socket.receive_json()
            if message["type"] == type:
                return message
