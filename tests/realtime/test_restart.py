"""What takes the place of the process, and how it is judged beforehand."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import trio

from realtime import restart
from realtime.restart import Restart

SCRIPT = "/srv/bin/realtime"


def made(argv, orig_argv, config=None, environ=None):
    return Restart.of_this_process(config, {} if environ is None else environ, argv, orig_argv)


def test_the_program_is_the_same_again():
    found = made([SCRIPT, "serve"], ["python", SCRIPT, "serve"])
    assert found.program == sys.executable
    assert found.command == ("python", SCRIPT, "serve")
    assert found.count == 0


@pytest.mark.parametrize(
    ("orig_argv", "check"),
    [
        (["python", SCRIPT, "serve"], (SCRIPT, "check")),
        (["python", "-X", "dev", "-P", SCRIPT, "serve"], ("-X", "dev", "-P", SCRIPT, "check")),
    ],
)
def test_the_check_is_what_would_run(orig_argv, check):
    assert made([SCRIPT, "serve"], orig_argv).check == (sys.executable, *check)


def test_of_a_module_it_is_too():
    found = made(["/srv/realtime/__main__.py", "serve"], ["python", "-m", "realtime", "serve"])
    assert found.check == (sys.executable, "-m", "realtime", "check")


def test_it_reads_the_settings_that_were_named():
    found = made([SCRIPT, "serve", "--config", "serve"], ["python", SCRIPT, "serve", "--config", "serve"], "serve")
    assert found.check == (sys.executable, SCRIPT, "check", "--config", "serve")


@pytest.mark.parametrize(("told", "count"), [("3", 3), ("", 0), ("many", 0), ("-1", 0)])
def test_how_often_is_told_by_the_one_before(told, count):
    environ = {"REALTIME_RESTARTS": told, "OTHER": "1"}
    assert made([SCRIPT], ["python", SCRIPT], environ=environ).count == count
    assert environ == {"OTHER": "1"}


# --- the check -----------------------------------------------------------------------------------------------------


def checking(program):
    return Restart("", (), (sys.executable, "-c", program))


async def test_nothing_stands_against_what_passes_the_check():
    assert await checking("print('settings are fine')").refusal(os.environ) is None


async def test_what_the_check_says_is_the_reason():
    program = "import sys; print('Error: server.bnd is not known', file=sys.stderr); sys.exit(1)"
    assert await checking(program).refusal(os.environ) == "server.bnd is not known"


async def test_a_check_that_says_nothing_is_named_by_its_status():
    assert await checking("import sys; sys.exit(3)").refusal(os.environ) == "the check ended with status 3"


async def test_a_check_that_cannot_be_run_is_a_refusal():
    refusal = await Restart("", (), ("/nowhere/python",)).refusal(os.environ)
    assert refusal.startswith("/nowhere/python cannot be run: ")


async def test_a_check_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(restart, "CHECK_SECONDS", 0.3)
    began = trio.current_time()
    assert await checking("import time; time.sleep(60)").refusal(os.environ) == "the check took longer than 0.3 s"
    assert trio.current_time() - began < 10


# --- the change ----------------------------------------------------------------------------------------------------

OLD = """
import os, signal, sys
from realtime import restart
from realtime.restart import Restart
from realtime.transport import open_listener

restart.ignore_until_served()
os.kill(os.getpid(), restart.SIGNAL)   # too early: no end, and nothing is asked for
listener = open_listener("127.0.0.1:0")
print("old", os.getpid(), listener.getsockname()[1], flush=True)
print("unflushed", end="\\n")
program = Restart(sys.executable, (sys.executable, "-c", sys.argv[1]), (), 4)
program.begin_anew(listener, os.environ)
"""

NEW = """
import os, signal, sys
from realtime import restart
from realtime.restart import Restart
from realtime.transport import take_over

os.kill(os.getpid(), restart.SIGNAL)   # before anybody can take it: it has to wait
restart.ignore_until_served()
made = Restart.of_this_process(None, os.environ, sys.argv, sys.orig_argv)
print("new", os.getpid(), take_over(os.environ).getsockname()[1], made.count, flush=True)
asked = []
signal.signal(restart.SIGNAL, lambda *args: asked.append(1))
print(len(asked), flush=True)
restart.let_through()
print(len(asked), flush=True)
print(sorted(name for name in os.environ if name.startswith(("LISTEN_", "REALTIME_"))))
"""


def test_pid_and_socket_stay_and_a_request_that_comes_meanwhile_waits():
    environ = {key: value for key, value in os.environ.items() if not key.startswith("REALTIME_")}
    done = subprocess.run(
        [sys.executable, "-c", OLD, NEW], capture_output=True, text=True, timeout=60, check=True, env=environ
    )
    old, unflushed, new, *rest = done.stdout.splitlines()
    _, pid, port = old.split()
    assert unflushed == "unflushed"
    assert new.split() == ["new", pid, port, "5"]
    assert rest == ["0", "1", "[]"]


DEAF = """
import os, sys
from realtime.restart import Restart
from realtime.transport import open_listener

sys.stdin.read()   # until nobody reads any more what this says
print("unheard")
program = Restart(sys.executable, (sys.executable, "-c", "import sys; sys.stderr.write('anew')"), ())
program.begin_anew(open_listener("127.0.0.1:0"), os.environ)
"""


def test_that_nobody_reads_its_output_any_more_does_not_prevent_it():
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen([sys.executable, "-c", DEAF], text=True, env=buffered, **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "anew"
        assert process.wait(60) == 0


def test_a_program_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(restart.handover, "hand_on", lambda listener, environ: None)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with socket.socket() as listener, pytest.raises(FileNotFoundError):
            Restart("/nowhere/python", ("python",), ()).begin_anew(listener, {})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
