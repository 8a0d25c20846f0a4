"""Actor modules: anyone's code, found by the configuration, started as children of ``broadcasters``.

An actor module is a Python module with ``children(services, *, ...options) -> list[ChildSpec]``.  Its keyword
parameters are its options: their names and types are checked against ``[actors.<id>]`` before anything runs.
One without it, but with functions that `realtime.actors.declared` made broadcasters, is one as well.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import msgspec

from realtime.actors.access import Access
from realtime.actors.broadcaster import RESTART
from realtime.actors.declared import children_of
from realtime.actors.events import EventManager
from realtime.actors.tasks import TaskManager
from realtime.delivery.hub import Hub
from realtime.fields import nearest
from realtime.ports import EventStore
from realtime.settings import ActorSettings, Settings
from supervisors import ChildSpec, SupervisorSpec

ENTRY_POINTS: Final = "realtime.actors"
"""The entry-point group under which installed packages offer actor modules."""

_NAMED: Final = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class PluginError(Exception):
    """An actor module cannot be used; the text names the module, and the option if it is one."""


@attrs.frozen
class Services:
    """What an actor module is given to work with."""

    hub: Hub
    store: EventStore
    events: EventManager
    tasks: TaskManager
    settings: Settings
    access: Access


def look_beside(config: Path | None) -> None:
    """Let modules lie beside the settings; without a file of settings, in the current folder.

    At the end of the path, where they shadow nothing.
    """
    folder = str(Path.cwd() if config is None else config.absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)


def load_children(services: Services) -> list[ChildSpec]:
    """The children of every enabled actor module of the settings, in the order of the settings.

    A module with one child stands under its actor's id; one with several gets a supervisor of that id.

    Raises:
      PluginError: a module cannot be imported, has no ``children``, refuses an option, or returns something else.
    """
    actors = services.settings.actors
    return [_load(id, actor, services) for id, actor in actors.items() if actor.enabled]


def _load(id: str, actor: ActorSettings, services: Services) -> ChildSpec:
    where = f"[actors.{id}] (module {actor.use!r})"
    module = _module(actor.use, where)
    children = getattr(module, "children", None) or children_of(module)
    if not callable(children) or inspect.iscoroutinefunction(children):
        raise PluginError(
            f"{where}: the module has no plain function children(services, ...), and declares no broadcaster"
        )
    options = _options(children, actor.options, where, services.settings.folder)
    try:
        specs = children(services, **options)
    except Exception as error:
        raise PluginError(f"{where}: children() failed: {error}") from error
    if not isinstance(specs, list) or not specs or not all(isinstance(spec, ChildSpec) for spec in specs):
        raise PluginError(f"{where}: children() must return a list of at least one ChildSpec, got {specs!r}")
    try:
        specs = [_with_restart_settings(spec, actor) for spec in specs]
        if len(specs) == 1:
            named: ChildSpec = attrs.evolve(specs[0], id=id)
            return named
        return ChildSpec(id, SupervisorSpec(specs), backoff=RESTART)
    except ValueError as error:
        raise PluginError(f"{where}: {error}") from error


def _module(use: str, where: str) -> ModuleType:
    found = entry_points(group=ENTRY_POINTS, name=use)
    try:
        if found:
            module: ModuleType = next(iter(found)).load()
            return module
        return importlib.import_module(use)
    except Exception as error:
        raise PluginError(
            f"{where} cannot be imported: {type(error).__name__}: {error}{_advice(use, error)}"
        ) from error


def _advice(use: str, error: Exception) -> str:
    """What else was looked for, if it is the module itself that is not there."""
    if not isinstance(error, ModuleNotFoundError) or error.name != use:
        return ""
    known = [point.name for point in entry_points(group=ENTRY_POINTS)]
    return f" (and there is no entry point of this name in {ENTRY_POINTS!r}{nearest(use, known)})"


def _options(children: Callable[..., Any], given: Mapping[str, object], where: str, folder: Path) -> dict[str, Any]:
    """The options as the module's annotations want them; relative paths begin at *folder*."""
    # The first parameter takes the services; the star behind it is easily forgotten, and not insisted on.
    parameters = {p.name: p for p in list(inspect.signature(children).parameters.values())[1:] if p.kind in _NAMED}
    for name in given:
        if name not in parameters:
            raise PluginError(f"{where}: option {name!r} is not known{nearest(name, parameters)}")
    for parameter in parameters.values():
        if parameter.default is parameter.empty and parameter.name not in given:
            raise PluginError(f"{where}: option {parameter.name!r} is missing")
    return {name: _option(children, parameters[name], value, where, folder) for name, value in given.items()}


def _option(children: Callable[..., Any], parameter: inspect.Parameter, value: object, where: str, folder: Path) -> Any:
    def path(wanted: type, value: Any) -> Any:
        # The one type of an option that msgspec does not know.
        if wanted is Path and isinstance(value, str) and value:
            return folder / value
        raise ValueError("expected a path")

    where = f"{where}: option {parameter.name!r}"
    try:
        # The value stays out of the text: it may be a password.
        return msgspec.convert(value, _hint(children, parameter), dec_hook=path)
    except msgspec.ValidationError as error:
        raise PluginError(f"{where}: {str(error)[0].lower()}{str(error)[1:]}") from error
    except NameError as error:
        raise PluginError(
            f"{where}: its annotation {parameter.annotation!r} cannot be read: {error};"
            " what is imported under TYPE_CHECKING does not exist while the program runs"
        ) from error
    except (TypeError, SyntaxError) as error:  # an annotation that is no type, or none that TOML can have
        raise PluginError(f"{where}: its annotation {parameter.annotation!r} cannot be used: {error}") from error


def _hint(children: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The type that *parameter* wants, evaluated if it is written as a string, as all are with ``annotations``.

    By itself, so that the names in the others need not exist while the program runs.
    """
    if parameter.annotation is parameter.empty:
        return Any

    def alone() -> None: ...

    alone.__annotations__ = {parameter.name: parameter.annotation}
    names = getattr(inspect.unwrap(children), "__globals__", {})
    return typing.get_type_hints(alone, globalns=names, include_extras=True)[parameter.name]


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
