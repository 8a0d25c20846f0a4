"""What to tell a client whose bytes are no request, in one sentence each.

| what came | what h11 says |
|---|---|
| TLS, on a port that has none | an illegal request line, of which it has taken nothing |
| no ``Host``, or several (RFC 9112 section 3.2) | the same |
| anything else | what it calls that, perhaps with the bytes, which are not repeated |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# RFC 8446 section 5.1: a handshake's record, of any version since SSL 3.0.
_TLS: Final = b"\x16\x03"

_SENTENCES: Final[Mapping[str, str]] = {
    "Missing mandatory Host: header": "the request has no Host header",
    "Found multiple Host: headers": "the request has more than one Host header",
    "illegal request line": "what came begins with no request line of HTTP/1.1",
    "illegal header line": "a line among the headers is no header",
}


def sentence(said: str, unread: bytes) -> str:
    """The message for the client.

    Args:
      said: h11's text.
      unread: what h11 has not taken.
    """
    if said == "illegal request line" and unread.startswith(_TLS):
        return "this port speaks HTTP without TLS, and what came is TLS"
    known = _SENTENCES.get(said) or _SENTENCES.get(said.partition(": ")[0])
    return known or f"the request is not as HTTP/1.1 has it: {said.partition(': ')[0]}"
