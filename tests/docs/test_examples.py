"""Every example runs, and prints what the pages say it prints."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.docs.play import play

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PATIENCE = 30.0
"""Seconds an example may take in real time: each needs less than two, on a machine that has time for it."""

TOLD = sorted(EXAMPLES.rglob("*.txt"))
PACKAGE = EXAMPLES / "plugin"
"""Installed, run and tested by test_plugin.py."""

IN_TESTS_OF_THEIR_OWN = {
    "alone.py",  # test_readme.py
    "blocked.py",
    "compression.py",
    "dice.py",  # test_readme.py
    "dump_on_signal.py",
    "events_alone.py",  # test_events.py
    "graceful.py",
    "keep_alive.py",
    "logging_events.py",
    "counter.py",  # these three in reload/
    "disk.py",  # these five in templates/: test_templates.py
    "door.py",
    "resize.py",
    "kitchen.py",  # in sessions/: test_sessions.py
    "sign_in.py",  # in access/: test_access.py
    "stock.py",
    "ticker.py",
    "main.py",
    "messages.py",
    "telemetry.py",
}


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told.stem)
def test_an_example_prints_what_the_page_shows(told: Path) -> None:
    """To renew the file: ``python -m tests.docs.play EXAMPLE.py > EXAMPLE.txt``."""
    assert play(told.with_suffix(".py")) == told.read_text(encoding="utf-8")


def test_the_examples_that_are_tests_pass() -> None:
    files = sorted(path for path in EXAMPLES.rglob("test_*.py") if PACKAGE not in path.parents)
    assert len(files) >= 3
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            EXAMPLES,
            *files,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLES)])},
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^\d+ passed in", ran.stdout, re.MULTILINE)


def test_no_example_is_left_out() -> None:
    files = {path for path in EXAMPLES.rglob("*.py") if PACKAGE not in path.parents}
    names = {path.name for path in files if not path.name.startswith("test_")}
    assert names == {path.with_suffix(".py").name for path in TOLD} | IN_TESTS_OF_THEIR_OWN


def test_the_settings_of_the_actor_module_are_those_of_the_readme() -> None:
    shown = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert (EXAMPLES / "dice.toml").read_text(encoding="utf-8") == shown[1]


def test_the_hook_for_opentelemetry_makes_a_span_of_each_life() -> None:
    spans, figures = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([figures]))
    play(EXAMPLES / "telemetry.py")

    lives = [span for span in spans.get_finished_spans() if span.name == "worker"]
    first = lives[0]
    assert first.end_time is not None
    assert first.start_time is not None
    assert (first.end_time - first.start_time) / 1e9 == pytest.approx(0.3)
    assert first.attributes == {"exit.reason": "crashed"}
    assert first.events[0].attributes["exception.message"] == "it happens"
    assert spans.get_finished_spans()[-1].name == "root"

    data = figures.get_metrics_data()
    assert data is not None
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    starts = {point.attributes["path"]: point.value for point in points}
    assert starts == {"": 1, "worker": len(lives)}


def test_the_hook_for_logging_tells_failures_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tree")
    assert play(EXAMPLES / "logging_events.py") == "{}\n"
    told = [record for record in caplog.records if record.name == "tree"]
    assert told[0].getMessage() == "Started: worker"
    delayed = next(record for record in told if record.getMessage() == "RestartDelayed: worker")
    assert delayed.levelno == logging.WARNING
    assert delayed.exc_info is not None
    assert repr(delayed.exc_info[1]) == "RuntimeError('it happens')"


@contextmanager
def running(name: str | Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An example as a process, which ends after :data:`PATIENCE` seconds at the latest."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = threading.Timer(PATIENCE, process.kill)
        end.start()
        try:
            yield process
        finally:
            end.cancel()
            process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read what it prints up to the first line that matches."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        found = re.search(pattern, line)
        if found is not None:
            return found
    raise AssertionError(f"{pattern!r} did not come:\n{''.join(lines)}")


def test_a_flaky_worker_and_an_external_program_are_kept_alive() -> None:
    with running("keep_alive.py") as process:
        first = int(read_until(process, r"^program: ready as process (\d+)$")[1])
        read_until(process, "^flaky has ended after .* s: crashed$")
        os.kill(first, signal.SIGKILL)
        read_until(process, "^program has ended after .* s: crashed$")
        second = int(read_until(process, r"^program: ready as process (\d+)$")[1])
        assert second != first
        read_until(process, "^program is up, generation 2$")
        read_until(process, "^flaky is restarted in .* s$")
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert re.search(r"^  program \(running, up \d+ s, 1 restarts\)", rest, re.MULTILINE)
        assert re.search(r"^program has ended after .* s: shutdown$", rest, re.MULTILINE)
        with pytest.raises(ProcessLookupError):
            os.kill(second, 0)


def test_any_external_program_is_kept_alive() -> None:
    with running("keep_alive.py", "sh", "-c", "echo one line; exit 3") as process:
        read_until(process, "^program: one line$")
        read_until(process, "^program has ended after .* s: crashed$")
        read_until(process, "^program is up, generation 2$")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_tree_in_an_orderly_way(number: signal.Signals) -> None:
    with running("graceful.py") as process:
        read_until(process, "^takes a job$")
        process.send_signal(number)
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert output.splitlines()[-3:] == ["stopping", "finishes the last job", "stopped"]


def test_code_is_changed_while_it_runs(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "reload", tmp_path, dirs_exist_ok=True)
    code = tmp_path / "counter.py"
    before = code.read_text(encoding="utf-8")
    with running(tmp_path / "main.py") as process:
        count = int(read_until(process, r"^(3) clicks, the last on the door$")[1])

        code.write_text(before.replace("clicks, the last", "clicks by now, the last"), encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        read_until(process, "^reloaded$")
        assert int(read_until(process, r"^(\d+) clicks by now, the last on the door$")[1]) > count

        code.write_text("(", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        read_until(process, r"^child 'counter' keeps its code: SyntaxError: ")
        read_until(process, r"^\d+ clicks by now, the last on the door$")


def test_a_dump_is_written_on_a_signal() -> None:
    with running("dump_on_signal.py") as process:
        read_until(process, "^up$")
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        assert any(re.search(r"in worker: await trio.sleep_forever\(\)$", line) for line in process.stderr)


def test_the_page_on_blocked_loops_shows_the_lines_that_are_named() -> None:
    page = (ROOT / "docs" / "how-to" / "blocked-loop.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"/srv/(blocked\.py:\d+ in \w+)", page))
    assert len(shown) == 3
    with running("blocked.py") as process:
        output, errors = process.communicate()
    assert errors == ""
    assert shown <= set(re.findall(r"blocked\.py:\d+ in \w+", output))
    assert re.search(r"^the loop was blocked for 0\.\d+ s by 'cruncher'", output, re.MULTILINE)
    assert re.search(r"'longest': 0\.\d+", output)


def test_a_message_is_told_its_compressed_size(tmp_path: Path) -> None:
    message = tmp_path / "message.json"
    message.write_text('{"reading":1}' * 100, encoding="utf-8")
    with running("compression.py", str(message)) as process:
        read_until(process, r"^ +bytes +compressed")
        bytes_, compressed = map(int, read_until(process, r"^ +(\d+) +(\d+) +\d+% +[\d.]+ +[\d.]+$").groups())
        assert process.wait(PATIENCE) == 0
    assert bytes_ == 1304
    assert 0 < compressed < 100
