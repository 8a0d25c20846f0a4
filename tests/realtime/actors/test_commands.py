import sys

import psutil
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from realtime.actors.commands import arguments, command_job
from realtime.fields import BadField
from realtime.sections import JobSettings

from ..in_process import make_settings, receive_until, running

SCRIPT = "import sys,time\nfor n in range(3): print('line', n, sys.argv[1], flush=True)\nsys.exit(int(sys.argv[2]))"
SLEEPER = "import os,sys,time\nprint(os.getpid(), flush=True)\ntime.sleep(600)"


def script(text, *args, **settings):
    return JobSettings((sys.executable, "-ISc", text, *args), **settings)


@pytest.fixture
async def system():
    job = script(SCRIPT, "{name}", "{status}", parameters={"name": "[a-z; ]+", "status": "[0-9]"})
    sleeper = script(SLEEPER)
    async with running(
        make_settings(jobs={"say": job, "sleep": sleeper, "short": script(SLEEPER, timeout=0.2)})
    ) as found:
        yield found


async def test_its_lines_are_its_progress_and_its_status_the_outcome(system):
    tasks = system.system.backend.tasks
    task = await tasks.start("say", {"name": "x; rm y", "status": "0"})
    with trio.fail_after(20):
        ended = await tasks.wait(task.task_id)
    assert (ended.state, ended.result) == ("completed", {"status": 0, "lines": 3})
    # One argument, whatever is in it: there is no shell.
    assert ended.progress.message == "line 2 x; rm y"
    assert ended.progress.extra == {"lines": 3, "stream": "stdout"}


async def test_another_status_is_a_failure_with_the_last_lines(system):
    tasks = system.system.backend.tasks
    task = await tasks.start("say", {"name": "x", "status": "3"})
    with trio.fail_after(20):
        ended = await tasks.wait(task.task_id)
    assert (ended.state, ended.error.code) == ("failed", "CommandFailed")
    assert "3" in ended.error.message
    assert "line 2 x" in ended.error.message


async def test_a_cancelled_command_is_killed(system):
    tasks = system.system.backend.tasks
    task = await tasks.start("sleep")
    pid = await pid_of(system, task.task_id)
    await tasks.cancel(task.task_id)
    with trio.fail_after(20):
        assert (await tasks.wait(task.task_id)).state == "cancelled"
    assert not psutil.pid_exists(pid)


async def test_a_command_that_takes_too_long_is_killed(system):
    tasks = system.system.backend.tasks
    task = await tasks.start("short")
    with trio.fail_after(20):
        ended = await tasks.wait(task.task_id)
    assert (ended.state, ended.error.code) == ("failed", "timeout")
    if ended.progress.extra.get("lines"):
        assert not psutil.pid_exists(int(ended.progress.message))


async def test_a_command_that_is_not_there_is_a_failure():
    settings = make_settings(jobs={"none": JobSettings(("/nonexistent/program",))})
    async with running(settings) as system:
        tasks = system.system.backend.tasks
        task = await tasks.start("none")
        with trio.fail_after(20):
            ended = await tasks.wait(task.task_id)
    assert (ended.state, ended.error.code) == ("failed", "FileNotFoundError")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"name": "x"}, "params.status"),
        ({"name": "X", "status": "0"}, "params.name"),
        ({"name": "x\n", "status": "0"}, "params.name"),
        ({"name": "x", "status": "00"}, "params.status"),
        ({"name": "x", "status": 0}, "params.status"),
        ({"name": "x", "status": "0", "more": ""}, "params.more"),
        ({"name": "x" * 1001, "status": "0"}, "params.name"),
    ],
)
async def test_what_the_settings_do_not_allow_is_not_started(system, params, field):
    with pytest.raises(BadField) as refused:
        await system.system.backend.tasks.start("say", params)
    assert refused.value.field == field
    assert await system.get("/api/tasks") == {"tasks": []}


@given(st.text(), st.text())
def test_a_value_stays_within_its_argument_and_is_not_looked_at_again(one, other):
    settings = JobSettings(("p", "{a}", "--b={b}", "{c}{}"), parameters={"a": ".*", "b": ".*"})
    assert arguments(settings, {"a": one, "b": other}) == ["p", one, f"--b={other}", "{c}{}"]


def test_it_runs_in_the_folder_of_the_settings(tmp_path):
    job = command_job("x", script("import os; print(os.getcwd())"), folder=tmp_path)
    assert job.name == "x"


async def pid_of(system, task_id):
    """The process id that the sleeper prints."""
    async with system.websocket(f"/ws/tasks/{task_id}") as socket:
        while True:
            message = await receive_until(socket, "progress")
            if message["data"]["extra"].get("lines"):
                pid = int(message["data"]["message"])
                assert psutil.pid_exists(pid)
                return pid
