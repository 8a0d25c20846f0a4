"""Actor modules, the plug-ins: anyone's code, found by the configuration, checked before anything runs.

An actor module is a Python module with at least one of these, all of them plain functions whose first parameter takes
the `Services`:

| hook | what it returns |
|---|---|
| ``children(services, ...)`` | a list of child specs, which come to stand below ``broadcasters`` |
| ``routes(services, ...)`` | a Quart blueprint, HTTP and WebSockets |
| ``jobs(services, ...)`` | a list of jobs, which clients start as tasks |
| ``methods(services, ...)`` | a list of methods, which clients call over their WebSocket |

Functions that `realtime.actors.declared` made broadcasters are children, and what ``@job`` and ``@method`` made of a
function of the module is a job or a method of it, without any hook. ``message_types`` names the attrs class of the
data of each type of message that the module sends. What follows the services are the module's options: see
`realtime.options`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, TypeVar

import attrs
from quart import Blueprint

from realtime import options
from realtime.actors.access import Access
from realtime.actors.broadcaster import RESTART
from realtime.actors.declared import children_of
from realtime.actors.emitter import Emitter
from realtime.actors.events import EventManager
from realtime.actors.jobs import Job
from realtime.actors.methods import Method, Methods
from realtime.actors.presence import Presence
from realtime.actors.tasks import TaskManager
from realtime.delivery.hub import Hub
from realtime.fields import shown
from realtime.options import Hook, Options
from realtime.options import PluginError as PluginError
from realtime.ports import EventStore
from realtime.settings import ActorSettings, Settings
from realtime.sources import Source, find, where
from realtime.sources import look_beside as look_beside
from realtime.storage.deliveries import DeliveryStore
from supervisors import ChildSpec, SupervisorSpec
from supervisors.runtime.code import install

HOOKS: Final = ("children", "routes", "jobs", "methods")

_RETURNED: Final = {"children": ChildSpec, "routes": Blueprint, "jobs": Job, "methods": Method}

Named = TypeVar("Named", Job, Method)


@attrs.frozen
class Services:
    """What an actor module is given to work with."""

    hub: Hub
    store: EventStore
    events: EventManager
    tasks: TaskManager
    settings: Settings
    access: Access
    emit: Emitter
    presence: Presence
    methods: Methods
    deliveries: DeliveryStore


@attrs.frozen
class Plugin:
    """What an actor module has brought.

    Attributes:
      spec: its children: the one itself, or a supervisor of several; None if it has none.
      topics: the names that its hooks declared.
    """

    id: str
    source: Source
    module: ModuleType
    hooks: tuple[str, ...]
    options: tuple[str, ...]
    spec: ChildSpec | None = None
    blueprint: Blueprint | None = None
    jobs: tuple[Job, ...] = ()
    methods: tuple[Method, ...] = ()
    message_types: Mapping[str, type] = attrs.field(factory=dict)
    topics: frozenset[str] = frozenset()

    @property
    def file(self) -> str | None:
        """Where its source lies."""
        return getattr(self.module, "__file__", None)


# --- asking it -----------------------------------------------------------------------------------------------------


def assemble(id: str, actor: ActorSettings, module: ModuleType, services: Services) -> Plugin:
    """Check the options of an actor, call the hooks of its *module*, and check what they return.

    Topics that the hooks declare stay declared, unless this fails.

    Raises:
      PluginError: an option is wrong, a hook fails or returns something else, or there is no hook.
    """
    before = services.hub.declared()
    try:
        with services.hub.noting() as topics, _in_its_place(module):
            made = _ask(id, actor, module, services)
        return attrs.evolve(made, topics=frozenset(topics))
    except PluginError as error:
        for topic in set(topics) - before:
            services.hub.retract(topic)
        raise PluginError(f"{where(id, actor)}: {error}") from error


@contextmanager
def _in_its_place(module: ModuleType) -> Iterator[None]:
    """While the hooks run, *module* is what its name stands for: annotations written as strings are looked up so."""
    before = sys.modules.get(module.__name__)
    install(module)
    try:
        yield
    finally:
        if before is not None:
            install(before)


def _ask(id: str, actor: ActorSettings, module: ModuleType, services: Services) -> Plugin:
    hooks = _hooks(module)
    jobs, methods = _made_in(module, Job), _made_in(module, Method)
    if not hooks and not jobs and not methods:
        raise PluginError(
            "the module has no plain function children(services, ...), routes, jobs or methods,"
            " and declares no broadcaster, no job and no method"
        )
    checked = options.read(module, hooks, actor.options, services.settings.folder)
    answers = {name: _call(name, hook, checked, services) for name, hook in hooks.items()}
    children = answers.get("children")
    return Plugin(
        id,
        find(actor.use),
        module,
        tuple(hooks),
        checked.names,
        spec=None if children is None else _spec(id, actor, children),
        blueprint=answers.get("routes"),
        jobs=_distinct([*jobs, *answers.get("jobs", [])]),
        methods=_distinct([*methods, *answers.get("methods", [])]),
        message_types=_message_types(module),
    )


def _made_in(module: ModuleType, cls: type[Named]) -> list[Named]:
    """What stands in *module* and was made there, not imported."""
    found = [each for each in vars(module).values() if isinstance(each, cls)]
    return [each for each in found if each.function.__module__ == module.__name__]


def _hooks(module: ModuleType) -> dict[str, Hook]:
    """The hooks of *module*, by name."""
    found = {}
    for name in HOOKS:
        hook = getattr(module, name, None)
        if hook is None and name == "children":
            hook = children_of(module)
        if hook is None:
            continue
        if not callable(hook) or inspect.iscoroutinefunction(hook):
            raise PluginError(f"{name} is no plain function {name}(services, ...)")
        found[name] = hook
    return found


def _call(name: str, hook: Hook, checked: Options, services: Services) -> Any:
    try:
        answer = checked.call(name, hook, services)
    except Exception as error:
        raise PluginError(f"{name}() failed: {error}") from error
    wanted = _RETURNED[name]
    if name == "routes":
        fits, what = isinstance(answer, Blueprint), "a Blueprint"
    else:
        fits = isinstance(answer, list) and bool(answer) and all(isinstance(each, wanted) for each in answer)
        what = f"a list of at least one {wanted.__name__}"
    if not fits:
        raise PluginError(f"{name}() must return {what}, got {shown(answer)}")
    return answer


def _distinct(found: list[Named]) -> tuple[Named, ...]:
    """What was *found*, of which a hook may have named again what stands in the module."""
    by_name: dict[str, Named] = {}
    for each in found:
        if by_name.setdefault(each.name, each) is not each:
            raise PluginError(f"there are two {type(each).__name__.lower()}s called {each.name!r}")
    return tuple(by_name.values())


def _message_types(module: ModuleType) -> dict[str, type]:
    found = getattr(module, "message_types", {})
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(cls, type) and attrs.has(cls) for name, cls in found.items()
    ):
        raise PluginError(f"message_types must be a dict of attrs classes by type of message, got {shown(found)}")
    return dict(found)


def _spec(id: str, actor: ActorSettings, children: list[ChildSpec]) -> ChildSpec:
    """One child stands under the actor's id; several get a supervisor of that id."""
    try:
        specs = [_with_restart_settings(spec, actor) for spec in children]
        if len(specs) == 1:
            named: ChildSpec = attrs.evolve(specs[0], id=id)
            SupervisorSpec().accept(named)
            return named
        return ChildSpec(id, SupervisorSpec(specs), backoff=RESTART)
    except ValueError as error:
        raise PluginError(str(error)) from error


def _with_restart_settings(spec: ChildSpec, actor: ActorSettings) -> ChildSpec:
    """*spec* with what the settings say of its restarts put over it.

    Where neither says anything it is restarted as the bundled ones are: a crash must not cost its siblings anything.
    """
    changes: dict[str, Any] = {}
    if actor.restart is not None:
        changes["restart"] = actor.restart
    if actor.shutdown is not None:
        changes["shutdown"] = actor.shutdown
    backoff: dict[str, Any] = {
        "first": actor.backoff_first,
        "maximum": actor.backoff_maximum,
        "healthy_uptime": actor.healthy_uptime,
        "max_failures": actor.max_failures,
    }
    backoff = {key: value for key, value in backoff.items() if value is not None}
    if backoff:
        changes["backoff"] = attrs.evolve(spec.backoff or RESTART, **backoff)
    elif changes.get("restart", spec.restart) == "temporary":
        changes["backoff"] = None
    else:
        changes["backoff"] = spec.backoff or RESTART
    return attrs.evolve(spec, **changes)
