import gc
import os
import signal
import socket
import threading

import pytest
import structlog.testing
import trio

from realtime import server
from realtime.sections import Engine
from realtime.server import BY_SIGNAL, FAILED, LAST_RESORT, STUCK, Process, call_after, prepare, tune_gc
from realtime.settings import SettingsError
from realtime.transport import open_listener
from supervisors import ChildSpec, Ignore

from .in_process import make_settings
from .waiting import until

LOCAL = {"bind": "127.0.0.1:0", "gc": "default", "drain_timeout": 2.0, "drain_window": 0.0}


@pytest.fixture
def last_resorts(monkeypatch):
    """Seconds after which the process would have been ended; nothing ends the process of the tests."""
    seconds = []
    monkeypatch.setattr(server, "call_after", lambda after, act: seconds.append(after))
    return seconds


@pytest.fixture
def process(last_resorts):
    process = prepare(make_settings(server=LOCAL))
    yield process
    process.listener.close()


def below_broadcasters(process: Process, id, start, **options):
    process.system.actors.append(ChildSpec(id, start, **options))


async def lines_of_a_run(process, *, stop=(signal.SIGTERM,)):
    """Run *process*, and take the steps of *stop* once it serves; its status and its log.

    A step is a signal to send, or an event of the log to wait for.
    """
    with structlog.testing.capture_logs() as logs, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            if stop:
                nursery.start_soon(_take_steps, process, stop, logs)
            status = await process.run()
            nursery.cancel_scope.cancel()
    return status, logs


async def _take_steps(process, steps, logs):
    await until(lambda: process.system.backend.phase == "serving")
    for step in steps:
        if isinstance(step, signal.Signals):
            os.kill(os.getpid(), step)
        else:
            await until(lambda step=step: any(line["event"] == step for line in logs))


def events(logs, level):
    return [line["event"] for line in logs if line["log_level"] == level]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_an_orderly_way(process, last_resorts, number):
    status, logs = await lines_of_a_run(process, stop=[number])
    assert status == 0
    assert [event for event in events(logs, "info") if event in ("serving", "stopping", "stopped")] == [
        "serving",
        "stopping",
        "stopped",
    ]
    assert events(logs, "warning") == events(logs, "error") == []
    assert last_resorts == [2.0 + LAST_RESORT]


async def test_it_serves_where_it_says(process):
    async def ask():
        await until(lambda: process.system.backend.phase == "serving")
        stream = await trio.open_tcp_stream(*process.listener.getsockname())
        async with stream:
            await stream.send_all(b"GET /api/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer.append(b"".join([part async for part in stream]))
        os.kill(os.getpid(), signal.SIGTERM)

    answer = []
    url = process.url
    with structlog.testing.capture_logs() as logs, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            assert await process.run() == 0
    assert answer[0].startswith(b"HTTP/1.1 200 ")
    (serving,) = [line for line in logs if line["event"] == "serving"]
    assert (serving["url"], serving["pid"]) == (url, os.getpid())


async def test_the_socket_is_closed_behind_it(process):
    await lines_of_a_run(process)
    assert process.listener.fileno() == -1


async def test_a_tree_that_does_not_come_up_ends_it_with_an_error(process, monkeypatch):
    async def broken(**_: object):
        await trio.lowlevel.checkpoint()
        raise OSError("no such folder")

    monkeypatch.setattr(process.system.store, "run", broken)
    status, logs = await lines_of_a_run(process, stop=())
    assert status == FAILED
    (line,) = [line for line in logs if line["event"] == "server_failed"]
    assert "no such folder" in line["reason"]
    assert process.listener.fileno() == -1


async def test_a_tree_that_gives_up_ends_it_with_an_error(process):
    async def failing():
        await trio.lowlevel.checkpoint()
        raise RuntimeError("again and again")

    below_broadcasters(process, "failing", failing)
    status, logs = await lines_of_a_run(process, stop=())
    assert status == FAILED
    (line,) = [line for line in logs if line["event"] == "server_failed"]
    assert line["log_level"] == "error"


async def test_one_child_that_declines_to_start_is_no_failure(process):
    async def declining(*, task_status):
        await trio.lowlevel.checkpoint()
        raise Ignore

    below_broadcasters(process, "declining", declining)
    status, _ = await lines_of_a_run(process)
    assert status == 0


async def test_the_second_signal_does_not_wait_for_anybody(process):
    async def stubborn(*, stopping, task_status):
        task_status.started()
        await trio.sleep_forever()

    below_broadcasters(process, "stubborn", stubborn, shutdown=600.0)
    began = trio.current_time()
    status, logs = await lines_of_a_run(process, stop=[signal.SIGTERM, "stopping", signal.SIGTERM])
    assert trio.current_time() - began < 1.0
    assert status == BY_SIGNAL + signal.SIGTERM == 143
    assert "stopped" not in events(logs, "info")


async def test_however_long_that_takes_the_process_ends_a_second_later(process, monkeypatch):
    """A client that was just being told has two seconds to answer; whoever asked twice has not."""

    async def lingering():
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(0.2, shield=True):
                await trio.sleep_forever()

    resorts, statuses = [], []
    monkeypatch.setattr(server, "call_after", lambda after, act: resorts.append((after, act)))
    monkeypatch.setattr(os, "_exit", statuses.append)
    below_broadcasters(process, "lingering", lingering, shutdown=600.0)
    steps = [signal.SIGTERM, "stopping", signal.SIGINT, "ending_at_once", signal.SIGTERM]
    status, _ = await lines_of_a_run(process, stop=steps)
    assert status == BY_SIGNAL + signal.SIGINT == 130
    assert [after for after, _ in resorts] == [2.0 + LAST_RESORT, LAST_RESORT]
    resorts[1][1]()
    assert statuses == [130]


async def test_what_does_not_stop_is_cut_off_at_the_deadline(process):
    async def stubborn(*, stopping, task_status):
        task_status.started()
        await trio.sleep_forever()

    below_broadcasters(process, "stubborn", stubborn, shutdown=600.0)
    began = trio.current_time()
    status, _ = await lines_of_a_run(process)
    assert status == 0
    assert 1.0 < trio.current_time() - began < 2.0


async def test_a_signal_while_it_starts_ends_it_at_once(process):
    async def slow(*, task_status):
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep_forever()

    below_broadcasters(process, "slow", slow)
    status, logs = await lines_of_a_run(process, stop=())
    assert status == 0
    assert "serving" not in events(logs, "info")


# --- what it is made of --------------------------------------------------------------------------------------------


def test_an_address_that_is_taken_is_an_error_before_anything_runs():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            prepare(make_settings(server={"bind": f"127.0.0.1:{port}"}))


def test_settings_are_judged_before_the_socket_is_bound(monkeypatch):
    monkeypatch.setattr(server, "open_listener", lambda bind: pytest.fail("it was bound"))
    with pytest.raises(SettingsError):
        prepare(make_settings(engine=Engine(url="redis://localhost")))


def test_the_url_of_an_ipv6_address_has_brackets(last_resorts):
    try:
        process = prepare(make_settings(server={"bind": "[::1]:0"}))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with process.listener:
        assert process.url == f"http://[::1]:{process.listener.getsockname()[1]}"


def test_the_url_with_a_certificate_is_https(tmp_path):
    files = {"certfile": tmp_path / "c.pem", "keyfile": tmp_path / "k.pem"}
    process = prepare(make_settings(server={"bind": "127.0.0.1:0", **files}))
    with process.listener:
        assert process.url.startswith("https://127.0.0.1:")


@pytest.fixture
def collector(monkeypatch):
    """What was asked of the garbage collector, which is left as it is."""
    asked = []
    for name in ("collect", "freeze", "set_threshold"):
        monkeypatch.setattr(gc, name, lambda *args, name=name: asked.append((name, *args)))
    return asked


def test_the_garbage_collector_is_tuned(collector):
    tune_gc(make_settings())
    assert collector == [("collect",), ("freeze",), ("set_threshold", 100_000, 50, 100)]


def test_unless_the_settings_say_otherwise(collector):
    tune_gc(make_settings(server={"gc": "default"}))
    assert collector == []


# --- the last resort -----------------------------------------------------------------------------------------------


def test_something_is_called_after_a_while_whatever_the_loop_does():
    called = threading.Event()
    call_after(0.001, called.set)
    assert called.wait(5)


def test_the_last_resort_ends_the_process_and_says_why(process, monkeypatch):
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    with structlog.testing.capture_logs() as logs:
        process._cut_short()
    assert statuses == [STUCK]
    assert [(line["event"], line["log_level"]) for line in logs] == [("stuck", "error")]


# --- restarts ------------------------------------------------------------------------------------------------------


class Program:
    """Stands for what takes the process's place: nothing does, in the tests."""

    def __init__(self, refusal=None, error=None, count=0):
        self.count = count
        self.checks = 0
        self.begun = []
        self.checked = trio.Event()
        self._refusal = refusal
        self._error = error

    async def refusal(self, environ):
        self.checks += 1
        await self.checked.wait()
        return self._refusal

    def begin_anew(self, listener, environ):
        self.begun.append(listener)
        if self._error is not None:
            raise self._error


@pytest.fixture
def restartable(process):
    """Gives a process its successor."""
    before = signal.getsignal(signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def give(*args, checked=True, **options):
        process.restart = Program(*args, **options)
        if checked:
            process.restart.checked.set()
        return process

    yield give
    signal.signal(signal.SIGUSR2, before)


async def test_asked_to_restart_it_drains_and_leaves_the_socket_open(restartable, last_resorts):
    process = restartable()
    status, logs = await lines_of_a_run(process, stop=[signal.SIGUSR2])
    assert status is None
    (stopping,) = [line for line in logs if line["event"] == "stopping"]
    assert stopping["then"] == "restart"
    assert events(logs, "warning") == events(logs, "error") == []
    assert process.listener.fileno() != -1
    assert process.restart.begun == []  # the loop has to end first, so that is for whoever runs it
    assert last_resorts == [2.0 + LAST_RESORT]


async def test_what_would_not_come_up_is_refused_and_the_old_one_goes_on(restartable):
    process = restartable(refusal="server.bnd is not known")
    status, logs = await lines_of_a_run(process, stop=[signal.SIGUSR2, "restart_refused", signal.SIGTERM])
    assert status == 0
    (refused,) = [line for line in logs if line["event"] == "restart_refused"]
    assert (refused["log_level"], refused["reason"]) == ("error", "server.bnd is not known")
    (stopping,) = [line for line in logs if line["event"] == "stopping"]
    assert stopping["then"] == "end"
    assert process.listener.fileno() == -1


async def test_asked_again_while_it_is_about_to_it_restarts_once(restartable):
    process = restartable(checked=False)
    steps = [signal.SIGUSR2, "restart_asked_for", signal.SIGUSR2, "restart_ignored", signal.SIGTERM]
    status, logs = await lines_of_a_run(process, stop=steps)
    assert (status, process.restart.checks) == (0, 1)
    assert events(logs, "info").count("restart_ignored") == 1
    assert "restart_refused" not in events(logs, "error")


async def drains_for_long(*, stopping, task_status):
    task_status.started()
    await trio.sleep_forever()


async def test_a_signal_to_end_calls_the_restart_off_and_the_drain_goes_on(restartable):
    process = restartable()
    below_broadcasters(process, "slow", drains_for_long, shutdown=600.0)
    status, logs = await lines_of_a_run(process, stop=[signal.SIGUSR2, "stopping", signal.SIGTERM])
    assert status == 0
    assert "restart_called_off" in events(logs, "info")
    assert "stopped" in events(logs, "info")
    assert process.listener.fileno() == -1


async def test_and_one_more_ends_it_at_once(restartable):
    process = restartable()
    below_broadcasters(process, "slow", drains_for_long, shutdown=600.0)
    steps = [signal.SIGUSR2, "stopping", signal.SIGTERM, "restart_called_off", signal.SIGTERM]
    status, _ = await lines_of_a_run(process, stop=steps)
    assert status == BY_SIGNAL + signal.SIGTERM


async def test_asked_while_it_starts_it_restarts_once_it_is_up(restartable):
    async def starting(*, task_status):
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(lambda: process.restart.checks)
        task_status.started()
        await trio.sleep_forever()

    process = restartable()
    below_broadcasters(process, "starting", starting)
    status, logs = await lines_of_a_run(process, stop=())
    assert status is None
    told = [event for event in events(logs, "info") if event in ("serving", "stopping", "stopped")]
    assert told == ["serving", "stopping", "stopped"]


async def test_a_tree_that_gives_up_meanwhile_does_not_restart(restartable):
    process = restartable(checked=False)
    below_broadcasters(process, "failing", again_and_again)
    os.kill(os.getpid(), signal.SIGUSR2)
    status, _ = await lines_of_a_run(process, stop=())
    assert status == FAILED
    assert process.listener.fileno() == -1


async def again_and_again():
    await trio.lowlevel.checkpoint()
    raise RuntimeError("again and again")


async def test_clients_are_told_to_come_back_when_a_start_can_be_done(restartable, mock_clock):
    """The check takes about as long as a start."""
    process = restartable(checked=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(check_takes, process, 1.3, mock_clock)
        await lines_of_a_run(process, stop=[signal.SIGUSR2])
    assert 1.3 <= process.system.backend.absence < 3


async def test_but_not_to_stay_away_for_as_long_as_a_slow_check(restartable, monkeypatch, mock_clock):
    process = restartable(checked=False)
    monkeypatch.setattr(server, "LONGEST_ABSENCE", 1.1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(check_takes, process, 1.3, mock_clock)
        await lines_of_a_run(process, stop=[signal.SIGUSR2])
    assert process.system.backend.absence == 1.1


async def check_takes(process, seconds, clock):
    clock.rate = 1.0  # what the sockets and threads do takes its time as well
    await until(lambda: process.restart.checks)
    clock.jump(seconds)
    process.restart.checked.set()


def test_a_tree_that_does_not_stop_is_replaced_all_the_same(restartable, monkeypatch):
    process = restartable()
    process._again = True
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    with structlog.testing.capture_logs() as logs:
        process._cut_short()
    assert process.restart.begun == [process.listener]
    assert events(logs, "error") == ["stuck"]


def test_or_the_process_ends_if_that_fails(restartable, monkeypatch):
    process = restartable(error=OSError("no such program"))
    process._again = True
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    with structlog.testing.capture_logs() as logs:
        process._cut_short()
    assert statuses == [STUCK]
    assert events(logs, "error") == ["stuck", "restart_failed"]


async def test_how_often_it_has_begun_anew_is_told(last_resorts):
    process = prepare(make_settings(server=LOCAL), Program(count=3))
    _, logs = await lines_of_a_run(process)
    (serving,) = [line for line in logs if line["event"] == "serving"]
    assert serving["restarts"] == process.system.backend.restarts == 3


# --- a socket that was handed over ---------------------------------------------------------------------------------


@pytest.fixture
def handed_over(monkeypatch):
    """A socket as `take_over` gives it."""
    with open_listener("127.0.0.1:0") as listener:
        monkeypatch.setattr(server, "take_over", lambda environ: listener)
        monkeypatch.setattr(server, "open_listener", lambda bind: pytest.fail("it was bound"))
        yield listener


def test_a_socket_that_was_handed_over_is_used(handed_over):
    port = handed_over.getsockname()[1]
    with structlog.testing.capture_logs() as logs:
        for bind in ("127.0.0.1:0", f"127.0.0.1:{port}", f"localhost:{port}"):
            assert prepare(make_settings(server={"bind": bind})).listener is handed_over
    assert logs == []


def test_and_wins_over_another_bind_which_is_said(handed_over):
    with structlog.testing.capture_logs() as logs:
        assert prepare(make_settings(server={"bind": "127.0.0.1:1"})).listener is handed_over
    (line,) = logs
    assert (line["event"], line["log_level"], line["bind"]) == ("bind_ignored", "warning", "127.0.0.1:1")
    assert f"127.0.0.1:{handed_over.getsockname()[1]}" in line["reason"]


async def test_it_is_tuned_once_the_tree_is_up(monkeypatch):
    process = prepare(make_settings(server={"bind": "127.0.0.1:0"}))
    seen = []
    tuned = trio.Event()

    def tune(settings):
        seen.append((process._tree is not None, settings))
        tuned.set()

    monkeypatch.setattr("realtime.server.tune_gc", tune)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        with trio.fail_after(5):
            await tuned.wait()
        nursery.cancel_scope.cancel()
    assert seen == [(True, process.settings)]
