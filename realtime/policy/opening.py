"""The plain case of a WebSocket's opening handshake, read in one go.

Plain is what clients send who want a WebSocket and nothing else: one whole request of HTTP/1.1 and not a byte more, a
path and a query without anything to decode, each header once. `read_opening` knows all of these or none: where it says
None, the bytes are for the general parsers, which know what else is allowed, and what is to be answered to what is not.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1
from typing import Final

import attrs

# Hypercorn's bound of a request's headers is the same.
MAX_BYTES: Final = 16 * 1024

# RFC 9112 section 3, less than it allows: no percent-encoding, one space, no white space around values.
_REQUEST: Final = re.compile(
    rb"GET (/[A-Za-z0-9/_.~-]*)(?:\?([A-Za-z0-9/_.~&=-]*))? HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
# RFC 6455 section 4.1: tokens, of which browsers and most clients make a list so.
_SUBPROTOCOLS: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:, [!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
# What changes how the request is to be read, or what is to be answered.
_NOT_PLAIN: Final = frozenset({"content-length", "transfer-encoding", "trailer", "te", "expect", "http2-settings"})
_CONNECTIONS: Final = frozenset({"upgrade", "keep-alive, upgrade"})
# RFC 6455 section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@attrs.frozen
class Opening:
    """A request that only wants a WebSocket, and is in order."""

    path: str
    headers: Mapping[str, str]
    """By name, in lower case."""
    query: str = ""
    """What follows the path's ``?``; nothing in it has to be decoded."""

    @property
    def accept(self) -> bytes:
        """The value of ``Sec-WebSocket-Accept`` (RFC 6455 section 4.2.2)."""
        return b64encode(sha1(self.headers["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest())

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers, in its order; empty if it offers none."""
        offered = self.headers.get("sec-websocket-protocol")
        return [] if offered is None else offered.split(", ")

    @property
    def parameters(self) -> Mapping[str, str] | None:
        """Of the query; None if one of them has no value, or more than one."""
        fields = [field.partition("=") for field in self.query.split("&")] if self.query else []
        found = {name: value for name, equals, value in fields if equals}
        return found if len(found) == len(fields) else None


def read_opening(data: bytes) -> Opening | None:
    """The opening handshake that *data* consists of; None if it is anything but plain."""
    if len(data) > MAX_BYTES:
        return None
    request = _REQUEST.fullmatch(data)
    if request is None:
        return None
    headers: dict[str, str] = {}
    lines = request[3].decode().split("\r\n")
    lines.pop()  # what follows the last line's end
    for line in lines:
        name, _, value = line.partition(": ")
        name = name.lower()
        if name in headers:
            return None
        headers[name] = value
    return Opening(request[1].decode(), headers, (request[2] or b"").decode()) if _in_order(headers) else None


def _in_order(headers: Mapping[str, str]) -> bool:
    return (
        "host" in headers
        and headers.get("upgrade", "").lower() == "websocket"
        and headers.get("connection", "").lower() in _CONNECTIONS
        and headers.get("sec-websocket-version") == "13"
        and _KEY.fullmatch(headers.get("sec-websocket-key", "")) is not None
        and _SUBPROTOCOLS.fullmatch(headers.get("sec-websocket-protocol", "none")) is not None
        and _NOT_PLAIN.isdisjoint(headers)
    )
