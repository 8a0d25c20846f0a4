"""What the peer says on a socket of our own server: the events of its parser in; messages, and an end, out."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Final

import trio
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Event, Message, Ping, Pong

from realtime.delivery.ending import VANISHED
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, Wire, round_trip
from realtime.messages import CloseCode

from .config import ServerConfig
from .inbox import Inbox
from .link import DirectLink
from .parser import Parser
from .reader import Reader

if TYPE_CHECKING:
    from .tcp import GuardedTCPServer

# Messages read ahead of the application: enough that one slow step of it costs no round trip, and few enough
# that a client which outruns it feels that at once.
_READ_AHEAD: Final = 16


class Incoming(Wire):
    """The half of a `SocketWire` that takes what the peer says; when more of it is read is up to the other half."""

    def __init__(self, link: GuardedTCPServer | DirectLink, address: str, config: ServerConfig) -> None:
        self.address = address
        self.last_seen = trio.current_time()
        self.rtt: float | None = None
        self._link = link
        self._config = config
        self._parser: Parser | Reader | None = None
        self._parts: list[Any] = []  # all str, or all bytes
        self._part_bytes = 0
        self._inbox: Inbox[str | bytes] = Inbox(_READ_AHEAD, config.max_message_bytes)
        self._end: PeerClosed | PeerMisbehaved | None = None
        # Set at the peer's end; made by whoever waits for that.
        self._answered: trio.Event | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of the peer's counts any more: it closed, vanished or broke the rules."""
        return self._end is not None

    def how_it_ended(self) -> tuple[int, str]:
        """Code and reason as ASGI tells them."""
        return (VANISHED, "") if self._end is None else (self._end.code, self._end.reason)

    async def next_message(self) -> str | bytes:
        """As `receive`, for whoever has it: raises `trio.EndOfChannel` after the last message."""
        return await self._inbox.get()

    async def _on_event(self, event: Event) -> None:
        if isinstance(event, Message):
            await self._on_part(event)
        elif isinstance(event, Ping):
            await self._on_ping(bytes(event.payload))
        elif isinstance(event, Pong):
            answered = round_trip(bytes(event.payload), trio.current_time())
            self.rtt = self.rtt if answered is None else answered
        elif isinstance(event, CloseConnection):
            self._on_close(event)

    @abc.abstractmethod
    async def _on_ping(self, payload: bytes) -> None:
        """Answer a Ping of the peer's, or have it answered."""

    async def _on_part(self, event: Message[Any]) -> None:
        """A message, or a part of one: frames may be fragments, and wsproto gives what it has of each."""
        part = event.data
        size = len(part) if not isinstance(part, str) or part.isascii() else len(part.encode())
        self._part_bytes += size
        if self._part_bytes > self._config.max_message_bytes:
            limit = self._config.max_message_bytes
            self._finish(PeerMisbehaved(CloseCode.TOO_BIG, f"a message has at most {limit} bytes"))
            return
        if part:  # empty fragments cost nothing to send, so they must cost nothing to keep
            self._parts.append(part if isinstance(part, str) else bytes(part))
        if event.message_finished:
            empty = "" if isinstance(part, str) else b""
            message = empty.join(self._parts)
            size, self._part_bytes = self._part_bytes, 0
            self._parts = []
            await self._deliver(message, size)

    async def _deliver(self, message: str | bytes, size: int) -> None:
        if self._inbox.full and not await self._wait_room():
            self.abort()
            raise trio.BrokenResourceError("the peer left and nobody took its messages")
        self._inbox.put(message, size)

    async def _wait_room(self) -> bool:
        """Hold the reader back until there is room; False if the peer left and there was none for a while."""
        if await self._link.transport.holds(self._inbox.wait_room):
            return True
        with trio.move_on_after(self._config.disconnect_grace):
            await self._inbox.wait_room()
            return True
        return False

    def _on_close(self, event: CloseConnection) -> None:
        assert self._parser is not None
        code, reason = int(event.code), event.reason or ""
        # wsproto tells of its own verdict and of the peer's Close frame by one event; only the frame changes
        # the state.
        failed = self._parser.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)
        self._finish(PeerMisbehaved(code, reason) if failed else PeerClosed(code, reason))

    def _finish(self, end: PeerClosed | PeerMisbehaved) -> None:
        if self._end is None:
            self._end = end
        self._inbox.finish()
        if self._answered is not None:
            self._answered.set()
