"""The settings: read from a TOML file and the environment, checked as a whole, frozen.

What can be set: `realtime.sections`, with every default; as a file: ``docs/realtime.example.toml``.
"""

import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec

from realtime.fields import BadField, build, nearest, shown
from realtime.messages import ID_GRAMMAR, TOPIC_GRAMMAR, is_actor_id, is_topic
from realtime.policy.lag import Overflow
from realtime.sections import ActorSettings as ActorSettings
from realtime.sections import Auth as Auth
from realtime.sections import Delivery as Delivery
from realtime.sections import Engine as Engine
from realtime.sections import Heartbeat as Heartbeat
from realtime.sections import JobSettings as JobSettings
from realtime.sections import Log as Log
from realtime.sections import Server as Server
from realtime.sections import Store as Store
from realtime.sections import TopicRule as TopicRule
from realtime.sections import WebhookSettings as WebhookSettings

T = TypeVar("T", bound=attrs.AttrsInstance)

DEFAULT_FILE = "realtime.toml"
MEMORY = ":memory:"
"""A ``store.path`` that stands for no file, as in SQLite."""
BUNDLED_ACTORS = {"clock": "realtime.actors.clock", "system": "realtime.actors.system"}
"""Actor modules that run unless they are disabled."""

EVENTS_HISTORY = 500
"""Messages of ``events`` that a returning client can be sent; one that missed more reads them by HTTP."""

_CONFLATED = frozenset({"clock", "system", "market", "queue"})
_NUMBERED = frozenset({"events", "supervisors"})
"""Topics whose numbers and messages are the server's alone, as those of tasks are."""


class SettingsError(Exception):
    """The settings are wrong.

    Attributes:
      problems: one sentence each, beginning with ``section.key`` where there is one.
      source: the file, if there was one.
    """

    def __init__(self, problems: list[str], source: Path | None = None) -> None:
        super().__init__(problems, source)
        self.problems = problems
        self.source = source

    def __str__(self) -> str:
        where = "settings" if self.source is None else str(self.source)
        if len(self.problems) == 1:
            return f"{where}: {self.problems[0]}"
        return "\n  ".join([f"{where}: {len(self.problems)} problems", *self.problems])


@attrs.frozen
class TopicSettings:
    """How one topic is delivered.

    Attributes:
      overflow: what happens when a subscriber's outbox is full.
      wait_seconds: the longest a publisher waits for a subscriber under ``wait``.
      history: messages kept, for clients that resume.
      publish: who may: ``server``, ``anyone``, or those with the scope of this name.
      subscribe: who may, in the same words; it decides also who may read the topic's past over HTTP.
      presence: whether subscribers are told who else subscribes.
    """

    overflow: Overflow = Overflow.DROP_OLDEST
    wait_seconds: float = 1.0
    history: int = 0
    publish: str = "server"
    subscribe: str = "anyone"
    presence: bool = False


def _is_servers_own(topic: str) -> bool:
    """Whether nobody else may put anything into *topic*, or into all that begin so."""
    return topic in _NUMBERED or topic.startswith("tasks/")


def _bundled_actors() -> dict[str, ActorSettings]:
    return {id: ActorSettings(use=use) for id, use in BUNDLED_ACTORS.items()}


@attrs.frozen
class Settings:
    """Everything that can be set; ``Settings()`` holds the defaults."""

    server: Server = attrs.field(factory=Server)
    delivery: Delivery = attrs.field(factory=Delivery)
    heartbeat: Heartbeat = attrs.field(factory=Heartbeat)
    store: Store = attrs.field(factory=Store)
    engine: Engine = attrs.field(factory=Engine)
    auth: Auth = attrs.field(factory=Auth)
    log: Log = attrs.field(factory=Log)
    topics: Mapping[str, TopicRule] = attrs.field(factory=dict)
    actors: Mapping[str, ActorSettings] = attrs.field(factory=_bundled_actors)
    jobs: Mapping[str, JobSettings] = attrs.field(factory=dict)
    webhooks: Mapping[str, WebhookSettings] = attrs.field(factory=dict)
    folder: Path = attrs.field(factory=Path.cwd, kw_only=True, eq=False)
    """Where relative paths of actor modules begin: the folder of the file, or the current one without a file."""

    def topic(self, name: str) -> TopicSettings:
        """The settings of a topic: the rule of its *name*, else of the longest ``prefix*`` that fits.

        One rule alone counts; what it does not give is as built in, whatever a shorter prefix says.
        """
        conflated = name in _CONFLATED or name.startswith("tasks/")
        rule = self.topics.get(name) or self._longest_prefix(name)
        return _topic_settings(rule, conflated, EVENTS_HISTORY if name == "events" else 0, _is_servers_own(name))

    def topics_of_clients(self) -> list[str]:
        """The topics, and prefixes with a ``*``, that exist by their rules alone: clients have a part in them."""
        return [
            name
            for name, rule in self.topics.items()
            if rule.publish not in (None, "server") or (rule.presence and name != "*")
        ]

    def _longest_prefix(self, name: str) -> TopicRule:
        fitting = (key for key in self.topics if key.endswith("*") and name.startswith(key[:-1]))
        longest = max(fitting, key=len, default=None)
        return _NO_RULE if longest is None else self.topics[longest]


_NO_RULE = TopicRule()


@lru_cache(maxsize=256)
def _topic_settings(rule: TopicRule, conflated: bool, history: int, servers_own: bool) -> TopicSettings:
    """One for all topics that are alike: each session has one of its own."""
    overflow = Overflow.CONFLATE if conflated else Overflow.DROP_OLDEST
    given = attrs.asdict(rule, filter=lambda _, value: value is not None)
    made = attrs.evolve(TopicSettings(overflow=overflow, history=history), **given)
    if servers_own:
        return attrs.evolve(made, publish="server", presence=False)
    return attrs.evolve(made, presence=False) if made.overflow is Overflow.CONFLATE else made


def find(environ: Mapping[str, str], folder: Path) -> Path | None:
    """The file to read if none was named: ``REALTIME_CONFIG``, else *folder*'s ``realtime.toml``, if any."""
    if named := environ.get("REALTIME_CONFIG"):
        return Path(named)
    return folder / DEFAULT_FILE if (folder / DEFAULT_FILE).exists() else None


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file *path* (None: defaults), put ``REALTIME_<SECTION>_<KEY>`` of *environ* over it.

    Paths become absolute: relative ones start at the file's folder, or at the current one without a file.

    Raises:
      SettingsError: with every problem found.
    """
    reader = _Reader({} if path is None else _read(path), environ)
    made: dict[str, Any] = {section: reader.section(section, cls) for section, cls in _SECTIONS.items()}
    made["topics"] = reader.topics()
    made["actors"] = reader.actors()
    made["jobs"] = reader.jobs()
    made["webhooks"] = reader.webhooks()
    if reader.problems:
        raise SettingsError(reader.problems, path)
    base = Path.cwd() if path is None else path.absolute().parent
    return Settings(**{name: _anchored(value, base) for name, value in made.items()}, folder=base)


_SECTIONS: Mapping[str, type[attrs.AttrsInstance]] = {
    "server": Server,
    "delivery": Delivery,
    "heartbeat": Heartbeat,
    "store": Store,
    "engine": Engine,
    "auth": Auth,
    "log": Log,
}
_LF = b"\n"
_NAMED_SECTIONS = ("topics", "actors", "jobs", "webhooks")
"""Sections of sections, whose names are the operator's own."""


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"cannot be read: {error.strerror}"], path) from error
    try:
        # Plain values only: they become sections one field at a time, so that every problem is found.
        return msgspec.toml.decode(raw, type=dict[str, Any])
    except UnicodeDecodeError as error:
        line = raw.count(_LF, 0, error.start) + 1
        raise SettingsError([f"not UTF-8 (at line {line})"], path) from error
    except (ValueError, RecursionError) as error:
        last = f"at line {raw.rstrip().count(_LF) + 1}, the end of the file"
        raise SettingsError([f"not TOML: {error}".replace("at end of document", last)], path) from error


def _anchored(section: Any, base: Path) -> Any:
    if not attrs.has(type(section)):
        return section
    values = {key: value for key, value in _values(section).items() if isinstance(value, Path)}
    paths = {key: base / value for key, value in values.items() if str(value) != MEMORY}
    return attrs.evolve(section, **paths)


def _values(section: attrs.AttrsInstance) -> dict[str, Any]:
    return attrs.asdict(section, recurse=False)


def _path(wanted: type, value: Any) -> Any:
    # The one type in the sections that msgspec does not know.
    if wanted is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("expected a path")


class _Reader:
    """Makes sections of plain tables and collects what is wrong with them in `problems`."""

    def __init__(self, tables: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._tables = tables
        self._environ = environ
        known = [*_SECTIONS, *_NAMED_SECTIONS]
        for name in tables.keys() - known:
            self.problems.append(f"[{name}] is not known{nearest(name, known)}")
        for name in _NAMED_SECTIONS:
            for variable, _ in self._overrides(name):
                self.problems.append(f"{variable} has no effect: [{name}] can be set in the file only")

    def section(self, name: str, cls: type[T]) -> T | None:
        """The section *name*, with what the environment says put over the file."""
        table = dict(self._table(name, self._tables.get(name, {})))
        hints = {field.name: field.type for field in attrs.fields(cls)}
        origin = {}
        for variable, key in self._overrides(name):
            if key not in hints:
                known = [_variable(name, each) for each in hints]
                self.problems.append(f"{variable} is not known{nearest(variable, known)}")
                continue
            origin[key] = variable
            table[key] = _of_text(self._environ[variable], hints[key])
        return self._build(name, cls, table, origin)

    def topics(self) -> dict[str, TopicRule | None]:
        """``[topics."<name or prefix*>"]``."""
        for pattern in (tables := self._named("topics")):
            prefix = pattern.removesuffix("*")
            # A prefix may end within a part or between two; with more behind it, it has to become a topic.
            if not (is_topic(pattern) or pattern == "*" or (prefix != pattern and is_topic(prefix + "x"))):
                self.problems.append(f"topics.{pattern!r} must be {TOPIC_GRAMMAR}; a '*' at the end is a prefix")
        made = {pattern: self._build(f'topics."{pattern}"', TopicRule, table) for pattern, table in tables.items()}
        for name, rule in made.items():
            if rule is not None:
                self._check_rule(name, rule)
        return made

    def actors(self) -> dict[str, ActorSettings | None]:
        """``[actors.<id>]``, the bundled ones among them."""
        own = {field.name for field in attrs.fields(ActorSettings)} - {"options"}
        made: dict[str, ActorSettings | None] = dict(_bundled_actors())
        for id, table in self._named("actors").items():
            self._check_id("actors", id)
            values = {key: value for key, value in table.items() if key in own}
            values["options"] = {key: value for key, value in table.items() if key not in own}
            # Without `use` it is an entry point of that name; whether there is one shows when it is loaded.
            values.setdefault("use", BUNDLED_ACTORS.get(id, id))
            made[id] = self._build(f"actors.{id}", ActorSettings, values)
        return made

    def jobs(self) -> dict[str, JobSettings | None]:
        """``[jobs.<name>]``."""
        return self._each("jobs", JobSettings)

    def webhooks(self) -> dict[str, WebhookSettings | None]:
        """``[webhooks.<name>]``."""
        return self._each("webhooks", WebhookSettings)

    def _each(self, section: str, cls: type[T]) -> dict[str, T | None]:
        made = {}
        for name, table in self._named(section).items():
            self._check_id(section, name)
            made[name] = self._build(f"{section}.{name}", cls, table)
        return made

    def _check_rule(self, name: str, rule: TopicRule) -> None:
        """A rule for many topics leaves out those that it does not fit; one for a single topic has to fit."""
        where = f'topics."{name}"'
        if _is_servers_own(name):
            if rule.publish not in (None, "server"):
                self.problems.append(
                    f"{where}.publish must be 'server': its messages are numbered by what they tell of"
                )
            if rule.presence:
                self.problems.append(f"{where}.presence cannot be had: its messages are numbered by what they tell of")
        elif rule.presence and rule.overflow is None and name in _CONFLATED:
            self.problems.append(f"{where}.presence needs an overflow other than 'conflate', which is this topic's own")

    def _build(
        self, where: str, cls: type[T], table: Mapping[str, Any], origin: Mapping[str, str] | None = None
    ) -> T | None:
        def report(problem: BadField) -> None:
            variable = (origin or {}).get(problem.field or "")
            self.problems.append(f"{where}.{problem}" + (f" (set by {variable})" if variable is not None else ""))

        return build(cls, table, report, dec_hook=_path)

    def _table(self, where: str, value: object) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self.problems.append(f"{where} must be a table, [{where}], got {shown(value)}")
        return {}

    def _named(self, section: str) -> dict[str, Mapping[str, Any]]:
        tables = self._table(section, self._tables.get(section, {}))
        return {name: self._table(f"{section}.{name}", table) for name, table in tables.items()}

    def _check_id(self, section: str, id: str) -> None:
        if not is_actor_id(id):
            self.problems.append(f"{section}.{id!r} must be {ID_GRAMMAR}")

    def _overrides(self, section: str) -> Iterator[tuple[str, str]]:
        """The variables of the environment that set *section*, each with its key."""
        prefix = _variable(section, "")
        for variable in sorted(self._environ):
            if variable.startswith(prefix):
                yield variable, variable.removeprefix(prefix).lower()


def _variable(section: str, key: str) -> str:
    return f"REALTIME_{section}_{key}".upper()


def _of_text(text: str, hint: Any) -> Any:
    """The plain value that *text* of the environment stands for; an unfit one stays, to be reported."""
    if typing.get_origin(hint) is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    if type(None) in typing.get_args(hint) and not text:
        return None
    if hint in (bool, int, float):
        try:
            return msgspec.convert(text, hint, strict=False)
        except msgspec.ValidationError:
            return text
    return text
