"""The tasks of one connection, and how its requests reach the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import EventWrapper, WorkerContext

from .inbox import Inbox
from .stream import GuardedStream

Event = Any  # an ASGI event; Hypercorn's typed dictionaries would be cast at every step
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

# Bytes of one request's body read ahead of the application: one full read of the socket.
_BODY_READ_AHEAD: Final = 2**16

_log = structlog.get_logger(__name__)


class Stopping(EventWrapper):
    """Hypercorn's view of the event with which a supervisor asks a connection to stop."""

    def __init__(self, stopping: trio.Event) -> None:
        self._event = stopping


class ConnectionContext(WorkerContext):
    """What Hypercorn's protocols know of their worker: here that is one connection, and it ends by itself."""

    def __init__(self, stopping: trio.Event) -> None:
        super().__init__(max_requests=None)
        self.terminated: EventWrapper = Stopping(stopping)


class ConnectionTasks(TaskGroup):
    """The nursery of one connection.

    Args:
      extensions: put into the ASGI scope of every request.
    """

    def __init__(self, stream: GuardedStream, config: Config, extensions: Mapping[str, object]) -> None:
        super().__init__()
        self._stream = stream
        self._config = config
        self._extensions = extensions

    async def spawn_app(
        self, app: Any, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Run *app* for *scope*; returns how to hand it its events."""
        channel = _AppChannel(self._stream, config.max_app_queue_size, send)
        self.start_app(app, scope, channel.receive, channel.send)
        return channel.put

    def start_app(self, app: Any, scope: Any, receive: Receive, send: Send) -> None:
        """Run *app* for *scope* over *receive* and *send*."""
        assert self._nursery is not None  # open as long as anything is read
        scope["extensions"].update(self._extensions)
        self._nursery.start_soon(_run_app, app, scope, receive, send)

    def cancel_within(self, seconds: float) -> None:
        """Give what still runs *seconds* to end by itself."""
        assert self._nursery is not None
        self._nursery.cancel_scope.deadline = trio.current_time() + seconds


class _AppChannel:
    """Events to and from one HTTP request, or one WebSocket over HTTP/2.

    The last thing that an application sends ends its request, and so brings about the disconnect that it is told
    of. Quart cancels itself when told; so it is told only when that last sending is done with all it entails, or
    a connection would be left half closed, with nobody to go on.
    """

    def __init__(self, stream: GuardedStream, max_events: int, send: Send) -> None:
        self._stream = stream
        self._inbox: Inbox[Event] = Inbox(max_events, _BODY_READ_AHEAD)
        self._disconnect: Event = None
        self._send = send
        self._senders: set[trio.lowlevel.Task] = set()

    async def put(self, event: Event) -> None:
        """Hand *event* over, waiting for room; a disconnect never waits.

        Raises:
          trio.BrokenResourceError: the peer hung up while there was no room.
        """
        if event["type"].endswith(".disconnect"):
            self._disconnect = event
            if trio.lowlevel.current_task() not in self._senders:
                self._inbox.finish()
            return
        if self._inbox.full and not await self._stream.holds(self._inbox.wait_room):
            raise trio.BrokenResourceError("the peer left while its request was being read")
        self._inbox.put(event, len(event.get("body", b"")))

    async def send(self, event: Event) -> None:
        """What the application sends; None when it has ended. A checkpoint where nobody is left to send to."""
        if self._disconnect is not None and event is not None:
            # Hypercorn just returns then: a body without an end would go on for ever and stop the whole process.
            await trio.lowlevel.checkpoint()
        task = trio.lowlevel.current_task()
        self._senders.add(task)
        try:
            await self._send(event)
        finally:
            self._senders.discard(task)
            if self._disconnect is not None:
                self._inbox.finish()

    async def receive(self) -> Event:
        """The next event; after the last the disconnect, again and again."""
        try:
            return await self._inbox.get()
        except trio.EndOfChannel:
            return self._disconnect


async def _run_app(app: Any, scope: Any, receive: Receive, send: Send) -> None:
    """Call the application, log what leaves it, and say that it has ended; a cancellation goes on."""
    try:
        await app(scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run)
    except* Exception as failures:
        _log.error("application failed", path=scope["path"], type=scope["type"], exc_info=failures)
    await send(None)
