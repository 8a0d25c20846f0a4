"""The opening handshake as RFC 6455 wants it from a client, section 4.2.1.

| the request | status |
|---|---|
| is older than HTTP/1.1, has not one key, or one that is not 16 bytes in base64, or no version | 400 |
| has another version than 13, or several | 426, with ours |

A header that is a list may come in several lines (RFC 9110 section 5.3), here ``Connection``, ``Upgrade`` and
``Sec-WebSocket-Protocol``. What is compared is compared without case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

VERSION: Final = b"13"

# 16 bytes are 22 characters and two of padding.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

Headers = Iterable[tuple[bytes, bytes]]


@attrs.frozen
class Fault:
    """Why a handshake is refused: the status, and a sentence for the client."""

    status: int
    message: str


@attrs.frozen
class ClientHandshake:
    """What a client's request says of the WebSocket that it asks for."""

    key: bytes | None
    """None unless there is exactly one."""
    versions: tuple[bytes, ...]
    subprotocols: tuple[str, ...]
    """In the client's order: the first is liked best."""
    offers: tuple[str, ...]
    """The lines of ``Sec-WebSocket-Extensions``."""

    @property
    def fault(self) -> Fault | None:
        """What to refuse it with; None if it is in order."""
        if self.key is None:
            return Fault(400, "the request has to have one Sec-WebSocket-Key")
        if _KEY.fullmatch(self.key) is None:
            return Fault(400, "Sec-WebSocket-Key has to be 16 bytes in base64")
        if not self.versions:
            return Fault(400, "the request has to have a Sec-WebSocket-Version")
        if self.versions != (VERSION,):
            spoken = VERSION.decode()
            return Fault(426, f"the version of WebSocket that is spoken here is {spoken}; ask for that one alone")
        return None


def read_handshake(headers: Headers) -> ClientHandshake:
    """Read *headers* once.

    Raises:
      UnicodeDecodeError: a subprotocol or an extension is not ASCII.
    """
    keys: list[bytes] = []
    versions: list[bytes] = []
    subprotocols: list[str] = []
    offers: list[str] = []
    for name, value in headers:
        name = name.lower()
        if not name.startswith(b"sec-websocket-"):
            continue
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == b"sec-websocket-protocol":
            subprotocols += [token.decode("ascii") for token in _tokens(value)]
        elif name == b"sec-websocket-extensions":
            offers.append(value.decode("ascii"))
    key = keys[0] if len(keys) == 1 else None
    return ClientHandshake(key, tuple(versions), tuple(subprotocols), tuple(offers))


def wants_websocket(method: bytes, headers: Headers) -> bool:
    """Whether a request asks to become a WebSocket; if not, it is an ordinary one."""
    if method != b"GET":
        return False
    upgrades: set[bytes] = set()
    connection: set[bytes] = set()
    for name, value in headers:
        name = name.lower()
        if name == b"upgrade":
            upgrades.update(_tokens(value.lower()))
        elif name == b"connection":
            connection.update(_tokens(value.lower()))
    return b"websocket" in upgrades and b"upgrade" in connection


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.split(b",") if (token := part.strip())]
