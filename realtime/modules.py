"""The actor modules of a process: which are configured, what each has brought, and their switches at run time.

A module is enabled, disabled or reloaded by a short-lived child of ``jobs``, one at a time for each module. What it
has brought is put in and taken out whole: its child below ``broadcasters``, its routes, jobs and topics. No
connection is touched; who subscribes to a topic whose module is disabled stays, and hears of it again when it is back.

Reloading runs the source anew as a module object of its own, calls its hooks, and only then stops the old children and
starts the new ones. Whatever fails on the way, the old ones run again, and the error says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import attrs
import structlog
import trio
from quart import Blueprint

from realtime import plugins, sources
from realtime.actors.jobs import Job
from realtime.actors.methods import Method
from realtime.plugins import Plugin, PluginError, Services
from realtime.settings import ActorSettings
from realtime.sources import Source
from supervisors import ChildSpec, NoSuchChild, StartError, SupervisorError, SupervisorRef
from supervisors.runtime.code import install, run_anew
from supervisors.tree import in_one_line

Action = Literal["enable", "disable", "reload"]

logger = structlog.get_logger("realtime.modules")


class UnknownModule(LookupError):
    """No actor module of this id is configured."""


class WrongState(Exception):
    """A module cannot be switched so as it is now."""


class Routes(Protocol):
    """Where the routes of modules are put."""

    def check(self, id: str, blueprint: Blueprint) -> None:
        """Whether *blueprint* may be put in as that of *id*, in place of what *id* has.

        Raises:
          ValueError: another module has one of its rules already, or it cannot be used.
        """

    def put(self, id: str, blueprint: Blueprint) -> None:
        """Serve *blueprint*, in place of what *id* has; errors as `check`."""

    def remove(self, id: str) -> None:
        """Serve nothing of *id* any more; again does no harm."""


@attrs.define(eq=False)
class _Entry:
    """One section of the settings, and what has become of it."""

    id: str
    actor: ActorSettings
    plugin: Plugin | None = None
    doing: Action | None = None
    error: str | None = None
    loaded: bool = False  # whether this process has run its module, be it in vain

    @property
    def where(self) -> str:
        return sources.where(self.id, self.actor)


@attrs.frozen
class ModuleInfo:
    """A module as it is now.

    Attributes:
      state: ``enabled``, ``disabled``, or what is being done: ``enable``, ``disable``, ``reload``.
      error: why it could not be switched the last time; None if it could.
      plugin: what it has brought; None while it is disabled.
    """

    id: str
    source: Source
    state: str
    error: str | None
    plugin: Plugin | None


class Modules:
    """All that are configured, in the order of the settings.

    Args:
      routes: where their routes are put.
      broadcasters: the supervisor of their children.
      workers: the dynamic supervisor of what switches them.
    """

    def __init__(self, services: Services, routes: Routes, broadcasters: SupervisorRef, workers: SupervisorRef) -> None:
        self._services = services
        self._routes = routes
        self._broadcasters = broadcasters
        self._workers = workers
        self._entries = {id: _Entry(id, actor) for id, actor in services.settings.actors.items()}
        self._built_in = services.hub.declared()

    # --- at start ---

    def load(self) -> None:
        """Load all that are enabled and put in what they bring, but for their children. Blocking.

        Raises:
          PluginError: with what is wrong with each.
        """
        problems = []
        for entry in self._entries.values():
            if entry.actor.enabled:
                try:
                    entry.loaded = True
                    plugin = self._made(entry, sources.import_module(entry.id, entry.actor))
                    self._put_in(entry, plugin)
                except PluginError as error:
                    problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise PluginError("\n  ".join([f"{len(problems)} actor modules cannot be used", *map(str, problems)]))

    def children(self) -> list[ChildSpec]:
        """The children of all that are enabled."""
        return [plugin.spec for plugin in self._plugins() if plugin.spec is not None]

    def _plugins(self) -> Iterable[Plugin]:
        return [entry.plugin for entry in self._entries.values() if entry.plugin is not None]

    # --- at run time ---

    def message_types(self) -> list[tuple[str, str, type]]:
        """What modules say of the messages that they send: the module's id, the type, and the class of the data."""
        return [(plugin.id, type_, cls) for plugin in self._plugins() for type_, cls in plugin.message_types.items()]

    def listing(self) -> list[ModuleInfo]:
        """All modules as they are now."""
        return [_info(entry) for entry in self._entries.values()]

    def get(self, id: str) -> ModuleInfo:
        """One of them.

        Raises:
          UnknownModule: there is none of this id.
        """
        return _info(self._entry(id))

    def switch_soon(self, action: Action, id: str) -> None:
        """Begin to enable, disable or reload the module *id*; how it went shows in the listing.

        Raises:
          UnknownModule: there is none of this id.
          WrongState: it is so already, is not enabled, or something else is being done with it.
          SupervisorError: nothing can be begun now.
        """
        entry = self._entry(id)
        if entry.doing is not None:
            raise WrongState(f"module {id!r} is about to {entry.doing} already")
        if action == "enable" and entry.plugin is not None:
            raise WrongState(f"module {id!r} is enabled already")
        if action != "enable" and entry.plugin is None:
            raise WrongState(f"module {id!r} is not enabled")
        work = ChildSpec(f"{action} module {id}", self._switch, (entry, action), restart="temporary")
        self._workers.start_child_nowait(work)
        entry.doing = action

    def _entry(self, id: str) -> _Entry:
        if id not in self._entries:
            raise UnknownModule(id)
        return self._entries[id]

    async def _switch(self, entry: _Entry, action: Action) -> None:
        acts: Mapping[Action, Callable[[_Entry], Any]] = {
            "enable": self._enable,
            "disable": self._disable,
            "reload": self._reload,
        }
        try:
            await acts[action](entry)
            entry.error = None
            logger.info("module_switched", module=entry.id, action=action)
        except (PluginError, SupervisorError) as error:
            # The operator's to read, in the listing; nothing else is the worse for it.
            entry.error = str(error)
            logger.error("module_not_switched", module=entry.id, action=action, reason=str(error))
        finally:
            entry.doing = None

    async def _enable(self, entry: _Entry) -> None:
        plugin = self._made(entry, await self._import(entry))
        failure = await self._refused(entry, plugin)
        if failure is not None:
            self._take_out(entry)
            self._retract(plugin.topics)
            raise failure
        install(plugin.module)

    async def _disable(self, entry: _Entry) -> None:
        assert entry.plugin is not None
        plugin = entry.plugin
        self._take_out(entry)
        await self._stop(plugin)
        self._retract(plugin.topics)

    async def _reload(self, entry: _Entry) -> None:
        assert entry.plugin is not None
        old, new = entry.plugin, self._made(entry, await self._import(entry))
        try:
            self._check(entry, new)
        except PluginError:
            self._retract(new.topics)
            raise
        await self._stop(old)
        failure = await self._refused(entry, new)
        if failure is None:
            install(new.module)
            self._retract(old.topics)
            return
        again = await self._refused(entry, old)
        self._retract(new.topics)
        if again is not None:
            self._take_out(entry)
            self._retract(old.topics)
            raise PluginError(f"{failure}; and the old one did not start again: {again}") from failure
        raise failure

    async def _refused(self, entry: _Entry, plugin: Plugin) -> PluginError | None:
        """Let *plugin* be what *entry* has brought, and start its children; returns why that failed, if it did."""
        try:
            # First, since it is done in one go: what two modules want at once, the second is refused.
            self._put_in(entry, plugin)
            await self._start(entry, plugin)
        except PluginError as error:
            return error
        return None

    async def _import(self, entry: _Entry) -> Any:
        """The module: as everybody imports it at first, its source anew when it has been run before."""

        def run() -> Any:
            source = sources.find(entry.actor.use)
            if not entry.loaded:
                return sources.import_module(entry.id, entry.actor)
            try:
                return run_anew(source.module)
            except Exception as error:
                raise sources.not_imported(entry.id, entry.actor, error) from error

        module = await trio.to_thread.run_sync(run, abandon_on_cancel=True)
        entry.loaded = True
        return module

    async def _start(self, entry: _Entry, plugin: Plugin) -> None:
        if plugin.spec is None:
            return
        try:
            await self._broadcasters.start_child(plugin.spec)
        except (StartError, ValueError) as error:  # the latter: it may not stand there
            raise PluginError(f"{entry.where}: {in_one_line(error)}") from error

    async def _stop(self, plugin: Plugin) -> None:
        if plugin.spec is None:
            return
        try:
            await self._broadcasters.terminate_child(plugin.spec.id)
            await self._broadcasters.delete_child(plugin.spec.id)
        except NoSuchChild:
            pass  # a temporary one, which leaves nothing when it ends

    # --- what they bring ---

    def _made(self, entry: _Entry, module: Any) -> Plugin:
        return plugins.assemble(entry.id, entry.actor, module, self._services)

    def _check(self, entry: _Entry, plugin: Plugin) -> None:
        """Whether what *plugin* brings fits beside what the others have.

        Raises:
          PluginError: it does not.
        """
        old = entry.plugin
        services = self._services
        try:
            _refuse_taken("job", plugin.jobs, services.tasks.jobs, () if old is None else old.jobs)
            _refuse_taken("method", plugin.methods, services.methods.methods, () if old is None else old.methods)
            if plugin.blueprint is not None:
                self._routes.check(entry.id, plugin.blueprint)
        except ValueError as error:
            raise PluginError(f"{entry.where}: {error}") from error

    def _put_in(self, entry: _Entry, plugin: Plugin) -> None:
        """Let *plugin* be what *entry* has brought; without a checkpoint, so that nobody sees half of it."""
        self._check(entry, plugin)
        self._take_out(entry)
        for job in plugin.jobs:
            self._services.tasks.register(job)
        for method in plugin.methods:
            self._services.methods.register(method)
        if plugin.blueprint is not None:
            self._routes.put(entry.id, plugin.blueprint)
        entry.plugin = plugin

    def _take_out(self, entry: _Entry) -> None:
        """Let *entry* have brought nothing; its children are another matter."""
        plugin, entry.plugin = entry.plugin, None
        if plugin is None:
            return
        # Two sections may use one module, whose jobs and methods are the same then.
        jobs = {job for other in self._plugins() for job in other.jobs}
        methods = {method for other in self._plugins() for method in other.methods}
        for job in set(plugin.jobs) - jobs:
            self._services.tasks.forget(job.name)
        for method in set(plugin.methods) - methods:
            self._services.methods.forget(method.name)
        self._routes.remove(entry.id)

    def _retract(self, topics: Iterable[str]) -> None:
        """Of *topics*, those that nobody has declared who is still there."""
        still = self._built_in.union(*(plugin.topics for plugin in self._plugins()))
        for topic in set(topics) - still:
            self._services.hub.forget(topic)
            self._services.hub.retract(topic)


def _refuse_taken(
    kind: str, wanted: Iterable[Job | Method], known: Mapping[str, Job | Method], own: Iterable[Job | Method]
) -> None:
    """Refuse a name that something else has which is not the module's *own*."""
    own = list(own)
    for each in wanted:
        holder = known.get(each.name, each)
        if holder is not each and holder not in own:
            raise ValueError(f"there is another {kind} called {each.name!r}")


def _info(entry: _Entry) -> ModuleInfo:
    state = entry.doing or ("disabled" if entry.plugin is None else "enabled")
    source = sources.find(entry.actor.use) if entry.plugin is None else entry.plugin.source
    return ModuleInfo(entry.id, source, state, entry.error, entry.plugin)
