"""The whole system on one screen: what runs, under whom, in which order, and what becomes of it when it fails.

Children start from the top to the bottom and stop from the bottom to the top, so that an orderly stop is the drain.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import trio

from realtime.actors.access import Access
from realtime.actors.commands import command_job
from realtime.actors.emitter import Emitter
from realtime.actors.events import EventManager
from realtime.actors.heartbeat import Heartbeat
from realtime.actors.methods import Methods
from realtime.actors.presence import Presence
from realtime.actors.recall import recall
from realtime.actors.tasks import TaskManager
from realtime.backplane import envelope
from realtime.backplane.local import LocalBackplane
from realtime.delivery.hub import Hub
from realtime.modules import Modules
from realtime.plugins import Services
from realtime.policy.retention import Retention
from realtime.ports import Backplane, EventStore, StoredEvent
from realtime.settings import Settings, SettingsError
from realtime.storage import open_store
from realtime.storage.deliveries import DeliveryStore
from realtime.storage.tasks import TaskStore
from realtime.transport import Admission, ServerConfig, serve
from realtime.web.app import Application
from realtime.web.backend import Backend
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.feed import SupervisorFeed
from realtime.web.mounts import Mounts
from supervisors import (
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    SupervisorRef,
    SupervisorSpec,
    Tree,
    Watchdog,
    open_tree,
)

RETRY: Final = Backoff(first=0.5, maximum=5.0)
"""For what nobody can do without: tried again for as long as it takes, at no sibling's cost."""

ACCEPT_AGAIN: Final = Backoff(first=0.1, maximum=0.9)
"""For the server: new connections wait in the kernel meanwhile, health checks among them, so it is back in a second."""

STORE_SHUTDOWN: Final = 10.0
"""Seconds to commit what is queued; the deadline of the whole stop caps it."""


@attrs.frozen
class System:
    """Everything that is wired together, and the tree that runs it."""

    settings: Settings
    hub: Hub
    store: EventStore
    backplane: Backplane
    tasks: TaskStore
    jobs: SupervisorRef
    backend: Backend
    services: Services
    feed: SupervisorFeed
    broadcasters: SupervisorRef
    actors: list[ChildSpec]

    def spec(self, app: Application, listener: socket.socket | None) -> SupervisorSpec:
        """The tree.  Without a *listener* somebody else serves *app* and owns its connections."""
        beat = self.settings.heartbeat
        heartbeat = Heartbeat(self.hub, interval=beat.interval, pong_timeout=beat.pong_timeout)
        own = [
            ChildSpec("emitter", self.backend.emit.run, backoff=RETRY),
            ChildSpec("presence", self.backend.presence.run, backoff=RETRY),
            ChildSpec(SUPERVISORS, self.feed.run, backoff=RETRY),
        ]
        access = self.backend.access
        return SupervisorSpec(
            [
                ChildSpec("store", self.run_store, shutdown=STORE_SHUTDOWN, backoff=RETRY),
                ChildSpec("backplane", self.backplane.run, backoff=RETRY),
                ChildSpec("hub", self.run_hub, backoff=RETRY),
                *([ChildSpec("access", access.run, backoff=RETRY)] if access.recognises else []),
                *(() if listener is None else self.serving(app, listener)),
                ChildSpec("jobs", DynamicSupervisorSpec(), ref=self.jobs),
                ChildSpec("heartbeat", heartbeat.run, backoff=RETRY),
                ChildSpec(
                    "broadcasters", SupervisorSpec([*self.actors, *own], keep_children=True), ref=self.broadcasters
                ),
            ],
            strategy="one_for_one",
        )

    def serving(self, app: Application, listener: socket.socket) -> tuple[ChildSpec, ChildSpec]:
        """The connections, and the server that accepts them; a crash of the one closes none of the others."""
        connections = SupervisorRef("connections")
        server = self.settings.server
        admission = self.backend.admission = Admission(server.max_connections, server.max_connections_per_address)
        config = ServerConfig.from_settings(server, self.settings.delivery)
        accept = partial(serve, app, listener, config, connections, admission)
        return (
            ChildSpec("connections", DynamicSupervisorSpec(on_stop=self.send_clients_away), ref=connections),
            ChildSpec("server", accept, backoff=ACCEPT_AGAIN),
        )

    async def run_store(
        self, *, stopping: trio.Event, task_status: trio.TaskStatus[EventStore] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The events, and in the same file the history of tasks and what was delivered to whom."""
        try:
            await self.store.run(stopping=stopping, task_status=task_status)
        finally:
            await self.tasks.aclose()
            await self.services.deliveries.aclose()

    async def run_hub(self, *, task_status: trio.TaskStatus[Hub] = trio.TASK_STATUS_IGNORED) -> None:
        """The flusher.  Events are numbered by the store, which is up by now and goes on where it was."""
        self.hub.set_topic_position("events", self.store.epoch, self.store.last_offset)
        await recall(self.hub, self.store)
        await self.hub.run(task_status=task_status)

    async def send_clients_away(self) -> None:
        """Close every WebSocket with 1012, spread over a window, once the server accepts no more."""
        server = self.settings.server
        window = min(server.drain_window, server.drain_timeout / 2)
        self.hub.drain(window, random.Random(), self.backend.absence)
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def run(self, app: Application, listener: socket.socket | None) -> AsyncIterator[Tree]:
        """Run the tree around a block; errors as :func:`supervisors.open_tree`."""
        after = self.settings.log.blocked_after
        watchdog = Watchdog(after) if after else None
        async with open_tree(self.spec(app, listener), on_event=self.feed.on_event, watchdog=watchdog) as tree:
            self.backend.tree = tree
            self.backend.phase = "serving"
            try:
                yield tree
            finally:
                self.backend.phase = "draining"


def build(settings: Settings) -> System:
    """Wire everything together for *settings*; nothing runs yet.

    Raises:
      PluginError: an actor module cannot be used.
      SettingsError: a setting asks for what is not there.
    """
    refuse_unsupported(settings)
    hub = Hub(
        settings.topic,
        max_topics_per_connection=settings.delivery.max_topics_per_connection,
        history_bytes=settings.delivery.mailbox_bytes,
    )
    for topic in ("clock", "events", SUPERVISORS, "session/*", *settings.topics_of_clients()):
        hub.declare(topic)

    def deliver(topic: str, frame: bytes) -> None:
        type_, offset, data = envelope.unpack(frame)
        hub.publish_nowait(topic, type_, data, offset=offset)

    def publish(event: StoredEvent) -> None:
        backplane.publish_nowait("events", envelope.pack("event", event.offset, event.to_wire()))

    backplane = LocalBackplane(deliver)
    store = open_store(
        str(settings.store.path), Retention(settings.store.retention_days, settings.store.retention_events)
    )
    events = EventManager(store, publish)
    history, jobs = TaskStore(str(settings.store.path)), SupervisorRef("jobs")
    tasks = TaskManager(hub, history, jobs)
    for name, command in settings.jobs.items():
        tasks.register(command_job(name, command, folder=settings.folder))
    access, deliveries = Access.from_settings(settings), DeliveryStore(str(settings.store.path))
    emit, presence, methods = Emitter(hub), Presence(hub), Methods()
    backend = Backend(settings, hub, store, events, tasks, access, emit, presence, methods, deliveries)
    feed = SupervisorFeed(hub, lambda: backend.tree, tracebacks=settings.server.debug)
    services = Services(hub, store, events, tasks, settings, access, emit, presence, methods, deliveries)
    broadcasters, backend.mounts = SupervisorRef("broadcasters"), Mounts(backend)
    modules = backend.modules = Modules(services, backend.mounts, broadcasters, jobs)
    modules.load()
    return System(
        settings, hub, store, backplane, history, jobs, backend, services, feed, broadcasters, modules.children()
    )


def refuse_unsupported(settings: Settings) -> None:
    """Refuse what the settings ask for and cannot have, most of it in this version: ignoring it would be worse.

    Raises:
      SettingsError: naming each.
    """
    problems = []
    if settings.engine.url != "local":
        problems.append("engine.url: only 'local' is supported in this version")
    if settings.delivery.max_topics_per_connection < 2:
        problems.append("delivery.max_topics_per_connection must be at least 2: a session has two from the start")
    for taken in {"emitter", "presence", SUPERVISORS} & settings.actors.keys():
        problems.append(f"actors.{taken}: this id is taken by a broadcaster of the server's own; choose another")
    if problems:
        raise SettingsError(problems)
