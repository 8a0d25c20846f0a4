"""The options of an actor module: what stands in ``[actors.<id>]`` beside the settings of every actor.

A module says which there are in one of two ways: by the keyword parameters of its hooks, or by an attrs class
``Settings`` of its own, which every hook that has room for it is given behind the services.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import msgspec

from realtime.fields import BadField, build, nearest

_NAMED: Final = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Hook = Callable[..., Any]


class PluginError(Exception):
    """An actor module cannot be used; the text names the module, and the option if it is one."""


@attrs.frozen
class Options:
    """The checked options of one module, ready for its hooks.

    Attributes:
      names: all that can be set.
      settings: an instance of the module's own ``Settings``; None without such a class.
      values: else, by the hook's name, the keyword arguments that it is given.
    """

    names: tuple[str, ...]
    settings: Any = None
    values: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)

    def call(self, name: str, hook: Hook, services: object) -> Any:
        """Call *hook*, which is called *name*, with what it declares, and return what it returns."""
        if self.settings is not None:
            room = [each for each in _behind_services(hook) if each.kind in _POSITIONAL]
            return hook(services, self.settings) if room else hook(services)
        return hook(services, **self.values.get(name, {}))


def read(module: ModuleType, hooks: Mapping[str, Hook], given: Mapping[str, object], folder: Path) -> Options:
    """Check what was *given* against what *module* and its *hooks* declare; relative paths begin at *folder*.

    Raises:
      PluginError: naming all that is wrong. What an option is set to stays out of it, since it may be a password,
        unless a validator of the module's own tells it.
    """
    own = own_settings(module)
    problems: list[str] = []
    found = _by_parameters(hooks, given, folder, problems) if own is None else _by_class(own, given, folder, problems)
    if problems:
        raise PluginError("; ".join(problems))
    return found


def own_settings(module: ModuleType) -> type | None:
    """The attrs class ``Settings`` that *module* itself defines, if it does."""
    found = getattr(module, "Settings", None)
    if isinstance(found, type) and attrs.has(found) and found.__module__ == module.__name__:
        return found
    return None


def _path_in(folder: Path) -> Callable[[type, Any], Any]:
    def path(wanted: type, value: Any) -> Any:
        # The one type of an option that msgspec does not know.
        if wanted is Path and isinstance(value, str) and value:
            return folder / value
        raise ValueError("expected a path")

    return path


# --- a class -------------------------------------------------------------------------------------------------------


def _by_class(own: type, given: Mapping[str, object], folder: Path, problems: list[str]) -> Options:
    names = tuple(field.alias or field.name for field in attrs.fields(own) if field.init)

    def report(problem: BadField) -> None:
        problems.append(f"option {problem}")

    try:
        return Options(names, build(own, given, report, dec_hook=_path_in(folder)))
    except (NameError, TypeError, SyntaxError) as error:
        problems.append(f"its class Settings cannot be used: {error}")
        return Options(names)


# --- keyword parameters --------------------------------------------------------------------------------------------


def _by_parameters(
    hooks: Mapping[str, Hook], given: Mapping[str, object], folder: Path, problems: list[str]
) -> Options:
    declared = [
        (name, hook, parameter)
        for name, hook in hooks.items()
        for parameter in _behind_services(hook)
        if parameter.kind in _NAMED
    ]
    names = tuple(dict.fromkeys(parameter.name for _, _, parameter in declared))
    for option in given:
        if option not in names:
            problems.append(f"option {option!r} is not known{nearest(option, names)}")
    values: dict[str, dict[str, Any]] = {}
    for name, hook, parameter in declared:
        option = parameter.name
        if option in given:
            values.setdefault(name, {})[option] = _convert(hook, parameter, given[option], folder, problems)
        elif parameter.default is parameter.empty:
            problems.append(f"option {option!r} is missing")
    problems[:] = dict.fromkeys(problems)  # two hooks may say the same of one option
    return Options(names, None, values)


def _behind_services(hook: Hook) -> list[inspect.Parameter]:
    # The first parameter takes the services; the star behind it is easily forgotten, and not insisted on.
    return list(inspect.signature(hook).parameters.values())[1:]


def _convert(hook: Hook, parameter: inspect.Parameter, value: object, folder: Path, problems: list[str]) -> Any:
    where = f"option {parameter.name!r}"
    try:
        return msgspec.convert(value, _hint(hook, parameter), dec_hook=_path_in(folder))
    except msgspec.ValidationError as error:
        problems.append(f"{where}: {str(error)[0].lower()}{str(error)[1:]}")
    except NameError as error:
        problems.append(
            f"{where}: its annotation {parameter.annotation!r} cannot be read: {error};"
            " what is imported under TYPE_CHECKING does not exist while the program runs"
        )
    except (TypeError, SyntaxError) as error:  # an annotation that is no type, or none that TOML can have
        problems.append(f"{where}: its annotation {parameter.annotation!r} cannot be used: {error}")
    return None


def _hint(hook: Hook, parameter: inspect.Parameter) -> Any:
    """The type that *parameter* wants, evaluated if it is written as a string, as all are with ``annotations``.

    By itself, so that the names in the others need not exist while the program runs.
    """
    if parameter.annotation is parameter.empty:
        return Any

    def alone() -> None: ...

    alone.__annotations__ = {parameter.name: parameter.annotation}
    names = getattr(inspect.unwrap(hook), "__globals__", {})
    return typing.get_type_hints(alone, globalns=names, include_extras=True)[parameter.name]
