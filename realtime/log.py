"""Log lines: structlog's and the standard library's alike, for people or for programs.

Everything ends in one handler: our own lines and those of Hypercorn, Quart and Trio, each with what
`structlog.contextvars` holds (``connection_id``, ``request_id``). As JSON a line is one object with ``timestamp``,
``level``, ``event`` and ``logger`` first; an exception is a string in ``exception``.
"""

import json
import logging
import sys
from functools import lru_cache, partial, partialmethod
from time import time_ns
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from realtime.messages import now_iso

_FIRST = ("timestamp", "level", "event", "logger")
_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}


class _Output(logging.StreamHandler[TextIO]):
    """Marks our own handler, so that configuring again replaces it and leaves foreign ones alone."""

    def write(self, line: str) -> None:
        """Write *line* as `emit` would write a record, without one."""
        with self.lock:  # type: ignore[union-attr]
            try:
                self.stream.write(line + self.terminator)
                self.flush()
            except Exception:  # as `emit` has it: what cannot be logged is no reason to fail
                self.handleError(logging.makeLogRecord({"msg": line, "levelno": logging.ERROR}))


class _Logger:
    """What structlog hands its lines to: the standard library's logger, or the output itself.

    A line of ours that nobody else is there to see is written at once, in a fifth of the time that records, filters
    and formatters take: two for each connection are a tenth of what it costs.
    """

    def __init__(self, output: _Output, name: str) -> None:
        self.name = name
        self._output = output
        self._logger = logging.getLogger(name)

    def writes(self, level: int) -> bool:
        """Whether a line of *level* goes nowhere but to our output."""
        logger = self._logger
        if not logger.isEnabledFor(level):
            return False
        while logger.parent is not None:
            if logger.handlers or logger.filters or not logger.propagate:
                return False
            logger = logger.parent
        return len(logger.handlers) == 1 and logger.handlers[0] is self._output

    def _log(self, method: str, line: Any, **record: Any) -> None:
        if record:
            getattr(self._logger, method)(line, **record)
        else:
            self._output.write(line)

    debug = partialmethod(_log, "debug")
    info = partialmethod(_log, "info")
    warning = warn = partialmethod(_log, "warning")
    error = exception = partialmethod(_log, "error")
    critical = fatal = partialmethod(_log, "critical")


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Send what is logged from *level* on to *stream*, the standard error output unless given.

    Loggers keep the configuration of their first use, which makes a line below *level* nearly free: configure
    before anything is logged.

    Args:
      level: ``debug``, ``info``, ``warning`` or ``error``.
      format: ``console``, ``json``, or ``auto``: console on a terminal, else JSON.
    """
    stream = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_timestamp,
    ]
    console = stream.isatty() if format == "auto" else format == "console"
    handler = _Output(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_for_people(stream) if console else _for_programs()),
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Output)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    structlog.configure(
        processors=[*shared, _hand_over if console else _finish],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=partial(_make_logger, handler),
        cache_logger_on_first_use=True,
    )


def _make_logger(output: _Output, *names: str) -> _Logger:
    # Without a name it is that of the module that asks.
    return _Logger(output, names[0] if names else structlog.stdlib.LoggerFactory([__name__])().name)


_hand_over = structlog.stdlib.ProcessorFormatter.wrap_for_formatter


def _finish(logger: _Logger, method: str, event: EventDict) -> Any:
    """The line for programs, if nobody else wants to see it; else what the handlers make lines of."""
    if not logger.writes(_LEVELS[event["level"]]):
        return _hand_over(logger, method, event)  # type: ignore[arg-type]
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    return _to_json(_order(logger, method, event))


def _for_people(stream: TextIO) -> list[Processor]:
    # Plain: where `rich` is installed, the renderer would show local variables, and so perhaps a secret.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]


def _for_programs() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _order,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _add_timestamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    milliseconds = time_ns() // 1_000_000
    event["timestamp"] = f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"
    return event


@lru_cache(maxsize=2)
def _second(timestamp: int) -> str:
    """As on the wire, as far as the lines of one second have it in common."""
    return now_iso(timestamp).partition(".")[0]


def _order(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: event.pop(key) for key in _FIRST if key in event} | dict(event)


_encoder = msgspec.json.Encoder(enc_hook=repr)


def _to_json(event: EventDict, **_: Any) -> str:
    try:
        return _encoder.encode(event).decode()
    except ValueError:
        # A lone surrogate, as the name of a file may hold, has no UTF-8: escaped, rather than a line lost.
        plain = {str(key): _plain(value) for key, value in event.items()}
        return json.dumps(plain, separators=(",", ":"))


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | bool | None) else repr(value)
