"""``realtime modules``: which actor modules are configured, from where they come, and what else is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

import attrs

from realtime import plugins, sources
from realtime.plugins import PluginError, Services
from realtime.settings import ActorSettings, Settings
from realtime.sources import ENTRY_POINTS
from realtime.tree import build


def inventory(settings: Settings) -> Iterator[str]:
    """The lines for *settings*. Modules that are enabled are imported and asked; nothing is started.

    One that cannot be used is told with the reason, and the others after it.

    Raises:
      SettingsError: what the settings ask for besides cannot be had.
    """
    services = attrs.evolve(build(attrs.evolve(settings, actors={})).services, settings=settings)
    for id, actor in settings.actors.items():
        yield f"{id} ({'enabled' if actor.enabled else 'disabled'})"
        yield from (f"  {line}" for line in _facts(id, actor, services))
    used = {actor.use for actor in settings.actors.values()}
    spare = [point for point in entry_points(group=ENTRY_POINTS) if point.name not in used]
    if spare:
        yield "installed, but not configured:"
    for point in sorted(spare, key=lambda point: point.name):
        yield f"  {point.name}: {sources.origin_of(point)}, module {point.module}; [actors.{point.name}] enables it"


def _facts(id: str, actor: ActorSettings, services: Services) -> Iterator[str]:
    source = sources.find(actor.use)
    yield f"from     {source.origin}{'' if source.origin == 'module' else ', module'} {source.module}"
    if not actor.enabled:
        return
    try:
        found = plugins.assemble(id, actor, sources.import_module(id, actor), services)
    except PluginError as error:
        yield f"WRONG    {error}"
        return
    told = {
        "file": [found.file or "none"],
        "hooks": found.hooks,
        "options": found.options,
        "topics": sorted(found.topics),
        "jobs": [job.name for job in found.jobs],
        "methods": [method.name for method in found.methods],
    }
    for what, values in told.items():
        if values:
            yield f"{what:8} {', '.join(values)}"
