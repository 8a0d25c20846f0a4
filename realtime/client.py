"""A client that prints a stream and comes back when it breaks; it needs the extra ``client``."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import attrs
import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from realtime.connect import Unreachable, Untrusted, connected
from realtime.messages import CloseCode, encode
from realtime.policy.places import Heard, Places, resuming
from realtime.policy.reconnect import reconnect_delay

QUIET: Final = 45.0
"""Seconds of silence after which the server is asked for a sign of life: longer than its heartbeat usually takes."""
ANSWER: Final = 10.0
"""Seconds for its answer."""

_AGAIN: Final = frozenset({408, 425, 429})
"""Refusals that are the client's fault and still pass."""

Print = Callable[[str], object]


class TailEnded(Exception):
    """There is no coming back; the text says why, with the code if the server gave one."""


@attrs.frozen
class Ended:
    """How a connection ended: the close code, 1006 if the server vanished, None if there was no connection."""

    code: int | None
    reason: str

    def __str__(self) -> str:
        return f"no connection: {self.reason}" if self.code is None else f"{self.code} {self.reason}".rstrip()


async def tail(
    url: str,
    max_messages: int | None = None,
    topics: Sequence[str] = (),
    *,
    print_line: Print = print,
    note: Print = print,
    chance: Callable[[], float] = random.random,
    token: str | None = None,
) -> None:
    """Print each message of the stream at *url*, one a line, until it is complete or *max_messages* are printed.

    Reconnects with exponential backoff and jitter, as long as it takes, and resumes where it was: *note* is told of
    each connection that ends, and of what was lost meanwhile because it cannot be sent again.

    Args:
      topics: to subscribe to on every connection, on a session's stream.
      chance: a source of numbers in [0, 1), for jitter.
      token: to sign in with.

    Raises:
      ValueError: *url* is none of a WebSocket.
      TailEnded: the server closed with a code after which there is no coming back, or refused the handshake for good,
        or its certificate cannot be verified.
    """
    check_url(url)
    tail = _Tail(url, topics, print_line, note, max_messages, token)
    attempt = 0
    while True:
        ended = await tail.follow()
        if ended is None or ended.code == CloseCode.NORMAL:
            return
        attempt = 1 if tail.heard else attempt + 1
        delay = reconnect_delay(ended.code, ended.reason, attempt, chance)
        if delay is None:
            raise TailEnded(f"the server closed the stream: {ended}")
        note(f"connection ended ({ended}); trying again in {delay:.1f} s")
        await trio.sleep(delay)


def check_url(url: str) -> None:
    """Refuse what is no URL of a WebSocket with a `ValueError` that says what is wanted."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"url must be like ws://127.0.0.1:8000/ws/events, got {url!r}")


class _Tail:
    """What is followed, and how far it came."""

    def __init__(
        self,
        url: str,
        topics: Sequence[str],
        print_line: Print,
        note: Print,
        max_messages: int | None,
        token: str | None,
    ) -> None:
        self._url = url
        self._topics = topics
        self._print_line = print_line
        self._note = note
        self._places = Places()
        self._left = max_messages
        self._headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode())]
        #: Whether anything came over the last connection: then the one after it is a first attempt.
        self.heard = False

    async def follow(self) -> Ended | None:
        """Print one connection's messages; returns how it ended, None if there is nothing more to print.

        What *print_line* raises leaves as it is: that is not the connection's fault.
        """
        self.heard = False
        try:
            await connected(self._address, self._headers, self._subscribe_and_print)
        except ConnectionClosed as closed:
            # The library gives no reason where the peer vanished without a Close frame.
            return Ended(1006, "") if closed.reason is None else Ended(closed.reason.code, closed.reason.reason or "")
        except ConnectionRejected as refused:
            return _refused(refused)
        except Untrusted as untrusted:
            raise TailEnded(str(untrusted)) from untrusted
        except Unreachable as unreachable:
            return Ended(None, str(unreachable))
        return Ended(1006, "no sign of life") if self._wanted else None

    async def _subscribe_and_print(self, connection: WebSocketConnection) -> None:
        for topic in self._topics:
            await connection.send_message(self._subscribe(topic))
        await self._print_all(connection)

    @property
    def _address(self) -> str:
        """The URL, which resumes a fixed stream; on a session each subscription does."""
        return self._url if self._topics else resuming(self._url, self._places.only)

    def _subscribe(self, topic: str) -> str:
        place = self._places.of(topic)
        since = {} if place is None else {"epoch": place.epoch, "offset": place.offset}
        return encode({"type": "subscribe", "topic": topic, **since}).decode()

    @property
    def _wanted(self) -> bool:
        return self._left is None or self._left > 0

    async def _print_all(self, connection: WebSocketConnection) -> None:
        """Until enough is printed, or the server gives no sign of life."""
        while self._wanted:
            text = await _next_message(connection)
            if text is None:
                return
            self.heard = True
            heard = _understand(text)
            if await _is_for_machines(connection, heard):
                continue
            lost = self._places.hear(heard)
            if lost is not None:
                self._note(lost)
            self._print_line(text)
            if self._left is not None:
                self._left -= 1


async def _next_message(connection: WebSocketConnection) -> str | None:
    """The next message, an answer to our own ``ping`` if nothing else comes; None if not even that does."""
    with trio.move_on_after(QUIET):
        return str(await connection.get_message())
    with trio.move_on_after(ANSWER):
        # The message and not a Ping frame, whose Pong the library does not see behind two messages.
        await connection.send_message(encode({"type": "ping"}).decode())
        return str(await connection.get_message())
    return None


def _understand(text: str) -> Heard:
    """What there is to know of *text*; nothing if it is none of ours: whatever it is, somebody wants to see it."""
    try:
        return msgspec.json.decode(text, type=Heard)
    except msgspec.DecodeError:
        return Heard()


async def _is_for_machines(connection: WebSocketConnection, heard: Heard) -> bool:
    """Whether it is a heartbeat message of the server's, which is answered here, or its answer to ours."""
    if heard.type == "ping":
        await connection.send_message(encode({"type": "pong", "timestamp": heard.timestamp}).decode())
    return heard.type in ("ping", "pong")


def _refused(refused: ConnectionRejected) -> Ended:
    """The answer to a handshake that was refused for now.

    Raises:
      TailEnded: it was refused for good.
    """
    status = refused.status_code
    if 400 <= status < 500 and status not in _AGAIN:
        raise TailEnded(f"the server refused the connection with HTTP {status}") from refused
    wait = dict(refused.headers or ()).get(b"retry-after", b"").decode("latin-1")
    return Ended(None, f"HTTP {status}" + (f" retry-after={wait}" if wait else ""))
