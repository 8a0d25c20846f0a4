import socket
import subprocess
import sys

import pytest
import trio
from click.testing import CliRunner

import realtime
from realtime import cli, client, log, server
from realtime.client import TailEnded
from realtime.restart import Restart

URL = "ws://127.0.0.1:8000/ws/events"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command line in an empty folder, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(log, "configure", lambda *args: None)

    def run(*args, **options):
        return CliRunner(env={"REALTIME_CONFIG": None}).invoke(cli.main, args, prog_name="realtime", **options)

    return run


@pytest.fixture
def settings(tmp_path):
    def write(text, name="realtime.toml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_the_version_is_told(run):
    assert run("--version").output == f"realtime, version {realtime.__version__}\n"


def test_the_commands_are_told(run):
    output = run("--help").output
    assert all(command in output for command in ("serve", "check", "tail"))


def test_helping_needs_nothing_of_the_server():
    """`realtime --help` answers at once, and `tail` runs without it."""
    loaded = "import sys, realtime.cli; print(any(name.startswith(('quart', 'hypercorn')) for name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


# --- check ---------------------------------------------------------------------------------------------------------


def test_settings_that_are_fine_are_said_to_be(run):
    result = run("check")
    assert result.exit_code == 0
    assert result.output == ("settings are fine; actor modules: clock, system; it would listen on 127.0.0.1:8000\n")


def test_nothing_is_left_of_a_check(run, tmp_path):
    run("check")
    assert list(tmp_path.iterdir()) == []


def test_settings_without_actors_are_fine(run, settings):
    settings("[actors.clock]\nenabled = false\n[actors.system]\nenabled = false\n")
    assert "actor modules: none" in run("check").output


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nbnd = 1\n", "server.bnd is not known; the nearest is bind"),
        ("[server\n", "not TOML"),
        ("[actors.mine]\nuse = 'no_such_module'\n", "[actors.mine] (module 'no_such_module') cannot be imported"),
        ("[engine]\nurl = 'redis://localhost'\n", "engine.url: only 'local' is supported"),
        ("[auth]\nadmin_token_file = 'nowhere'\n", "nowhere cannot be read"),
    ],
)
def test_what_is_wrong_ends_it_with_one_clear_line(run, settings, command, text, said):
    settings(text)
    result = run(command)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert said in result.output
    assert "Traceback" not in result.output
    assert result.output.count("\n") == 1


def test_another_file_is_read_if_it_is_named(run, settings):
    path = settings("[server]\nbind = '127.0.0.1:81'\n", "elsewhere/other.toml")
    assert "127.0.0.1:81" in run("check", "--config", path).output


def test_a_named_file_that_is_not_there_is_an_error(run):
    result = run("check", "--config", "nowhere.toml")
    assert result.exit_code == 1
    assert "nowhere.toml: cannot be read" in result.output


def test_modules_may_lie_beside_the_settings(run, settings, tmp_path):
    path = settings("[actors.mine]\nuse = 'beside_the_settings'\n", "elsewhere/realtime.toml")
    (tmp_path / "elsewhere" / "beside_the_settings.py").write_text(
        "from supervisors import ChildSpec\n"
        "async def work(): ...\n"
        "def children(services): return [ChildSpec('x', work)]\n"
    )
    assert "actor modules: clock, system, mine;" in run("check", "--config", path).output


def test_checking_names_modules_that_bring_no_children_too(run, settings, tmp_path):
    job = "from realtime.actors.tasks import job\n\n\n@job('alone')\nasync def alone(progress): ...\n"
    (tmp_path / "alone_module.py").write_text(job)
    path = settings("[actors.alone]\nuse = 'alone_module'")
    assert "actor modules: clock, system, alone;" in run("check", "--config", path).output


def test_a_certificate_that_cannot_be_read_is_found_beforehand(run, settings):
    settings("[server]\ncertfile = 'cert.pem'\nkeyfile = 'key.pem'\n")
    result = run("check")
    assert result.exit_code == 1
    assert "No such file or directory: certfile" in result.output
    assert result.output.count("\n") == 1


# --- serve ---------------------------------------------------------------------------------------------------------


class Process:
    """Stands for the process: ends at once with a status."""

    def __init__(self, status):
        self.status = status
        self.listener = "the socket"

    async def run(self):
        await trio.lowlevel.checkpoint()
        return self.status


@pytest.mark.parametrize("status", [0, 1])
def test_serving_ends_with_the_status_of_the_process(run, settings, monkeypatch, status):
    settings("[log]\nlevel = 'error'\nformat = 'json'\n")
    seen, configured = [], []
    monkeypatch.setattr(server, "prepare", lambda settings, restart: seen.append(settings) or Process(status))
    monkeypatch.setattr(log, "configure", lambda *args: configured.append(args))
    assert run("serve").exit_code == status
    assert seen[0].log.level == "error"
    assert configured == [("error", "json")]


def test_asked_to_begin_anew_it_hands_the_socket_on(run, settings, monkeypatch):
    begun = []
    path = settings("[log]\nformat = 'json'\n")
    monkeypatch.setattr(server, "prepare", lambda settings, restart: Process(None))
    monkeypatch.setattr(Restart, "begin_anew", lambda self, listener, environ: begun.append((self.check, listener)))
    run("serve", "--config", path)
    ((check, listener),) = begun
    assert check[-3:] == ("check", "--config", path)
    assert listener == "the socket"


def test_a_program_that_cannot_be_run_is_said_in_one_line(run, monkeypatch):
    def begin_anew(self, listener, environ):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(server, "prepare", lambda settings, restart: Process(None))
    monkeypatch.setattr(Restart, "begin_anew", begin_anew)
    result = run("serve")
    assert (result.exit_code, result.output) == (1, "Error: [Errno 2] No such file or directory\n")


def test_an_address_that_is_taken_is_said_in_one_line(run, settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings(f"[server]\nbind = '127.0.0.1:{port}'\n")
        result = run("serve")
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.output
    assert result.output.count("\n") == 1


# --- tail ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tail_with(monkeypatch):
    """Puts a function in place of the client's."""

    def put(function):
        async def tail(*args, **options):
            await trio.lowlevel.checkpoint()
            function(*args, **options)

        monkeypatch.setattr(client, "tail", tail)

    return put


def test_messages_go_to_the_output_and_notes_to_the_errors(run, tail_with):
    def tail(url, max_messages, topics, *, print_line, note, token):
        assert token is None
        print_line(f"{url} {max_messages} {topics}")
        note("it broke")

    tail_with(tail)
    result = run("tail", URL, "--max", "3", "--subscribe", "clock", "--subscribe", "system")
    assert result.exit_code == 0
    assert result.stdout == f"{URL} 3 ('clock', 'system')\n"
    assert result.stderr == "it broke\n"


def test_a_token_comes_from_a_file_or_the_environment_and_never_from_an_argument(run, tail_with, tmp_path, monkeypatch):
    tokens = []

    def tail(*args, token, **options):
        tokens.append(token)

    tail_with(tail)
    (tmp_path / "token").write_text("of-the-file\n")
    monkeypatch.setenv("REALTIME_TOKEN", "of-the-environment")
    assert run("tail", URL).exit_code == 0
    assert run("tail", URL, "--token-file", str(tmp_path / "token")).exit_code == 0
    assert tokens == ["of-the-environment", "of-the-file"]
    missing = run("tail", URL, "--token-file", str(tmp_path / "nowhere"))
    assert missing.exit_code == 1
    assert "cannot be read" in missing.output


def test_a_stream_that_will_not_have_us_back_is_an_error(run, tail_with):
    def tail(*args, **options):
        raise TailEnded("the server closed the stream: 4404 no such task")

    tail_with(tail)
    result = run("tail", URL)
    assert (result.exit_code, result.output) == (1, "Error: the server closed the stream: 4404 no such task\n")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/ws/events", "127.0.0.1:8000"])
def test_what_is_no_url_of_a_websocket_is_a_wrong_use(run, url):
    result = run("tail", url)
    assert result.exit_code == 2
    assert "url must be like ws://" in result.output


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_so_is_a_number_of_messages_that_is_none(run, count):
    assert run("tail", URL, "--max", count).exit_code == 2


def test_an_interruption_ends_it_as_shells_expect(run, tail_with):
    def tail(*args, **options):
        raise KeyboardInterrupt

    tail_with(tail)
    assert run("tail", URL).exit_code == 130


def test_without_the_extra_it_says_what_to_install(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "realtime.client")
    monkeypatch.setitem(sys.modules, "trio_websocket", None)
    # What `import` says of a module that is None names it, like a missing one.
    result = run("tail", URL)
    assert result.exit_code == 1
    assert "pip install 'realtime-supervised[client]'" in result.output


def test_another_missing_module_is_not_mistaken_for_it(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "realtime.client")
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert isinstance(run("tail", URL).exception, ModuleNotFoundError)
