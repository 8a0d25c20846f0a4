"""What a line of the log looks like, whoever wrote it."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from realtime import log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True, params=["alone", "in company"])
def restored_logging(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lines are alike, whether or not there is another handler, as pytest's, that wants to see records."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    if request.param == "alone":
        root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_has_time_level_event_and_logger_first(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    structlog.get_logger("realtime.hub").info("connected", connections=3)
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "logger", "connections"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("timestamp")))
    assert line == {"level": "info", "event": "connected", "logger": "realtime.hub", "connections": 3}


def test_auto_is_json_unless_it_is_a_terminal(stream: io.StringIO) -> None:
    terminal = Terminal()
    log.configure("info", "auto", stream)
    structlog.get_logger("a").info("to a file")
    log.configure("info", "auto", terminal)
    structlog.get_logger("a").info("to a terminal")
    assert [line["event"] for line in lines(stream)] == ["to a file"]
    assert "to a terminal" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_console_without_a_terminal_has_no_colours(stream: io.StringIO) -> None:
    log.configure("info", "console", stream)
    structlog.get_logger("realtime.hub").warning("slow", client="c1")
    assert re.fullmatch(r"\S+Z \[warning  \] slow +\[realtime\.hub\] client=c1\n", stream.getvalue())


def test_lines_of_the_standard_library_go_the_same_way(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    logging.getLogger("hypercorn.error").warning("lost %s", "it", extra={"port": 8000})
    (line,) = lines(stream)
    assert line["timestamp"]
    assert line.items() >= {"level": "warning", "event": "lost it", "logger": "hypercorn.error", "port": 8000}.items()


def test_what_is_bound_to_the_context_is_on_each_line(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(connection_id="c7"):
        structlog.get_logger("realtime").info("ours")
        logging.getLogger("quart.app").info("theirs")
    structlog.get_logger("realtime").info("after")
    assert [line.get("connection_id") for line in lines(stream)] == ["c7", "c7", None]


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_lines_below_the_level_are_left_out(level: str, seen: int, stream: io.StringIO) -> None:
    log.configure(level, "json", stream)
    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        logger.debug("x")
        logger.info("x")
        logger.warning("x")
        logger.error("x")
    assert len(lines(stream)) == 2 * seen


def test_an_exception_is_a_string_with_its_traceback_and_causes(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    try:
        try:
            raise KeyError("redis")
        except KeyError as cause:
            raise ExceptionGroup("gave up", [ValueError("first")]) from cause
    except ExceptionGroup as error:
        structlog.get_logger("a").error("crashed", exc_info=error)
        logging.getLogger("b").exception("crashed")
    ours, theirs = lines(stream)
    assert ours["exception"] == theirs["exception"]
    for part in ("Traceback (most recent call last)", "KeyError: 'redis'", "gave up", "ValueError: first"):
        assert part in str(ours["exception"])


def test_the_console_shows_the_traceback_below_the_line(stream: io.StringIO) -> None:
    log.configure("info", "console", stream)
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("a").exception("crashed")
    shown = stream.getvalue().splitlines()
    assert "crashed" in shown[0]
    assert shown[1] == "Traceback (most recent call last):"
    assert shown[-1] == "ValueError: boom"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(ValueError("x"), "ValueError('x')"), ("\udcff", "\udcff"), ([{1j: 3}], [{"1j": 3}]), (2**70, 2**70)],
)
def test_no_value_costs_a_line(value: object, shown: object, stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    structlog.get_logger("a").info("odd", value=value, n=1)
    (line,) = lines(stream)
    assert (line["value"], line["n"]) == (shown, 1)


def test_configuring_again_replaces_our_handler_and_no_other(stream: io.StringIO) -> None:
    foreign = logging.NullHandler()
    logging.getLogger().addHandler(foreign)
    before = len(logging.getLogger().handlers)
    first = io.StringIO()
    log.configure("info", "json", first)
    log.configure("info", "json", stream)
    logging.getLogger("a").info("once")
    assert first.getvalue() == ""
    assert len(lines(stream)) == 1
    assert len(logging.getLogger().handlers) == before + 1
    assert foreign in logging.getLogger().handlers


def test_other_handlers_see_our_lines_too(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    root, own = io.StringIO(), io.StringIO()
    logger = structlog.get_logger("a.b")
    logging.getLogger().addHandler(logging.StreamHandler(root))
    logger.info("first")
    logging.getLogger().handlers.pop()
    logging.getLogger("a").addHandler(logging.StreamHandler(own))
    logger.info("second")
    logging.getLogger("a").handlers.pop()
    logger.info("third")
    assert [line["event"] for line in lines(stream)] == ["first", "second", "third"]
    assert ("first" in root.getvalue(), "second" in own.getvalue()) == (True, True)


def test_levels_of_single_loggers_count(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    logging.getLogger("quiet").setLevel("ERROR")
    structlog.get_logger("quiet").info("not to be seen")
    structlog.get_logger("quiet").error("to be seen")
    assert [line["event"] for line in lines(stream)] == ["to be seen"]


def test_a_logger_without_a_name_has_that_of_its_module(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    structlog.get_logger().info("up")
    assert [line["logger"] for line in lines(stream)] == [__name__]


@pytest.mark.parametrize("method", ["info", "warning", "warn", "error", "exception", "critical", "fatal", "msg"])
def test_every_method_writes_a_line(method: str, stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    getattr(structlog.get_logger("a"), method)("up %s", 1)
    (line,) = lines(stream)
    assert line["event"] == "up 1"


def test_a_stream_that_fails_ends_nobody_s_work(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError("disk full")

    log.configure("info", "json", Broken())
    structlog.get_logger("a").info("lost")
    assert "disk full" in capsys.readouterr().err


def test_a_process_writes_json_to_its_standard_error() -> None:
    program = "import structlog, realtime.log as l; l.configure(); structlog.get_logger('a').info('up', port=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    line = json.loads(done.stderr)
    assert (line["event"], line["logger"], line["port"]) == ("up", "a", 1)
