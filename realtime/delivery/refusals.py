"""How often clients were refused something, by the code that they were told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import attrs

from realtime.messages import CloseCode

_NO_REFUSAL: Final = frozenset({CloseCode.NORMAL, CloseCode.RESTART})
"""Closes of ours that refuse nobody anything."""


@attrs.frozen
class RefusalStatistics:
    """Counts since the start: answers over HTTP, errors on open sockets, and closes, each by its code."""

    http: Mapping[str, int]
    errors: Mapping[str, int]
    closes: Mapping[str, int]


class Refusals:
    """Counts them. There are as many entries as codes, and codes are the server's own."""

    def __init__(self) -> None:
        self._http: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._closes: Counter[str] = Counter()

    def http(self, code: str) -> None:
        """A request was answered with the error *code*."""
        self._http[code] += 1

    def error(self, code: str) -> None:
        """A client's message was answered with the error *code*; its connection stays."""
        self._errors[code] += 1

    def close(self, code: int) -> None:
        """The server closed a connection with *code*, if that refuses anything."""
        if code not in _NO_REFUSAL:
            self._closes[str(int(code))] += 1

    def statistics(self) -> RefusalStatistics:
        """A frozen snapshot."""
        return RefusalStatistics(dict(self._http), dict(self._errors), dict(self._closes))
