"""The settings of the contract, section 1: defaults, file, environment, and how wrong ones are told."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import sections
from realtime.policy.lag import Overflow
from realtime.settings import (
    ActorSettings,
    JobSettings,
    Server,
    Settings,
    SettingsError,
    TopicRule,
    TopicSettings,
    WebhookSettings,
    find,
    load,
)

EXAMPLE = Path(__file__).parents[2] / "docs" / "realtime.example.toml"
PLAIN_SECTIONS = ("server", "delivery", "heartbeat", "store", "engine", "auth", "log")

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "realtime.toml"
        path.write_text(text)
        return path

    return write


def problems_of(path: Path | None, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environ or {})
    assert caught.value.source == path
    return caught.value.problems


# Defaults --------------------------------------------------------------------------------------------------


def test_without_a_file_everything_has_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}) == attrs.evolve(Settings(), store=sections.Store(path=tmp_path / "realtime.db"))


def test_the_defaults_are_those_of_the_contract() -> None:
    values = attrs.asdict(Settings())
    assert values["server"] == {
        "bind": "127.0.0.1:8000",
        "allowed_hosts": ("127.0.0.1", "localhost", "::1"),
        "allowed_origins": (),
        "certfile": None,
        "keyfile": None,
        "drain_timeout": 10,
        "drain_window": 5,
        "write_timeout": 10,
        "handshake_timeout": 10,
        "max_connections": 10000,
        "max_connections_per_address": 1000,
        "max_message_bytes": 65536,
        "compression": False,
        "debug": False,
        "gc": "tuned",
    }
    assert values["delivery"] == {
        "mailbox_messages": 1000,
        "mailbox_bytes": 1048576,
        "max_topics_per_connection": 128,
        "max_inbound_per_second": 50,
    }
    assert values["heartbeat"] == {"interval": 30, "pong_timeout": 10}
    assert values["store"] == {"path": Path("realtime.db"), "retention_days": 30, "retention_events": 1000000}
    assert values["engine"] == {"url": "local", "prefix": "realtime"}
    anyone = ("may_read", "may_create_event", "may_emit", "may_start_task", "may_cancel_task", "may_call")
    assert values["auth"] == {
        "admin_token_file": None,
        "tokens_file": None,
        "use": None,
        "jwt_secret_file": None,
        "jwt_public_key_file": None,
        "jwt_algorithms": (),
        "jwt_issuer": None,
        "jwt_audience": None,
        "jwt_scopes_claim": "scope",
        "required": False,
        "max_inbound_per_second": 500,
        **dict.fromkeys(anyone, "anyone"),
    }
    assert values["log"] == {"level": "info", "format": "auto", "blocked_after": 0}


def test_the_example_file_says_the_defaults(write: Write) -> None:
    assert load(write(EXAMPLE.read_text()), {}) == load(write(""), {})


def test_the_example_file_shows_every_key() -> None:
    shown = set(re.findall(r"^#?(\w+) = ", EXAMPLE.read_text(), re.MULTILINE))
    named = (TopicRule, ActorSettings, JobSettings, WebhookSettings)
    classes = [*(type(getattr(Settings(), section)) for section in PLAIN_SECTIONS), *named]
    keys = {field.name for cls in classes for field in attrs.fields(cls)} - {"options"}
    assert keys <= shown


def test_the_examples_that_are_commented_out_are_right_too(write: Write) -> None:
    text = re.sub(r"^#(?=\w+ = |\[)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    settings = load(write(text), {})
    assert settings.topics == {"room/*": TopicRule(Overflow.DROP_OLDEST, 1.0, 0, "server", "anyone", False)}
    assert settings.actors["door"].options == {"pin": 17}
    assert settings.actors["door"].max_failures == 10
    assert settings.webhooks["forge"].tags == ("code",)
    assert settings.jobs["backup"].parameters == {"folder": "[a-z0-9_]+"}
    assert settings.server.certfile is not None
    assert settings.auth.tokens_file is not None


# File ------------------------------------------------------------------------------------------------------


def test_a_file_changes_what_it_names(write: Write) -> None:
    settings = load(write('[server]\nbind = "localhost:1"\ndrain_timeout = 2\n[log]\nlevel = "debug"'), {})
    assert (settings.server.bind, settings.server.drain_timeout) == ("localhost:1", 2.0)
    assert settings.log == sections.Log("debug")
    assert settings.heartbeat == sections.Heartbeat()


def test_relative_paths_start_at_the_file_and_absolute_ones_stay(write: Write) -> None:
    path = write('[store]\npath = "data/x.db"\n[auth]\nadmin_token_file = "/etc/token"')
    settings = load(path, {})
    assert settings.store.path == path.parent / "data/x.db"
    assert settings.auth.admin_token_file == Path("/etc/token")


def test_a_file_given_by_a_relative_name_gives_absolute_paths(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("")
    monkeypatch.chdir(path.parent)
    assert load(Path(path.name), {}).store.path == path.parent / "realtime.db"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[server]\nbind = \n", "not TOML: Invalid value (at line 2, column 8)"),
        (b"[server]\nbind = [\n\n", "not TOML: Invalid value (at line 2, the end of the file)"),
        (b"[server]\n\n[server]", "not TOML: Cannot declare ('server',) twice (at line 3, column 8)"),
        (b'[server]\nbind = "\xff"', "not UTF-8 (at line 2)"),
        (b"a = " + b"[" * 5000, "not TOML: maximum recursion depth exceeded"),
    ],
)
def test_wrong_toml_is_told_with_file_and_line(text: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "realtime.toml"
    path.write_bytes(text)
    (told,) = problems_of(path)
    assert told.startswith(problem)
    with pytest.raises(SettingsError, match=re.escape(f"{path}: {problem}")):
        load(path, {})


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "none.toml") == ["cannot be read: No such file or directory"]
    assert problems_of(tmp_path) == ["cannot be read: Is a directory"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\ndrain_timout = 1", "server.drain_timout is not known; the nearest is drain_timeout"),
        ("[sever]\nbind = 'x:1'", "[sever] is not known; the nearest is server"),
        ("server = 1", "server must be a table, [server], got 1"),
        ("[server]\ndrain_timeout = -1", "server.drain_timeout must be greater than 0, got -1.0"),
        ("[server]\ndrain_timeout = inf", "server.drain_timeout must be greater than 0, got inf"),
        ("[server]\ndrain_window = -1", "server.drain_window must be at least 0, got -1.0"),
        ("[server]\nmax_connections = 0", "server.max_connections must be at least 1, got 0"),
        ("[server]\nmax_connections = 1.5", "server.max_connections: expected `int`, got `float`"),
        ("[server]\ncompression = 1", "server.compression: expected `bool`, got `int`"),
        ("[server]\nbind = 8000", "server.bind: expected `str`, got `int`"),
        ("[server]\ngc = 'off'", "server.gc must be one of tuned, default, got 'off'"),
        ("[server]\nallowed_hosts = ['a', 1]", "server.allowed_hosts[1]: expected `str`, got `int`"),
        ("[log]\nlevel = 'INFO'", "log.level must be one of debug, info, warning, error, got 'INFO'"),
        ("[log]\nlevel = 1979-05-27", "log.level must be one of"),
        ("[store]\npath = 1", "store.path: expected a path"),
        ("[store]\npath = ''", "store.path: expected a path"),
        ("[engine]\nurl = 'http://me:secret@host'", "engine.url must be 'local', 'redis://host:port' or"),
        ("[engine]\nprefix = 'a b'", "engine.prefix must be 1 to 64 letters, digits, "),
        ("[server]\ncertfile = 'a.pem'", "server.keyfile is missing: certfile and keyfile go together"),
        ("[server]\nkeyfile = 'a.key'", "server.certfile is missing: certfile and keyfile go together"),
        ('[topics."a b"]', "topics.'a b' must be parts of 1 to 64 letters"),
        ('[topics."a//*"]', "topics.'a//*' must be parts of 1 to 64 letters"),
        ('[topics."a*b"]', "topics.'a*b' must be parts of 1 to 64 letters"),
        ('[topics."a/*"]\noverflow = "drop"', 'topics."a/*".overflow must be one of drop_oldest, drop_newest,'),
        ("[topics.a]\nwait_seconds = 0", 'topics."a".wait_seconds must be greater than 0, got 0.0'),
        ("[topics.a]\nhistory = -1", 'topics."a".history must be at least 0, got -1'),
        ("[topics.a]\nsubscribe = ''", "topics.\"a\".subscribe must be 'server', 'anyone' or the name of a scope"),
        ("[auth]\nmay_emit = 'a b'", "auth.may_emit must be 'server', 'anyone' or the name of a scope, got 'a b'"),
        ("[auth]\nuse = 'nonsense'", "auth.use must be 'module:function', got 'nonsense'"),
        ("[auth]\nrequired = true", "auth.required needs something to sign in with"),
        ("[auth]\njwt_algorithms = ['none']", "auth.jwt_algorithms must be some of ES256"),
        ("[auth]\njwt_algorithms = ['HS256']", "auth.jwt_algorithms lists HS256, which needs jwt_secret_file"),
        ("[auth]\njwt_secret_file = 's'", "auth.jwt_algorithms must list what jwt_secret_file is for: some of HS256"),
        ("[auth]\njwt_issuer = 'x'", "auth.jwt_issuer has no effect without jwt_secret_file"),
        ("[topics.a]\npublish = ''", "topics.\"a\".publish must be 'server', 'anyone' or the name of a scope"),
        (
            "[topics.a]\npresence = true\noverflow = 'conflate'",
            "topics.\"a\".presence cannot be had with overflow 'conflate'",
        ),
        ("[topics.clock]\npresence = true", "topics.\"clock\".presence needs an overflow other than 'conflate'"),
        ("[topics.events]\npresence = true", 'topics."events".presence cannot be had'),
        ("[topics.events]\npublish = 'anyone'", "topics.\"events\".publish must be 'server'"),
        ('[topics."tasks/*"]\npublish = "anyone"', "topics.\"tasks/*\".publish must be 'server'"),
        ("[topics.a]\nconflate = true", 'topics."a".conflate is not known; the nearest is '),
        ("[topics]\na = 1", "topics.a must be a table, [topics.a], got 1"),
        ("[actors.a]\nuse = 1", "actors.a.use: expected `str`, got `int`"),
        ("[actors.a]\nrestart = 'never'", "actors.a.restart must be one of permanent, transient, temporary"),
        ("[actors.a]\nmax_failures = 0", "actors.a.max_failures must be at least 1, got 0"),
        ('[actors."a/b"]', "actors.'a/b' must be 1 to 64 letters"),
        ("[jobs.a]\ntimeout = 1", "jobs.a.command is missing"),
        ("[jobs.a]\ncommand = []", "jobs.a.command must name a program, then its arguments, as a list"),
        ("[jobs.a]\ncommand = 'ls -l'", "jobs.a.command: expected `array`, got `str`"),
        ("[jobs.a]\ncommand = ['ls']\ntimeout = 0", "jobs.a.timeout must be greater than 0, got 0.0"),
        (
            "[jobs.a]\ncommand = ['ls', '{foldr}']\nparameters = { folder = '.*' }",
            "jobs.a.parameters.folder stands in no argument of command as {folder}",
        ),
        (
            "[jobs.a]\ncommand = ['ls', '{folder}']\nparameters = { folder = '(' }",
            "jobs.a.parameters.folder is no regular expression: missing )",
        ),
        ('[jobs."a b"]\ncommand = ["ls"]', "jobs.'a b' must be 1 to 64 letters"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_wanted(text: str, problem: str, write: Write) -> None:
    (told,) = problems_of(write(text))
    assert told.startswith(problem)


def test_all_problems_are_told_at_once(write: Write) -> None:
    path = write("[server]\nbind = 1\ndebug = 1\n[heartbeat]\ninterval = 0\n[jobs.x]\n[what]")
    told = problems_of(path, {"REALTIME_LOG_LEVL": "info"})
    assert len(told) == 6
    with pytest.raises(SettingsError) as caught:
        load(path, {"REALTIME_LOG_LEVL": "info"})
    assert str(caught.value).splitlines() == [f"{path}: 6 problems", *(f"  {line}" for line in told)]


def test_a_password_is_in_no_error_and_no_repr(write: Write) -> None:
    (told,) = problems_of(None, {"REALTIME_ENGINE_URL": "http://me:hunter2@host"})
    settings = load(write("[engine]\nurl = 'redis://me:hunter2@host:1'"), {})
    assert "hunter2" not in told + repr(settings)
    assert settings.engine.url == "redis://me:hunter2@host:1"


# Environment -----------------------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(write: Write) -> None:
    path = write('[server]\nbind = "127.0.0.1:1"\ndebug = true\ndrain_timeout = 3')
    environ = {
        "REALTIME_SERVER_BIND": "127.0.0.1:2",
        "REALTIME_SERVER_DEBUG": "false",
        "REALTIME_SERVER_ALLOWED_ORIGINS": "https://a.example, http://b.example:81",
        "REALTIME_SERVER_MAX_CONNECTIONS": "7",
        "REALTIME_HEARTBEAT_INTERVAL": "0.25",
        "REALTIME_STORE_PATH": "here.db",
        "REALTIME_AUTH_TOKENS_FILE": "",
        "REALTIME_LOG_FORMAT": "json",
        "REALTIME_CONFIG": "elsewhere.toml",
        "REALTIME_UNHEARD_OF": "x",
        "HOME": "/",
    }
    settings = load(path, environ)
    assert settings.server == attrs.evolve(
        Server(),
        bind="127.0.0.1:2",
        drain_timeout=3.0,
        max_connections=7,
        allowed_origins=("https://a.example", "http://b.example:81"),
    )
    assert settings.heartbeat.interval == 0.25
    assert settings.store.path == path.parent / "here.db"
    assert settings.auth.tokens_file is None
    assert settings.log.format == "json"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("REALTIME_SERVER_BNID", "x", "REALTIME_SERVER_BNID is not known; the nearest is REALTIME_SERVER_BIND"),
        ("REALTIME_SERVER_DEBUG", "yes", "server.debug: expected `bool`, got `str` (set by REALTIME_SERVER_DEBUG)"),
        (
            "REALTIME_HEARTBEAT_INTERVAL",
            "nan",
            "heartbeat.interval must be greater than 0, got nan (set by REALTIME_HEARTBEAT_INTERVAL)",
        ),
        (
            "REALTIME_SERVER_MAX_CONNECTIONS",
            "",
            "server.max_connections: expected `int`, got `str` (set by REALTIME_SERVER_MAX_CONNECTIONS)",
        ),
        (
            "REALTIME_ACTORS_CLOCK_INTERVAL",
            "1",
            "REALTIME_ACTORS_CLOCK_INTERVAL has no effect: [actors] can be set in the file only",
        ),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, problem: str) -> None:
    assert problems_of(None, {variable: value}) == [problem]


def test_the_file_to_read_is_the_named_one_else_the_one_in_the_folder(tmp_path: Path) -> None:
    assert find({}, tmp_path) is None
    (tmp_path / "realtime.toml").touch()
    assert find({"REALTIME_CONFIG": ""}, tmp_path) == tmp_path / "realtime.toml"
    assert find({"REALTIME_CONFIG": "/etc/x.toml"}, tmp_path) == Path("/etc/x.toml")


# Where to listen, and who may come ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [("127.0.0.1:8000", "127.0.0.1", 8000), ("[::1]:0", "::1", 0), ("box.example:65535", "box.example", 65535)],
)
def test_bind_is_a_host_and_a_port(bind: str, host: str, port: int) -> None:
    server = Server(bind=bind)
    assert (server.host, server.port) == (host, port)


@pytest.mark.parametrize(
    "bind",
    ["", "8000", ":8000", "a:", "a:x", "a:-1", "a:65536", "a: 1", "::1:8000", "[::1]", "[a]:1", "unix:/x", "a:\u0661"],
)
def test_bind_of_another_form_is_refused(bind: str) -> None:
    with pytest.raises(ValueError, match=re.escape("bind must be 'host:port' or '[ipv6]:port', got ")):
        Server(bind=bind, allowed_hosts=("a",))


@pytest.mark.parametrize(
    ("bind", "hosts"),
    [
        ("127.0.0.1:1", ()),
        ("localhost:1", ()),
        ("[::1]:1", ()),
        ("[0:0:0:0:0:0:0:1]:1", ()),
        ("127.0.0.2:1", ("127.0.0.2",)),
        ("192.0.2.7:1", ("192.0.2.7",)),
        ("[2001:DB8::0:1]:1", ("2001:db8::1",)),
        ("Box.Example:1", ("box.example",)),
    ],
)
def test_the_bound_host_and_loopback_are_allowed_by_default(bind: str, hosts: tuple[str, ...]) -> None:
    assert Server(bind=bind).allowed_hosts == (*hosts, "127.0.0.1", "localhost", "::1")


@pytest.mark.parametrize("bind", ["0.0.0.0:80", "[::]:80", "[0:0::0]:80"])
def test_who_listens_everywhere_has_to_say_for_which_hosts(bind: str) -> None:
    (told,) = problems_of(None, {"REALTIME_SERVER_BIND": bind})
    assert told.startswith(f"server.allowed_hosts must be set when bind is '{bind}'")
    environ = {"REALTIME_SERVER_BIND": bind, "REALTIME_SERVER_ALLOWED_HOSTS": "box.example"}
    assert load(None, environ).server.allowed_hosts == ("box.example",)


@pytest.mark.parametrize("host", ["", "*", "a:80", "[::1]", "127.0.0.1:80", "A.example", "http://a", "a b", "a."])
def test_a_host_that_no_header_could_match_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts must be names or addresses as in a Host header"):
        Server(allowed_hosts=("localhost", host))


def test_no_host_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed_hosts must name at least one host"):
        Server(allowed_hosts=())


@pytest.mark.parametrize("origin", ["https://a.example", "http://a:8080", "http://[::1]:3000", "app://shell"])
def test_an_origin_as_a_browser_sends_it_is_allowed(origin: str) -> None:
    assert Server(allowed_origins=(origin,)).allowed_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        *("", "*", "null", "a.example", "https://", "https://a/", "https://a/x", "https://A.example"),
        *("https://a:443", "http://a:80", "https://me@a", "http://a:x", "http://[::1", "http://a?", "https://a:99999"),
    ],
)
def test_an_origin_that_no_browser_would_send_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="allowed_origins must be origins as a browser sends them"):
        Server(allowed_origins=(origin,))


def test_the_right_form_of_an_origin_is_told() -> None:
    with pytest.raises(ValueError, match=re.escape("(here: 'https://a.example'), got 'https://A.example:443/'")):
        Server(allowed_origins=("https://A.example:443/",))


# Topics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clock", "system", "market", "queue", "tasks/t1"])
def test_states_conflate_unless_set_otherwise(name: str) -> None:
    assert Settings().topic(name) == TopicSettings(Overflow.CONFLATE, 1.0, 0, "server")


@pytest.mark.parametrize("name", ["supervisors", "session/s1", "room", "tasks", "clock/x"])
def test_other_topics_drop_their_oldest(name: str) -> None:
    assert Settings().topic(name) == TopicSettings(Overflow.DROP_OLDEST, 1.0, 0, "server")


def test_events_have_a_history() -> None:
    assert Settings().topic("events") == TopicSettings(Overflow.DROP_OLDEST, 1.0, 500, "server")


def test_the_exact_name_goes_before_the_longest_prefix(write: Write) -> None:
    path = write(
        """
        [topics."*"]
        history = 1
        [topics."room/*"]
        history = 2
        publish = "anyone"
        [topics."room/a*"]
        history = 3
        [topics."room/ab"]
        overflow = "wait"
        wait_seconds = 5
        [topics."clock"]
        publish = "clockmaker"
        """
    )
    settings = load(path, {})
    history = {name: settings.topic(name).history for name in ("x", "room", "room/x", "room/ax", "room/ab")}
    assert history == {"x": 1, "room": 1, "room/x": 2, "room/ax": 3, "room/ab": 0}
    assert settings.topic("room/ab") == TopicSettings(Overflow.WAIT, 5.0, 0, "server")
    assert settings.topic("room/x").publish == "anyone"
    assert settings.topic("clock") == TopicSettings(Overflow.CONFLATE, 1.0, 0, "clockmaker")


# Actors and jobs -------------------------------------------------------------------------------------------


def test_the_bundled_actors_are_there_unless_disabled(write: Write) -> None:
    settings = load(write("[actors.clock]\nenabled = false"), {})
    assert settings.actors == {
        "clock": ActorSettings(use="realtime.actors.clock", enabled=False),
        "system": ActorSettings(use="realtime.actors.system"),
    }


def test_an_actor_has_restart_settings_and_options_of_its_own(write: Write) -> None:
    path = write(
        """
        [actors.door]
        use = "house.door"
        restart = "transient"
        shutdown = 2
        backoff_first = 0.1
        backoff_maximum = 9
        healthy_uptime = 1
        max_failures = 4
        pin = 17
        names = ["a"]
        options = { nested = true }
        [actors.plugin]
        """
    )
    settings = load(path, {})
    assert settings.actors["door"] == ActorSettings(
        use="house.door",
        restart="transient",
        shutdown=2.0,
        backoff_first=0.1,
        backoff_maximum=9.0,
        healthy_uptime=1.0,
        max_failures=4,
        options={"pin": 17, "names": ["a"], "options": {"nested": True}},
    )
    assert settings.actors["plugin"] == ActorSettings(use="plugin")


def test_a_job_is_a_command_with_a_timeout_and_parameters(write: Write) -> None:
    path = write("[jobs.ls]\ncommand = ['ls', '-l', '/x/{folder}']\nparameters = { folder = '[a-z]+' }")
    assert load(path, {}).jobs == {"ls": JobSettings(("ls", "-l", "/x/{folder}"), 3600.0, {"folder": "[a-z]+"})}


# Any values ------------------------------------------------------------------------------------------------

seconds = st.floats(0.001, 1e6)
counts = st.integers(1, 2**40)
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{1,5})?", fullmatch=True)
tables = st.fixed_dictionaries(
    {},
    optional={
        "server": st.fixed_dictionaries(
            {"allowed_hosts": st.lists(names, min_size=1, max_size=3)},
            optional={
                "bind": st.sampled_from(["127.0.0.1:0", "[::]:80", "0.0.0.0:9", "box:1"]),
                "allowed_origins": st.lists(names.map("https://{}".format), max_size=2),
                "drain_timeout": seconds,
                "max_connections": counts,
                "compression": st.booleans(),
                "gc": st.sampled_from(["tuned", "default"]),
            },
        ),
        "heartbeat": st.fixed_dictionaries({}, optional={"interval": seconds, "pong_timeout": seconds}),
        "store": st.fixed_dictionaries({"path": names.map("/data/{}".format)}, optional={"retention_events": counts}),
        "log": st.fixed_dictionaries({}, optional={"level": st.sampled_from(["debug", "warning"])}),
    },
)


def as_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    def value(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else repr(value)

    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value(each)}\n" for key, each in table.items())
        for section, table in tables.items()
    )


def as_environ(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"REALTIME_{section}_{key}".upper(): ",".join(value) if isinstance(value, list) else str(value)
        for section, table in tables.items()
        for key, value in table.items()
    }


@given(tables)
def test_a_file_and_the_environment_give_the_same_settings(tables: dict[str, dict[str, Any]]) -> None:
    from_environment = load(None, as_environ(tables))
    for section, table in tables.items():
        made = getattr(from_environment, section)
        for key, value in table.items():
            got = getattr(made, key)
            assert (list(got) if isinstance(got, tuple) else str(got) if isinstance(got, Path) else got) == value
    assert load_text(as_toml(tables)) == from_environment


@pytest.mark.parametrize("name", ["events", "supervisors", "tasks/t1"])
def test_a_rule_for_all_topics_lets_nobody_into_those_of_the_server_itself(name: str) -> None:
    settings = load_text('[topics."*"]\npublish = "anyone"\npresence = true')
    assert (settings.topic(name).publish, settings.topic(name).presence) == ("server", False)
    assert (settings.topic("room").publish, settings.topic("room").presence) == ("anyone", True)
    assert not settings.topic("clock").presence, "joins and leaves would be conflated"


def test_topics_in_which_clients_have_a_part_exist_by_their_rules() -> None:
    settings = load_text(
        """
        [topics."room/*"]
        publish = "anyone"
        [topics.stage]
        publish = "actors"
        [topics."hall/*"]
        presence = true
        [topics."news"]
        publish = "server"
        history = 10
        [topics."*"]
        presence = true
        """
    )
    assert settings.topics_of_clients() == ["room/*", "stage", "hall/*"]


def load_text(text: str) -> Settings:
    path = Path("realtime-of-a-test.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: text.encode())
        return load(path, {})


environments = st.dictionaries(
    st.builds(
        lambda section, key: f"REALTIME_{section}_{key}".upper(),
        st.sampled_from([*PLAIN_SECTIONS, "topics"]),
        st.sampled_from([field.name for field in attrs.fields(Server)]) | st.text("abc_", max_size=5),
    ),
    st.text(max_size=8),
    max_size=4,
)


@given(environments)
def test_any_environment_gives_settings_or_named_problems(environ: dict[str, str]) -> None:
    outcome: object
    try:
        outcome = load(None, environ)
    except SettingsError as error:
        outcome = error
        assert error.problems  # noqa: PT017 - either outcome is right, so nothing can be expected to be raised
    assert isinstance(outcome, Settings | SettingsError)


def test_the_store_in_memory_is_no_path_beside_the_file(tmp_path):
    file = tmp_path / "realtime.toml"
    file.write_text('[store]\npath = ":memory:"\n', encoding="utf-8")
    assert str(load(file, {}).store.path) == ":memory:"
