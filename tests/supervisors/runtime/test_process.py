"""External programs as children, with real processes; each ends within a moment of real time."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisors import (
    BRUTAL_KILL,
    Backoff,
    ChildSpec,
    Command,
    Exited,
    FileDescriptor,
    Line,
    Port,
    ProcessFailed,
    Program,
    RestartIntensityExceeded,
    StartError,
    SupervisorSpec,
)
from supervisors.runtime import process as process_module
from supervisors.testing import RunningTree, running

SLEEP = "exec sleep 60"


def shell(script: str, **options: Any) -> Command:
    """A program that is a small script; the shell is the program here, not what starts it."""
    return Command(["/bin/sh", "-c", script], **options)


def python(script: str, **options: Any) -> Command:
    """A program that is given a descriptor, which not every shell can write to."""
    script = f"import os, time; fd = int(os.environ['READY_FD']); {script}"
    return Command([sys.executable, "-ISc", script], **options)


def alone(command: Command, **options: Any) -> SupervisorSpec:
    options.setdefault("restart", "temporary")
    return SupervisorSpec([ChildSpec("program", command, **options)])


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # One that nobody has reaped yet, say a grandchild whose new parent is slow, has ended all the same.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


async def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something outside of this process, which tells nobody."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await trio.sleep(0.005)


async def written(path: Path) -> str:
    """The line that a program writes into a file."""
    texts = [""]

    def complete() -> bool:
        texts[0] = path.read_text() if path.exists() else ""
        return texts[0].endswith("\n")

    await wait_for(complete)
    return texts[0].strip()


async def ended(tree: RunningTree, path: str = "program") -> Exited:
    def exits() -> list[Exited]:
        return [event for event in tree.events if isinstance(event, Exited) and event.path == path]

    with trio.fail_after(5):
        await tree.wait_until(lambda: bool(exits()), f"the end of {path}")
    return exits()[-1]


# ------------------------------------------------------------------- how it ends


async def test_exit_status_0_is_a_normal_end() -> None:
    async with running(alone(shell("exit 0"))) as tree:
        assert (await ended(tree)).exit.reason == "normal"


async def test_another_exit_status_is_a_crash_with_status_and_last_lines() -> None:
    async with running(alone(shell("echo one; echo two >&2; exit 3"))) as tree:
        error = (await ended(tree)).exit.error
    assert isinstance(error, ProcessFailed)
    assert (error.status, error.signal, error.ready) == (3, None, True)
    assert sorted(error.lines) == ["one", "two"]
    assert str(error).startswith("/bin/sh -c 'echo one; echo two >&2; exit 3' exited with status 3; its last lines:\n")


async def test_each_line_of_output_can_be_had() -> None:
    heard: list[tuple[str, str]] = []
    command = shell("echo one; echo two >&2; printf three", on_line=lambda *line: heard.append(line))
    async with running(alone(command)) as tree:
        await ended(tree)
    assert sorted(heard) == [("stderr", "two"), ("stdout", "one"), ("stdout", "three")]


async def test_a_signal_that_nobody_here_sent_is_a_crash_that_names_it() -> None:
    async with running(alone(shell("kill -SEGV $$"))) as tree:
        error = (await ended(tree)).exit.error
    assert isinstance(error, ProcessFailed)
    assert (error.status, error.signal, error.lines) == (None, "SIGSEGV", ())
    assert "was killed by SIGSEGV; without any output" in str(error)


async def test_statuses_can_be_declared_ok() -> None:
    async with running(alone(shell("exit 75", ok_statuses=(0, 75)))) as tree:
        assert (await ended(tree)).exit.reason == "normal"


async def test_a_transient_program_is_restarted_after_a_failure_and_not_after_success(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = shell(f"test -e {mark} && exit 0; : > {mark}; exit 1")
    async with running(alone(command, restart="transient", backoff=Backoff(first=0.01, maximum=0.01))) as tree:
        with trio.fail_after(5):
            await tree.wait_until(lambda: "exited program normal" in tree.story)
        tree.assert_sequence("exited program crashed", "restarting program", "exited program normal")


async def test_a_program_that_keeps_failing_uses_up_the_budget_and_its_error_is_the_cause() -> None:
    with pytest.RaisesGroup(ProcessFailed, ProcessFailed, match="failed 2 times") as caught:
        async with running(SupervisorSpec([ChildSpec("program", shell("exit 9"))], max_restarts=1)):
            await trio.sleep_forever()
    assert isinstance(caught.value, RestartIntensityExceeded)


# --------------------------------------------------------------------- readiness


async def test_without_a_readiness_it_is_up_once_started_and_the_tree_shows_its_pid() -> None:
    async with running(alone(shell(SLEEP))) as tree:
        stats = tree.find("program").stats
        assert not gone(stats["pid"])
        assert os.getpgid(stats["pid"]) == stats["pid"] != os.getpgid(0)
    assert gone(stats["pid"])


@pytest.mark.parametrize("stream", ["stdout", "stderr", None])
async def test_it_is_up_once_a_line_says_so(stream: Any) -> None:
    noise, word = ("1", "2") if stream == "stderr" else ("2", "1")
    script = f"echo ready-not >&{noise}; echo preparing >&{word}; echo server ready-now >&{word}; {SLEEP}"
    async with running(alone(shell(script, ready=Line(rb"ready-now$", stream)))) as tree:
        stats = tree.find("program").stats
        assert stats["stdout_lines" if word == "1" else "stderr_lines"] == 2


async def test_the_other_stream_does_not_make_it_up() -> None:
    command = shell("echo ready; exit 1", ready=Line(rb"ready", "stderr"))
    with pytest.raises(StartError, match="exited with status 1 before it was ready; its last lines:\nready"):
        async with running(alone(command)):
            raise AssertionError("it is not up")


async def test_it_is_up_once_its_port_accepts() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = f"import socket; s = socket.create_server(('127.0.0.1', {port}))\nwhile True: s.accept()"
    command = Command([sys.executable, "-ISc", script], ready=Port("127.0.0.1", port))
    async with running(alone(command)):
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()


async def test_it_is_up_once_it_writes_a_newline_to_the_descriptor_it_was_given() -> None:
    script = "os.write(fd, b'soon'); print(os.environ['MINE'], flush=True); os.write(fd, b'\\n'); time.sleep(60)"
    async with running(alone(python(script, ready=FileDescriptor(), env={"MINE": "kept"}))) as tree:
        assert tree.find("program").state == "running"


async def test_it_is_up_once_it_closes_the_descriptor_and_goes_on() -> None:
    async with running(alone(python("os.close(fd); time.sleep(60)", ready=FileDescriptor()))) as tree:
        assert tree.find("program").state == "running"


@pytest.mark.parametrize("ready", [Line(rb"x"), Port("127.0.0.1", 1), FileDescriptor()])
async def test_ending_before_it_is_ready_is_a_failed_start_even_with_status_0(ready: Any) -> None:
    with pytest.raises(StartError) as caught:
        async with running(alone(shell("echo bye; exit 0", ready=ready))):
            raise AssertionError("it is not up")
    cause = caught.value.__cause__
    assert isinstance(cause, ProcessFailed)
    assert (cause.status, cause.ready, cause.lines) == (0, False, ("bye",))


async def test_not_being_ready_within_start_timeout_is_a_failed_start_that_leaves_nothing(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    command = shell(f"echo $$ > {note}; {SLEEP}", ready=Line(rb"never"))
    with pytest.raises(StartError, match="not up within its start_timeout"):
        async with running(alone(command, start_timeout=0.2)):
            raise AssertionError("it is not up")
    assert gone(int(await written(note)))


async def test_a_program_that_does_not_exist_is_a_failed_start() -> None:
    with pytest.raises(StartError) as caught:
        async with running(alone(Command(["/nonexistent/program"], ready=FileDescriptor()))):
            raise AssertionError("it is not up")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_a_port_whose_packets_are_dropped_costs_one_attempt_at_a_time(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    attempts: list[float] = []

    async def dropped(host: str, port: int) -> None:
        attempts.append(trio.current_time())
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", dropped)
    with trio.move_on_after(3):
        await Port("192.0.2.1", 80).wait_accepting()
    assert attempts == pytest.approx([0, 1.05, 2.10])


# -------------------------------------------------------------------------- stop


async def test_it_is_asked_by_sigterm_and_may_clean_up(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"trap 'echo cleaned > {note}; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    async with running(alone(shell(script, ready=Line(rb"up")))) as tree:
        pass
    assert note.read_text() == "cleaned\n"
    assert (await ended(tree)).exit.reason == "shutdown"


async def test_dying_of_sigterm_is_an_orderly_end() -> None:
    async with running(alone(shell(SLEEP))) as tree:
        await tree.stop_child("program")
        assert (await ended(tree)).exit.reason == "shutdown"


async def test_a_failure_while_it_stops_is_a_crash() -> None:
    script = "trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done"
    async with running(alone(shell(script, ready=Line(rb"up")))) as tree:
        await tree.stop_child("program")
        error = (await ended(tree)).exit.error
    assert isinstance(error, ProcessFailed)
    assert error.status == 4


async def test_one_that_ignores_sigterm_is_killed_after_its_shutdown_time() -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    async with running(alone(shell(script, ready=Line(rb"up")), shutdown=0.1)) as tree:
        pid = tree.find("program").stats["pid"]
        began = trio.current_time()
        await tree.stop_child("program")
        assert 0.1 <= trio.current_time() - began < 2
        assert (await ended(tree)).exit.reason == "killed"
        assert gone(pid)


async def test_a_brutal_kill_sends_no_sigterm(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f"trap 'echo asked > {note}' TERM; echo up; while :; do sleep 0.01; done"
    async with running(alone(shell(script, ready=Line(rb"up")), shutdown=BRUTAL_KILL)) as tree:
        await tree.stop_child("program")
        assert (await ended(tree)).exit.reason == "killed"
    assert not note.exists()


@pytest.mark.parametrize("how", ["stop", "kill", "end"])
async def test_grandchildren_in_its_group_do_not_outlive_it(how: str, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    go = tmp_path / "go"
    # The grandchild ignores SIGTERM and keeps the pipes open; the program ends when there is a file.
    script = f"(trap '' TERM; sh -c 'echo $PPID' > {note}; while :; do sleep 0.05; done) & "
    script += f"while ! test -s {note}; do sleep 0.01; done; echo up; while ! test -e {go}; do sleep 0.01; done"
    async with running(alone(shell(script, ready=Line(rb"up")))) as tree:
        grandchild = int(await written(note))
        if how == "stop":
            await tree.stop_child("program")
        elif how == "kill":
            tree.kill("program")
        else:
            go.touch()
        await ended(tree)
        await wait_for(lambda: gone(grandchild))


async def test_cancelling_what_is_around_the_tree_kills_the_program() -> None:
    with trio.CancelScope() as scope:
        async with running(alone(shell(SLEEP))) as tree:
            pid = tree.find("program").stats["pid"]
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert gone(pid)


async def test_output_held_open_outside_the_group_delays_the_end_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process_module, "DRAIN_SECONDS", 0.1)
    note = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {note}; exec sleep 60' & while ! test -s {note}; do sleep 0.01; done; printf end"
    async with running(alone(shell(script))) as tree:
        assert (await ended(tree)).exit.reason == "normal"
    stray = int(await written(note))
    assert not gone(stray), "it left the group, so it is out of reach"
    os.kill(stray, signal.SIGKILL)


async def test_a_process_that_sigkill_does_not_end_is_reported_and_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process_module, "REAP_SECONDS", 0.05)
    real, sent = os.killpg, []
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append((pid, number)))
    async with running(alone(shell(SLEEP), shutdown=0)) as tree:
        process = next(iter(_program(tree)))._process
    assert [number for _, number in sent] == [signal.SIGTERM, signal.SIGKILL]
    assert f"process {process.pid} still exists 0.05 s after SIGKILL" in caplog.text
    real(process.pid, signal.SIGKILL)
    await process.wait()


def _program(tree: RunningTree) -> list[Program]:
    program = tree._locate("program").value
    assert isinstance(program, Program)
    return [program]


async def test_a_group_that_may_not_be_signalled_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.killpg

    def refuse_the_first(pid: int, number: int) -> None:
        if number == signal.SIGTERM:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(pid, number)

    monkeypatch.setattr(os, "killpg", refuse_the_first)
    async with running(alone(shell(SLEEP), shutdown=0.05)):
        pass
    assert "cannot be sent SIGTERM" in caplog.text


async def test_without_pidfds_it_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with running(alone(shell("echo hello; exit 3"))) as tree:
        error = (await ended(tree)).exit.error
    assert isinstance(error, ProcessFailed)
    assert (error.status, error.lines) == (3, ("hello",))


# ------------------------------------------------------------------------ output


async def test_output_is_logged_line_by_line_with_path_and_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "supervisors.process")
    command = shell(r"echo out; sleep 0.05; printf 'b\377d' >&2", log=logging.DEBUG)
    async with running(alone(command)) as tree:
        await ended(tree)
    lines = [record for record in caplog.records if record.name == "supervisors.process"]
    assert [(r.levelno, r.getMessage(), r.path, r.stream) for r in lines] == [  # type: ignore[attr-defined]
        (logging.DEBUG, "program: out", "program", "stdout"),
        (logging.DEBUG, "program: b\N{REPLACEMENT CHARACTER}d", "program", "stderr"),
    ]


async def test_output_need_not_be_logged_and_is_counted_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "supervisors.process")
    script = f"head -c 20000 /dev/zero; echo; echo up; {SLEEP}"
    async with running(alone(shell(script, log=None, ready=Line(rb"up")))) as tree:
        assert {**tree.find("program").stats, "pid": 1} == {
            "pid": 1, "stdout_lines": 2, "stderr_lines": 0, "lines_cut": 1,
        }  # fmt: skip
    assert not caplog.records


async def test_a_program_that_writes_much_is_read_to_the_end_and_the_last_lines_are_kept() -> None:
    async with running(alone(shell("seq 1 20000; exit 1", log=None))) as tree:
        error = (await ended(tree)).exit.error
    assert isinstance(error, ProcessFailed)
    assert error.lines == tuple(str(number) for number in range(19_981, 20_001))


async def test_it_runs_where_and_with_what_it_is_told_and_reads_nothing(tmp_path: Path) -> None:
    script = "cat; pwd; echo $HERE; exit 1"
    async with running(alone(shell(script, cwd=tmp_path, env={"HERE": "there"}))) as tree:
        error = (await ended(tree)).exit.error
    assert isinstance(error, ProcessFailed)
    assert error.lines == (str(tmp_path), "there")


# ---------------------------------------------------------------- wrong commands


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Command("rm -rf /"), TypeError, "argv must be a list of strings"),
        (lambda: Command(["sleep", 1]), TypeError, "argv must be a list of strings"),  # type: ignore[list-item]
        (lambda: Command([]), ValueError, "argv must name a program"),
        (lambda: Command(["x"], ready=b"up"), TypeError, "ready must be a Line"),  # type: ignore[arg-type]
        (lambda: Command(["x"], log="info"), TypeError, "log must be a level"),  # type: ignore[arg-type]
        (lambda: Command(["x"], ok_statuses=[256]), ValueError, "ok_statuses must be exit statuses"),
        (lambda: Line("text"), TypeError, "pattern must be a regular expression of bytes"),  # type: ignore[arg-type]
        (lambda: Port("localhost", 0), ValueError, "port"),
        (lambda: FileDescriptor("not a name"), ValueError, "variable"),
    ],
)
def test_a_wrong_command_fails_when_built(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()
