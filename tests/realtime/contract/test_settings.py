"""Each row of the section on settings: name, default, and that a file can set it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from realtime import sections
from realtime.policy.lag import Overflow
from realtime.settings import Settings, SettingsError, TopicSettings, load
from tests.realtime.in_process import error_of, make_settings, running
from tests.realtime.server_process import REALTIME, ServerProcess, to_toml

from .rows import SETTINGS, Checks

checks = Checks(SETTINGS)


def load_text(folder: Path, sections: dict[str, Any], **environ: str) -> Settings:
    path = folder / "realtime.toml"
    path.write_text(to_toml(sections), encoding="utf-8")
    return load(path, environ)


async def default_and_file(folder: Path, name: str, default: object, other: object, read: object = None) -> None:
    """*name* is *default* without a file, and what a file says: *read*, if that is not *other* itself."""
    section, key = name.split(".")
    assert getattr(getattr(Settings(), section), key) == default
    # Both or neither.
    with_it = {"certfile": {"keyfile": "b.pem"}, "keyfile": {"certfile": "b.pem"}}.get(key, {})
    found = getattr(getattr(load_text(folder, {section: {key: other, **with_it}}), section), key)
    wanted = other if read is None else read
    assert found == (folder / wanted if isinstance(wanted, Path) else wanted)


for each_name, each_default, each_other, each_read in (
    ("server.bind", "127.0.0.1:8000", "127.0.0.1:81", None),
    ("server.allowed_hosts", sections.LOOPBACK_NAMES, ["a.example"], ("a.example",)),
    ("server.allowed_origins", (), ["https://a.example"], ("https://a.example",)),
    ("server.certfile", None, "a.pem", Path("a.pem")),
    ("server.keyfile", None, "a.key", Path("a.key")),
    ("server.drain_timeout", 10, 1, None),
    ("server.drain_window", 5, 1, None),
    ("server.write_timeout", 10, 1, None),
    ("server.handshake_timeout", 10, 1, None),
    ("server.max_connections", 10_000, 1, None),
    ("server.max_connections_per_address", 1000, 1, None),
    ("server.max_message_bytes", 65_536, 1, None),
    ("server.compression", False, True, None),
    ("server.debug", False, True, None),
    ("server.gc", "tuned", "default", None),
    ("delivery.mailbox_messages", 1000, 1, None),
    ("delivery.mailbox_bytes", 1_048_576, 1, None),
    ("delivery.max_topics_per_connection", 128, 1, None),
    ("delivery.max_inbound_per_second", 50, 1, None),
    ("heartbeat.interval", 30, 1, None),
    ("heartbeat.pong_timeout", 10, 1, None),
    ("store.path", Path("realtime.db"), "a.db", Path("a.db")),
    ("store.retention_days", 30, 1, None),
    ("store.retention_events", 1_000_000, 1, None),
    ("engine.url", "local", "local", None),
    ("engine.prefix", "realtime", "other", None),
    ("auth.admin_token_file", None, "a.token", Path("a.token")),
    ("auth.tokens_file", None, "a.toml", Path("a.toml")),
    ("log.level", "info", "debug", None),
    ("log.format", "auto", "json", None),
):
    checks(each_name)(partial(default_and_file, name=each_name, default=each_default, other=each_other, read=each_read))


@checks("auth.jwt_*")
async def jwt(folder: Path) -> None:
    assert not Settings().auth.jwt
    found = load_text(folder, {"auth": {"jwt_secret_file": "a.secret", "jwt_algorithms": ["HS256"]}}).auth
    assert (found.jwt, found.jwt_secret_file) == (True, folder / "a.secret")


async def topic_rule(folder: Path, key: str, default: object, other: object, read: object) -> None:
    assert getattr(TopicSettings(), key) == default
    settings = load_text(folder, {'topics."room/*"': {key: other}, 'topics."room/named"': {}})
    assert getattr(settings.topic("room/1"), key) == read
    assert getattr(settings.topic("room/named"), key) == default  # the name wins over the prefix
    assert getattr(settings.topic("elsewhere"), key) == default


for each_name, each_default, each_other, each_read in (
    ("overflow", Overflow.DROP_OLDEST, "wait", Overflow.WAIT),
    ("wait_seconds", 1, 2, 2),
    ("history", 0, 2, 2),
    ("publish", "server", "editors", "editors"),
):
    checks(f"topics.{each_name}")(
        partial(topic_rule, key=each_name, default=each_default, other=each_other, read=each_read)
    )

DOOR = {"use": "my.door", "enabled": False, "restart": "transient", "pin": 17}


async def actor(folder: Path, key: str, default: object, read: object) -> None:
    assert getattr(sections.ActorSettings(use="x"), key) == default
    assert getattr(load_text(folder, {"actors.door": DOOR}).actors["door"], key) == read


for each_name, each_default, each_read in (
    ("use", "x", "my.door"),
    ("enabled", True, False),
    ("restart", None, "transient"),
    ("options", {}, {"pin": 17}),
):
    checks(f"actors.{each_name}")(partial(actor, key=each_name, default=each_default, read=each_read))

BACKUP = {"command": ["backup", "{folder}"], "timeout": 60, "parameters": {"folder": "[a-z]+"}}


async def job(folder: Path, key: str, default: object) -> None:
    (folder / "realtime.toml").write_text(
        '[jobs.backup]\ncommand = ["backup", "{folder}"]\ntimeout = 60\nparameters = { folder = "[a-z]+" }\n'
    )
    found = getattr(load(folder / "realtime.toml", {}).jobs["backup"], key)
    assert found == (tuple(BACKUP[key]) if key == "command" else BACKUP[key])
    if key != "command":  # without which there is none
        assert getattr(sections.JobSettings(command=("backup",)), key) == default
    else:
        with pytest.raises(SettingsError, match=r"jobs\.nothing\.command"):
            load_text(folder, {"jobs.nothing": {}})


for each_name, each_default in (("command", None), ("timeout", 3600), ("parameters", {})):
    checks(f"jobs.{each_name}")(partial(job, key=each_name, default=each_default))


# --- the file, the environment -------------------------------------------------------------------------------------


@checks("--config")
async def config(folder: Path) -> None:
    (folder / "other.toml").write_text(to_toml({"server": {"bind": "127.0.0.1:0"}, "engine": {"prefix": "other"}}))
    command = (REALTIME, "serve", "--config", "other.toml")
    wrong = {"server": {"nothing": 1}}  # in realtime.toml, which is not read then
    with ServerProcess(folder, wrong, command=command) as server:
        assert server.get("/api/health")["status"] == "ok"


@checks("realtime.toml")
async def working_folder(folder: Path) -> None:
    with ServerProcess(folder, {"actors.clock": {"enabled": False}}) as server:
        (clock,) = (each for each in server.get("/api/modules")["modules"] if each["id"] == "clock")
        assert clock["state"] == "disabled"


@checks("relative paths")
async def relative(folder: Path) -> None:
    assert load_text(folder, {"store": {"path": "data/x.db"}}).store.path == folder / "data/x.db"


@checks("unknown keys")
async def unknown(folder: Path) -> None:
    with pytest.raises(SettingsError) as problem:
        load_text(folder, {"server": {"drain_timout": 1}})
    assert problem.value.problems == ["server.drain_timout is not known; the nearest is drain_timeout"]


@checks("environment")
async def environment(folder: Path) -> None:
    settings = load_text(folder, {"server": {"drain_window": 1}}, REALTIME_SERVER_DRAIN_WINDOW="2")
    assert settings.server.drain_window == 2


@checks("debug")
async def debug(folder: Path) -> None:
    """Crash buttons, from loopback only."""
    async with running(make_settings(server={"debug": True})) as system:
        for address, status in (("127.0.0.1", 202), ("192.0.2.1", 403)):
            client = system.client
            answer = await client.post("/api/supervisors/heartbeat/crash", scope_base={"client": (address, 1)})
            assert answer.status_code == status


@checks("no admin token")
async def no_admin_token(folder: Path) -> None:
    async with running() as system:
        answer = await system.client.post("/api/supervisors/hub/restart")
        told = await error_of(answer, 403, "not_allowed")
        assert "admin_token_file" in told["message"]


def test_every_key_is_a_row_or_was_added_by_an_issue():
    """A key that is new in a section has to be put into the table, or here."""
    later = {"log.blocked_after", *(f"auth.{name}" for name in ("use", "required", "max_inbound_per_second"))}
    for section in ("server", "delivery", "heartbeat", "store", "engine", "auth", "log"):
        for field in attrs.fields(type(getattr(Settings(), section))):
            name = f"{section}.{field.name}"
            assert name in SETTINGS or name in later or name.startswith(("auth.jwt_", "auth.may_")), name


@pytest.mark.parametrize("check", checks.params())
async def test_setting_row(check, tmp_path):
    await check(tmp_path)
