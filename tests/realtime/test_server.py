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
from realtime.server import FAILED, LAST_RESORT, STUCK, Process, force_exit_after, prepare, tune_gc
from realtime.settings import SettingsError
from supervisors import ChildSpec, Ignore

from .in_process import make_settings

LOCAL = {"bind": "127.0.0.1:0", "gc": "default", "drain_timeout": 2.0, "drain_window": 0.0}


@pytest.fixture
def last_resorts(monkeypatch):
    """Seconds after which the process would have been ended; nothing ends the process of the tests."""
    seconds = []
    monkeypatch.setattr(server, "force_exit_after", seconds.append)
    return seconds


@pytest.fixture
def process(last_resorts):
    process = prepare(make_settings(server=LOCAL))
    yield process
    process.listener.close()


def below_broadcasters(process: Process, id, start, **options):
    process.system.actors.append(ChildSpec(id, start, **options))


async def lines_of_a_run(process, *, stop=(signal.SIGTERM,)):
    """Run *process*, send it the signals of *stop* one after the other once it serves; its status and its log."""
    with structlog.testing.capture_logs() as logs, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            if stop:
                nursery.start_soon(_send, process, stop)
            status = await process.run()
            nursery.cancel_scope.cancel()
    return status, logs


async def _send(process, signals):
    while process.system.backend.phase != "serving":  # noqa: ASYNC110  # it has no event to wait for
        await trio.sleep(0.001)
    for number in signals:
        os.kill(os.getpid(), number)
        await trio.sleep(0.05)


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
        while process.system.backend.phase != "serving":  # noqa: ASYNC110
            await trio.sleep(0.001)
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
    async def broken(*, task_status):
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
    status, logs = await lines_of_a_run(process, stop=[signal.SIGTERM, signal.SIGTERM])
    assert trio.current_time() - began < 1.0
    assert status == 0
    assert "stopped" not in events(logs, "info")


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


def test_the_last_resort_ends_the_process_and_says_why(monkeypatch):
    ended, statuses = threading.Event(), []
    monkeypatch.setattr(os, "_exit", lambda status: statuses.append(status) or ended.set())
    with structlog.testing.capture_logs() as logs:
        force_exit_after(0.001)
        assert ended.wait(5)
    assert statuses == [STUCK]
    assert [(line["event"], line["log_level"]) for line in logs] == [("stuck", "error")]
