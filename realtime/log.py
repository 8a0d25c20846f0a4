"""Log lines: structlog's and the standard library's alike, for people or for programs.

Everything ends in one handler: our own lines and those of Hypercorn, Quart and Trio, each with what
`structlog.contextvars` holds (``connection_id``, ``request_id``). As JSON a line is one object with ``timestamp``,
``level``, ``event`` and ``logger`` first; an exception is a string in ``exception``.
"""

import json
import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from realtime.messages import now_iso

_FIRST = ("timestamp", "level", "event", "logger")


class _Output(logging.StreamHandler[TextIO]):
    """Marks our own handler, so that configuring again replaces it and leaves foreign ones alone."""


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
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


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
    event["timestamp"] = now_iso()
    return event


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
