"""The market: one snapshot of all prices each second, from any provider.

A provider makes frozen snapshots. Two are here: `CsvReplay` plays a recording in real time, `FunctionProvider` calls
a function of the user's. A client that falls behind gets the latest snapshot, not the ones it missed.
"""

from __future__ import annotations

import abc
import bisect
import csv
import importlib
import inspect
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from realtime.actors.broadcaster import RESTART, PeriodicBroadcaster
from realtime.delivery.hub import Hub
from supervisors import ChildSpec

if TYPE_CHECKING:
    from realtime.plugins import Services

MAX_ROWS: Final = 1_000_000
"""Of a recording: an hour of 30 symbols ten times a second, some 200 MB in memory."""


@attrs.frozen
class Quote:
    """The last price of one symbol, and what else its row says."""

    symbol: str
    price: float
    figures: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen
class MarketSnapshot:
    """All quotes at one moment: seconds after the recording's beginning, or whatever the provider says."""

    at: float | str
    quotes: tuple[Quote, ...]


class Provider(abc.ABC):
    """Where snapshots come from; any frozen class with a JSON form, of which equal ones are not sent twice."""

    @abc.abstractmethod
    async def snapshot(self) -> object:
        """The state of this moment."""


class FunctionProvider(Provider):
    """Calls *function* for each snapshot; a plain one in a thread, as it may block."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._threads = trio.CapacityLimiter(1)

    @classmethod
    def named(cls, name: str) -> FunctionProvider:
        """The function called ``module:name``.

        Raises:
          ValueError: it is not named so, or is no function.
          ImportError: there is no such module.
        """
        module, colon, attribute = name.partition(":")
        if not (module and colon and attribute):
            raise ValueError(f'call must be "module:function", not {name!r}')
        function = getattr(importlib.import_module(module), attribute, None)
        if not callable(function):
            raise ValueError(f"call: {name!r} is no function")
        return cls(function)

    async def snapshot(self) -> object:
        """See `Provider.snapshot`. Abandons the thread when cancelled."""
        if inspect.iscoroutinefunction(self._function):
            function: Callable[[], Awaitable[object]] = self._function
            return await function()
        return await trio.to_thread.run_sync(self._function, limiter=self._threads, abandon_on_cancel=True)


class BadRecording(ValueError):
    """The CSV file is no recording of prices; the text names the file, the line and the column."""


class CsvReplay(Provider):
    """Plays the recording *path* in real time, from its beginning each time it has come to its end.

    The file has a header with ``time``, ``symbol`` and ``price``, in any order, and whatever other columns of numbers.
    Times are seconds, or ISO 8601, and never go back; a row holds until the next one of its symbol.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = trio.current_time) -> None:
        self._path = path
        self._clock = clock
        self._began = 0.0
        self._rows: list[tuple[float, Quote]] = []
        self._last_step = 0.0
        # How far it has been played, and what the quotes are there.
        self._played = 0
        self._latest: dict[str, Quote] = {}
        self._threads = trio.CapacityLimiter(1)

    async def snapshot(self) -> MarketSnapshot:
        """See `Provider.snapshot`. The first reads the file, in a thread.

        Raises:
          BadRecording, OSError: the file cannot be used.
        """
        if not self._rows:
            self._rows = await trio.to_thread.run_sync(read_recording, self._path, limiter=self._threads)
            self._last_step = last_step(self._rows)
            self._began = self._clock()
        length = self._rows[-1][0] + self._last_step
        at = self._clock() - self._began
        return self._play(at % length if length > 0 else 0.0)

    def _play(self, at: float) -> MarketSnapshot:
        if self._played and self._rows[self._played - 1][0] > at:  # it begins again
            self._played = 0
            self._latest = {}
        upto = bisect.bisect_right(self._rows, at, lo=self._played, key=lambda row: row[0])
        self._latest.update((quote.symbol, quote) for _, quote in self._rows[self._played : upto])
        self._played = upto
        return MarketSnapshot(round(at, 3), tuple(self._latest[symbol] for symbol in sorted(self._latest)))


def read_recording(path: Path) -> list[tuple[float, Quote]]:
    """The rows of the recording *path*, each with its seconds after the first.

    Raises:
      BadRecording, OSError: the file cannot be used.
    """
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = list(_rows(path, csv.DictReader(file, strict=True)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadRecording(f"{path}: {error}") from error
    if not rows:
        raise BadRecording(f"{path} has no rows")
    first = rows[0][0]
    return [(time - first, quote) for time, quote in rows]


def last_step(rows: Sequence[tuple[float, Quote]]) -> float:
    """Seconds that the last rows are shown before it begins again: as long as those before them were, 0 without any."""
    end = rows[-1][0]
    return end - next((time for time, _ in reversed(rows) if time < end), end)


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[float, Quote]]:
    missing = [name for name in ("time", "symbol", "price") if name not in (reader.fieldnames or ())]
    if missing:
        raise BadRecording(f"{path} has no column {', '.join(missing)}")
    before = -math.inf
    for count, row in enumerate(reader, 1):
        where = f"{path}, line {reader.line_num}"
        if count > MAX_ROWS:
            raise BadRecording(f"{where}: a recording has at most {MAX_ROWS} rows")
        if None in row or None in row.values():
            raise BadRecording(f"{where}: it has not as many columns as the header")
        time = _time(row.pop("time"), where)
        if time < before:
            raise BadRecording(f"{where}, column time: it goes back")
        before = time
        symbol = row.pop("symbol")
        if not symbol:
            raise BadRecording(f"{where}, column symbol: it is empty")
        numbers = {name: _number(text, f"{where}, column {name}") for name, text in row.items() if text}
        if "price" not in numbers:
            raise BadRecording(f"{where}, column price: it is empty")
        yield time, Quote(symbol, numbers.pop("price"), numbers)


def _time(text: str, where: str) -> float:
    try:
        return _number(text, where)
    except BadRecording:
        pass  # not seconds: it may be a date
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRecording(f"{where}, column time: {text!r} is neither seconds nor ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadRecording(f"{where}: {text!r} is no number")
    return number


class SnapshotBroadcaster(PeriodicBroadcaster):
    """Publishes what *provider* has, if it changed, while somebody listens."""

    only_if_changed = True
    only_while_listened_to = True

    def __init__(self, hub: Hub, provider: Provider, *, topic: str, type: str = "snapshot", interval: float) -> None:
        super().__init__(hub, topic=topic, type=type, interval=interval)
        self._provider = provider

    async def sample(self) -> object:
        """The provider's snapshot."""
        return await self._provider.snapshot()


def children(
    services: Services, *, replay: Path | None = None, call: str | None = None, interval: float = 1.0
) -> list[ChildSpec]:
    """The actor module's entry point.

    Args:
      replay: a recording, see `CsvReplay`.
      call: or a function that returns a snapshot, as ``module:function``.
      interval: in seconds.

    Raises:
      ValueError: not exactly one of *replay* and *call* is given.
    """
    if (replay is None) == (call is None):
        raise ValueError('one of the options replay = "recording.csv" and call = "module:function" must be given')
    services.hub.declare("market", retain=True)
    provider = FunctionProvider.named(call) if call is not None else CsvReplay(replay or Path())
    market = SnapshotBroadcaster(services.hub, provider, topic="market", interval=interval)
    return [ChildSpec("market", market.run, backoff=RESTART)]
