"""A client that prints a stream and comes back when it breaks; it needs the extra ``client``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

import trio
import trio_websocket
from trio_websocket import ConnectionClosed, HandshakeError

from realtime.messages import encode
from realtime.policy.reconnect import reconnect_delay

ALIVE = 90.0
"""Seconds without a message after which the connection counts as broken: three intervals of the server's heartbeat."""


class TailEnded(Exception):
    """The server will not have us back; the text says with which code."""


async def tail(
    url: str,
    max_messages: int | None = None,
    topics: Sequence[str] = (),
    *,
    print_line: Callable[[str], object] = print,
    note: Callable[[str], object] = print,
    chance: Callable[[], float] = random.random,
) -> None:
    """Print each message of the stream at *url*, one a line, until *max_messages* are printed or it is cancelled.

    Reconnects with exponential backoff and jitter; *note* is told of each connection that ends.

    Raises:
      TailEnded: the server closed with a code after which there is no coming back, or refused the handshake for good.
    """
    printed = attempt = 0
    while True:
        code, reason = None, ""
        try:
            async with trio_websocket.open_websocket_url(url) as connection:
                for topic in topics:
                    await connection.send_message(encode({"type": "subscribe", "topic": topic}).decode())
                while max_messages is None or printed < max_messages:
                    with trio.fail_after(ALIVE):
                        text = str(await connection.get_message())
                    attempt = 0
                    if await _is_ping(connection, text):
                        continue
                    print_line(text)
                    printed += 1
                return
        except ConnectionClosed as closed:
            # The library gives no reason where the peer vanished without a Close frame.
            code, reason = (1006, "") if closed.reason is None else (closed.reason.code, closed.reason.reason or "")
        except trio_websocket.ConnectionRejected as refused:
            if 400 <= refused.status_code < 500:
                raise TailEnded(f"the server refused the connection with HTTP {refused.status_code}") from refused
            reason = f"HTTP {refused.status_code}"
        except trio.TooSlowError:
            reason = f"nothing came for {ALIVE:g} s"
        except (OSError, HandshakeError) as error:
            reason = str(error) or str(error.__cause__ or type(error).__name__)
        attempt += 1
        delay = reconnect_delay(code, reason, attempt, chance)
        if delay is None:
            raise TailEnded(f"the server closed the stream: {code} {reason}".rstrip())
        note(f"connection ended ({code or 'no connection'} {reason}); trying again in {delay:.1f} s")
        await trio.sleep(delay)


async def _is_ping(connection: trio_websocket.WebSocketConnection, text: str) -> bool:
    """Answer the server's heartbeat message, which is not for people."""
    if text.startswith('{"type":"ping"'):
        await connection.send_message(encode({"type": "pong", "timestamp": json.loads(text).get("timestamp")}).decode())
        return True
    return False
