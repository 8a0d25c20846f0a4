"""permessage-deflate (RFC 7692): which offer of a client's is accepted, and with which answer.

Every offer that is accepted gets the same answer, because one compressed frame is to serve all who agreed:

* ``server_no_context_takeover``: each message is compressed by itself, so its frame suits every connection.
* ``client_no_context_takeover``: nothing has to be kept of a client's messages. It may be demanded unasked
  (section 7.1.1.2).
* ``server_max_window_bits=12``: said even if it was not asked for (section 7.1.2.1), so that a client need not
  keep more than 4 KiB for us. A client that can keep less yet is declined: it would need frames of its own.
* ``client_max_window_bits`` is left out: what a client sends is read with the largest window there is, which lives
  no longer than the reading.

An offer is declined if anything in it is unknown, doubled or has a value it must not have (section 7.1); the next one
is then looked at, in the client's order of preference (section 5). Pure: imports no Trio.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

NAME: Final = "permessage-deflate"
# 4 KiB. With less, a message of a few KiB gets larger and takes longer to compress; with more it gains little, and a
# client like Python's `websockets`, which offers 12, would have to go without.
WINDOW_BITS: Final = 12
ANSWER: Final = f"{NAME}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits={WINDOW_BITS}"

# RFC 9110 sections 5.6.2 (token), 5.6.3 (white space) and 5.6.4 (quoted-string).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SPACE: Final = re.compile(r"[ \t]*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
# RFC 7692 section 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
_WINDOW_BITS: Final = re.compile("[89]|1[0-5]")


class MalformedExtensions(ValueError):
    """A ``Sec-WebSocket-Extensions`` header is none: the handshake fails (RFC 6455 section 9.1)."""


@attrs.frozen
class Offer:
    """One extension that a client offers, with its parameters as they came; a parameter without ``=`` has None."""

    name: str
    parameters: tuple[tuple[str, str | None], ...] = ()


def negotiate(headers: Iterable[str]) -> str | None:
    """What to answer to the ``Sec-WebSocket-Extensions`` *headers* of a request; None accepts nothing.

    Raises:
      MalformedExtensions: one of them is malformed, wherever in it.
    """
    offers = [offer for header in headers for offer in parse(header)]
    return ANSWER if any(acceptable(offer) for offer in offers) else None


def acceptable(offer: Offer) -> bool:
    """Whether *offer* is permessage-deflate, valid, and one that `ANSWER` accepts."""
    names = [name for name, _ in offer.parameters]
    return (
        offer.name == NAME
        and len(set(names)) == len(names)
        and all(_suits(name, value) for name, value in offer.parameters)
    )


def _suits(name: str, value: str | None) -> bool:
    match name:
        case "server_no_context_takeover" | "client_no_context_takeover":
            return value is None
        case "server_max_window_bits":
            return value is not None and _is_window(value) and int(value) >= WINDOW_BITS
        case "client_max_window_bits":
            return value is None or _is_window(value)
    return False


def _is_window(value: str) -> bool:
    return _WINDOW_BITS.fullmatch(value) is not None


def parse(header: str) -> list[Offer]:
    """The extensions in one header, in order (RFC 6455 section 9.1; empty items as RFC 9110 section 5.6.1 allows).

    Raises:
      MalformedExtensions: saying where.
    """
    return _Reader(header).extensions()


class _Reader:
    """Reads one header from left to right, never back; each step leaves no white space ahead."""

    def __init__(self, header: str) -> None:
        self._header = header
        self._at = 0
        self._skip_space()

    def extensions(self) -> list[Offer]:
        found: list[Offer] = []
        while True:
            while self._took(","):
                pass
            if self._at == len(self._header):
                return found
            found.append(Offer(self._token(), tuple(self._parameters())))
            if self._at < len(self._header) and not self._took(","):
                raise self._malformed("',' or ';'")

    def _parameters(self) -> Iterator[tuple[str, str | None]]:
        while self._took(";"):
            yield self._token(), self._value() if self._took("=") else None

    def _value(self) -> str:
        if not self._header.startswith('"', self._at):
            return self._token()
        quoted = _QUOTED.match(self._header, self._at)
        value = "" if quoted is None else _ESCAPED.sub(r"\1", quoted[1])
        # RFC 6455 section 9.1: without its quotes it has to be a token, too.
        if quoted is None or _TOKEN.fullmatch(value) is None:
            raise self._malformed("a quoted token")
        self._at = quoted.end()
        self._skip_space()
        return value

    def _token(self) -> str:
        token = _TOKEN.match(self._header, self._at)
        if token is None:
            raise self._malformed("a token")
        self._at = token.end()
        self._skip_space()
        return token[0]

    def _took(self, mark: str) -> bool:
        """Step over *mark* and the white space behind it, if it is next."""
        if not self._header.startswith(mark, self._at):
            return False
        self._at += len(mark)
        self._skip_space()
        return True

    def _skip_space(self) -> None:
        space = _SPACE.match(self._header, self._at)
        assert space is not None  # it matches nothing as well
        self._at = space.end()

    def _malformed(self, wanted: str) -> MalformedExtensions:
        return MalformedExtensions(f"{wanted} expected at character {self._at} of {self._header!r}")
