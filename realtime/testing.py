"""What it takes to test an actor module of one's own: the module in a whole system, without a socket, and an ear.

    from realtime.testing import running_module
    from supervisors.testing import virtual_time

    @virtual_time
    async def test_the_dice_fall_twice_a_second():
        async with running_module("dice", interval=0.5) as module, module.listen("dice") as heard:
            assert (await heard.next("dice_update"))["data"]["eyes"] in range(1, 7)

The tree and the application are the real ones; events are kept in memory and forgotten with the block. Nothing in here
needs pytest; with pytest-trio, ``autojump_clock`` as a parameter of the test does what `virtual_time` does.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import msgspec
import trio
from quart.typing import TestClientProtocol

from realtime.delivery.connection import Connection
from realtime.delivery.frames import TEXT, Frame
from realtime.delivery.wire import PeerClosed, Wire
from realtime.modules import ModuleInfo
from realtime.plugins import Services
from realtime.sections import ActorSettings, Store
from realtime.settings import MEMORY, Settings
from realtime.tree import build
from realtime.web.app import Application, create_app
from supervisors import ChildSpec, SupervisorRef, Tree
from supervisors.testing import PATIENCE

__all__ = ["KEPT", "Listener", "RunningModule", "running_module"]

KEPT: Final = 100_000
"""Messages that a listener keeps; the oldest go first."""


class Listener:
    """Somebody who subscribes to a topic, as any client does, and reads all that is sent."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.messages: deque[dict[str, Any]] = deque(maxlen=KEPT)
        """All that came so far, the confirmation of the subscription first."""
        self._unread: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._news = trio.Event()

    def data(self, type: str | None = None) -> list[Any]:
        """The data of all messages so far, those of *type* if that is given; the confirmation has none."""
        found = (each for each in self.messages if type in (None, each["type"]))
        return [each["data"] for each in found if "data" in each]

    async def next(self, type: str | None = None) -> dict[str, Any]:
        """The next message that this has not returned yet, of *type* if that is given; others before it are skipped.

        Raises:
          AssertionError: none has come for `PATIENCE` seconds, which pass at once on a virtual clock.
        """
        with trio.move_on_after(PATIENCE):
            await trio.lowlevel.checkpoint()
            while True:
                while self._unread:
                    message = self._unread.popleft()
                    if type in (None, message["type"]) and (type is not None or message["type"] != "subscribed"):
                        return message
                self._news = trio.Event()
                await self._news.wait()
        came = [message["type"] for message in self.messages]
        raise AssertionError(f"no message {type or ''} came on {self.topic!r} for {PATIENCE:g} s, but {came}")

    def hear(self, message: dict[str, Any]) -> None:
        """Take in one more message; done by the connection."""
        self.messages.append(message)
        self._unread.append(message)
        self._news.set()


@attrs.frozen
class RunningModule:
    """A module whose children run.

    Attributes:
      path: of its node in the tree, for `supervisors.testing.crash` and its like.
      services: what the module was given: ``hub``, ``events``, ``tasks`` and the rest.
      app: the whole application, the module's routes included.
    """

    path: str
    services: Services
    tree: Tree
    app: Application
    info: ModuleInfo
    _jobs: SupervisorRef
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))

    @property
    def client(self) -> TestClientProtocol:
        """A client for HTTP and WebSockets, without a socket: ``await module.client.get("/path")``."""
        return self.app.test_client()

    @asynccontextmanager
    async def listen(self, topic: str) -> AsyncIterator[Listener]:
        """Subscribe to *topic* for as long as the block runs.

        Raises:
          UnknownTopic: nobody has declared it.
        """
        listener, hub = Listener(topic), self.services.hub
        ear = _Ear(listener)
        connection = Connection(f"listener-{next(self._numbers)}", ear)
        with hub.registered(connection):
            hub.subscribe(connection, topic)
            # Below the tree rather than in a nursery, which would make a group of what fails in the block.
            child = ChildSpec(connection.id, connection.run, (_say_nothing,), restart="temporary")
            await self._jobs.start_child(child)
            try:
                yield listener
            finally:
                ear.abort()


@asynccontextmanager
async def running_module(
    module: ModuleType | str, /, *, settings: Settings | None = None, **options: Any
) -> AsyncIterator[RunningModule]:
    """Run an actor module, alone among its kind, for as long as the block runs.

    Args:
      module: itself or its dotted name, as ``use`` in the settings.
      settings: others than the defaults with events in memory; their actors run too.
      options: the module's own, as they stand in ``[actors.<id>]``.

    Raises:
      PluginError: the module or its options cannot be used.
      StartError: a child did not start.
    """
    use = module if isinstance(module, str) else module.__name__
    if settings is None:
        settings = Settings(store=Store(path=Path(MEMORY)), actors={})
    id = "module"
    actors = {**settings.actors, id: ActorSettings(use=use, options=options)}
    system = build(attrs.evolve(settings, actors=actors))
    app, modules = create_app(system.backend), system.backend.modules
    assert modules is not None
    async with system.run(app, None) as tree:
        yield RunningModule(f"broadcasters/{id}", system.services, tree, app, modules.get(id), system.jobs)


async def _say_nothing(_message: str | bytes) -> None:
    """What a listener says to what it is sent."""


class _Ear(Wire):
    """A wire whose peer reads all, answers every ping and says nothing."""

    address = "listener"
    rtt = 0.0
    supports_frames = True

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._over = trio.Event()

    @property
    def last_seen(self) -> float:  # type: ignore[override]
        """It is always there."""
        return trio.current_time()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Let the listener hear it."""
        for frame in frames:
            if frame.opcode == TEXT:
                self._listener.hear(msgspec.json.decode(frame.payload))
        await trio.lowlevel.checkpoint()

    async def receive(self) -> str | bytes:
        """Wait for the end."""
        await self._over.wait()
        raise PeerClosed

    async def aclose(self, code: int, reason: str = "") -> None:
        """End."""
        self.abort()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """End."""
        self._over.set()
