"""The code of children that are given by name: looked up at each start, and replaced while the tree runs.

New code runs in a new module object, which nobody but the child sees until it is up: then it takes the old one's
place in :data:`sys.modules`.  So classes that others have imported, above all those of messages, belong in another
module, which is not reloaded: what is made of the old class is no instance of the new one.
"""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

if TYPE_CHECKING:
    from .actor import Actor
    from .child import Child

NO_STATE: Final = object()
"""Stands for the state of a child that did not run."""


def resolve(name: str) -> Callable[..., Any]:
    """What ``"package.module:attribute"`` stands for now; imports the module if nobody has.

    Raises:
      TypeError: it cannot be called.
      Exception: whatever the import raises, or an AttributeError.
    """
    module, _, attribute = name.partition(":")
    return _within(importlib.import_module(module), attribute)


def _within(module: ModuleType, attribute: str) -> Callable[..., Any]:
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{module.__name__}:{attribute} must be an async callable or an Actor class, got {found!r}")
    return found  # type: ignore[no-any-return]


@attrs.frozen
class NewCode:
    """What a name will stand for once :meth:`install` has been called."""

    module: ModuleType
    start: Callable[..., Any]

    def install(self) -> None:
        """Let the module take its place, in :data:`sys.modules` and in its package."""
        install(self.module)


def install(module: ModuleType) -> None:
    """Let *module* take the place of the one of its name, in :data:`sys.modules` and in its package."""
    sys.modules[module.__name__] = module
    package, _, last = module.__name__.rpartition(".")
    if package in sys.modules:
        setattr(sys.modules[package], last, module)


def load(name: str) -> NewCode:
    """Run the module of *name* anew, as :func:`run_anew` does."""
    module_name, _, attribute = name.partition(":")
    module = run_anew(module_name)
    return NewCode(module, _within(module, attribute))


def run_anew(module_name: str) -> ModuleType:
    """Run a module anew from its source, as it is now, as a new object.  Blocks for as long as that takes.

    Raises:
      ImportError: it has no source.
      Exception: whatever the module raises.
    """
    spec = importlib.util.find_spec(module_name)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise ImportError(f"{module_name} has no source to load it from", name=module_name)
    module = importlib.util.module_from_spec(spec)
    path = spec.loader.get_filename(module_name)
    # Not by exec_module(), which takes what it compiled before if the file has the same size and second.
    code = spec.loader.source_to_code(spec.loader.get_data(path), path)
    linecache.checkcache(path)
    exec(code, module.__dict__)
    return module


@attrs.frozen
class Upgrade:
    """What a child is to start next, and the state that the code before it gave."""

    start: Callable[..., Any]
    state: object = NO_STATE

    def make(self, *args: Any, **kwargs: Any) -> Actor[Any]:
        """The actor, which takes over the state as the last thing of its ``on_start``."""
        actor: Actor[Any] = self.start(*args, **kwargs)
        if self.state is not NO_STATE:
            # Over the method, for this one start: actors that are never reloaded pay nothing for it.
            vars(actor)["on_start"] = self._starting(actor)
        return actor

    def _starting(self, actor: Actor[Any]) -> Callable[[], Any]:
        async def on_start() -> None:
            del vars(actor)["on_start"]
            await actor.on_start()
            await actor.on_upgrade(self.state)

        return on_start


class Export:
    """Asks a running actor for its state, in its own task between two messages; then it handles no more of them."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.state: object = NO_STATE
        self.error: Exception | None = None
        self.over = trio.Event()
        self._called_off = False

    async def __call__(self, actor: Actor[Any]) -> bool:
        """Called by the actor; False means: go on."""
        if self._called_off:
            return False
        try:
            state = await actor.export_state()
        except Exception as error:
            self.error = error  # for whoever asked: the actor has lost nothing and goes on
            self.over.set()
            return False
        if self._called_off:
            return False
        self.state = state
        self.child.step_down()
        self.over.set()
        return True

    async def wait(self, seconds: float) -> bool:
        """Wait until there is a state, an error, or no actor any more; False if not within *seconds*."""
        in_time = False
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wait_gone, nursery.cancel_scope)
                await self.over.wait()
                nursery.cancel_scope.cancel()
            in_time = True
        # Also when the actor is gone: its next life would find this in its mailbox, and end.
        self._called_off = not self.over.is_set()
        return in_time or not self._called_off

    async def _wait_gone(self, scope: trio.CancelScope) -> None:
        await self.child.wait_gone()
        scope.cancel()
