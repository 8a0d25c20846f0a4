"""Where the module of an actor is found: on the path of Python, or by the entry point of a package."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

import attrs

from realtime.fields import nearest
from realtime.options import PluginError
from realtime.settings import ActorSettings

ENTRY_POINTS: Final = "realtime.actors"
"""The entry-point group under which installed packages offer actor modules."""


@attrs.frozen
class Source:
    """Where the module of an actor is found.

    Attributes:
      use: as the settings have it.
      module: its dotted name.
      origin: for people: a module of the path, or which package's entry point.
    """

    use: str
    module: str
    origin: str


def look_beside(config: Path | None) -> None:
    """Let modules lie beside the settings; without a file of settings, in the current folder.

    At the end of the path, where they shadow nothing.
    """
    folder = str(Path.cwd() if config is None else config.absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)


def where(id: str, actor: ActorSettings) -> str:
    """How errors begin."""
    return f"[actors.{id}] (module {actor.use!r})"


def find(use: str) -> Source:
    """Where *use* leads: to the entry point of this name, else to the module. Nothing is imported."""
    for point in entry_points(group=ENTRY_POINTS, name=use):
        return Source(use, point.module, origin_of(point))
    return Source(use, use, "module")


def origin_of(point: EntryPoint) -> str:
    """Whose entry point it is."""
    # Made by hand, it has none.
    package = "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"
    return f"entry point {point.name!r}{package}"


def import_module(id: str, actor: ActorSettings) -> ModuleType:
    """Import the module of an actor, as anybody else would. Blocking.

    Raises:
      PluginError: it cannot be imported.
    """
    try:
        return importlib.import_module(find(actor.use).module)
    except Exception as error:
        raise not_imported(id, actor, error) from error


def not_imported(id: str, actor: ActorSettings, error: Exception) -> PluginError:
    """What to say of a module whose import failed."""
    text = f"cannot be imported: {type(error).__name__}: {error}{_advice(actor.use, error)}"
    return PluginError(f"{where(id, actor)} {text}")


def _advice(use: str, error: Exception) -> str:
    """What else was looked for, if it is the module itself that is not there."""
    if not isinstance(error, ModuleNotFoundError) or error.name != use:
        return ""
    known = [point.name for point in entry_points(group=ENTRY_POINTS)]
    return f" (and there is no entry point of this name in {ENTRY_POINTS!r}{nearest(use, known)})"
