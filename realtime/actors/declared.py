"""Broadcasters from plain functions: one line above the function says when it is called and where its value goes.

    from realtime.actors.declared import periodic

    @periodic(every=1.0, topic="dice")
    def dice():
        return {"eyes": random.randint(1, 6)}

A module with such functions is an actor module as it stands. A plain function may block, and so is called in a
thread; an async one must not.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar

import attrs

from realtime.actors.broadcaster import RESTART, Broadcaster, PeriodicBroadcaster, SamplingBroadcaster
from realtime.actors.driven import CHECK, EventDrivenBroadcaster, HybridBroadcaster
from realtime.delivery.hub import Hub
from realtime.fields import positive_seconds
from realtime.messages import TOPIC_GRAMMAR, is_topic
from realtime.policy.significance import Significant
from supervisors import ChildSpec

SNAPSHOT: Final = "snapshot"
"""The type of a user's own message of state, unless it is called ``<name>_update``."""

P = ParamSpec("P")
T = TypeVar("T")
Sample = Callable[[], object]


class Publish(Protocol):
    """How an event-driven function says something: never blocks; False if it was not worth sending."""

    def __call__(self, value: object, *, key: str | None = None) -> bool: ...


class _Periodic(PeriodicBroadcaster):
    function: Sample

    async def sample(self) -> object:
        return await _call(self, self.function)


class _Hybrid(HybridBroadcaster):
    function: Sample

    async def sample(self) -> object:
        return await _call(self, self.function)


class _EventDriven(EventDrivenBroadcaster):
    function: Callable[[Publish], Awaitable[object]]

    async def broadcast(self) -> None:
        await self.function(self.publish)


async def _call(broadcaster: SamplingBroadcaster, function: Sample) -> object:
    if not inspect.iscoroutinefunction(function):
        return await broadcaster.in_thread(function)
    return await function()


@attrs.define
class Declared(Generic[P, T]):
    """A function that a broadcaster calls. Called itself, it is the function as it was."""

    function: Callable[P, T]
    kind: type[Broadcaster]
    topic: str
    retain: bool
    arguments: dict[str, Any]
    settings: dict[str, Any]
    _running: Broadcaster | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def name(self) -> str:
        """What its child is called."""
        return self.function.__name__

    def notify(self) -> None:
        """Tell a hybrid one that something happened; before it runs there is nobody to tell, and no need to.

        Raises:
          TypeError: it is none.
        """
        if not issubclass(self.kind, HybridBroadcaster):
            raise TypeError(f"{self.name} is not hybrid, so nobody waits for a notification")
        if isinstance(self._running, HybridBroadcaster):
            self._running.notify()

    def broadcaster(self, hub: Hub, *, interval: float | None = None) -> Broadcaster:
        """One that calls the function, every *interval* seconds if that is given, and as declared otherwise."""
        arguments = self.arguments if interval is None else {**self.arguments, "interval": interval}
        hub.declare(self.topic, retain=self.retain)
        made = self.kind(hub, topic=self.topic, **arguments)
        for name, value in {"function": self.function, **self.settings}.items():
            setattr(made, name, value)
        self._running = made
        return made

    def child(self, hub: Hub, *, interval: float | None = None) -> ChildSpec:
        """The supervised child: permanent, tried again without end."""
        return ChildSpec(self.name, self.broadcaster(hub, interval=interval).run, backoff=RESTART)


def periodic(
    *,
    every: float,
    topic: str,
    type: str = SNAPSHOT,
    retain: bool = True,
    only_if_changed: bool = False,
    only_while_listened_to: bool = False,
    significant: Significant | None = None,
) -> Callable[[Callable[P, T]], Declared[P, T]]:
    """Call the function each *every* seconds and publish what it returns as a message of *type* on *topic*.

    Args:
      retain: send the last value to who subscribes later: right for a state, wrong for what happened once.
      only_if_changed, only_while_listened_to, significant: see `Broadcaster`.

    Raises:
      ValueError, TypeError: *every* is no time, *topic* no topic's name; the function wants arguments.
    """
    arguments = {"type": type, "interval": positive_seconds("every", every), "significant": significant}
    settings = {"only_if_changed": only_if_changed, "only_while_listened_to": only_while_listened_to}
    return _declare(_Periodic, topic, retain, arguments, settings, parameters=0)


def conditional(
    *, every: float, topic: str, type: str = SNAPSHOT, significant: Significant | None = None
) -> Callable[[Callable[P, T]], Declared[P, T]]:
    """As `periodic`, but only while somebody listens, and only what changed; *significant* says what counts as that."""
    return periodic(
        every=every,
        topic=topic,
        type=type,
        only_if_changed=True,
        only_while_listened_to=True,
        significant=significant,
    )


def event_driven(
    *, topic: str, type: str = SNAPSHOT, retain: bool = False, significant: Significant | None = None
) -> Callable[[Callable[P, T]], Declared[P, T]]:
    """Run the async function for ever; each ``publish(value)`` with what it is given goes out at once on *topic*.

    It is restarted when it raises. When it returns, it has no more to say, and is called again.

    Raises:
      ValueError, TypeError: *topic* is no topic's name; the function is not async or takes not exactly one argument.
    """
    arguments = {"type": type, "significant": significant}
    return _declare(_EventDriven, topic, retain, arguments, {}, parameters=1)


def hybrid(
    *,
    topic: str,
    every: float = CHECK,
    type: str = SNAPSHOT,
    retain: bool = True,
    only_while_listened_to: bool = False,
    significant: Significant | None = None,
) -> Callable[[Callable[P, T]], Declared[P, T]]:
    """Call the function at each `Declared.notify`, and each *every* seconds in case nobody notified; publish changes.

    Raises:
      ValueError, TypeError: as `periodic`.
    """
    arguments = {"type": type, "interval": positive_seconds("every", every), "significant": significant}
    settings = {"only_while_listened_to": only_while_listened_to}
    return _declare(_Hybrid, topic, retain, arguments, settings, parameters=0)


def _declare(
    kind: type[Broadcaster],
    topic: str,
    retain: bool,
    arguments: dict[str, Any],
    settings: dict[str, Any],
    *,
    parameters: int,
) -> Callable[[Callable[P, T]], Declared[P, T]]:
    if not is_topic(topic):
        raise ValueError(f"topic must be {TOPIC_GRAMMAR}, not {topic!r}")

    def declare(function: Callable[P, T]) -> Declared[P, T]:
        wanted = [
            each for each in inspect.signature(function).parameters.values() if each.default is inspect.Parameter.empty
        ]
        if len(wanted) != parameters:
            takes = "one argument, the function to publish with" if parameters else "no arguments"
            raise TypeError(f"{function.__name__}() must take {takes}")
        if parameters and not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__name__}() must be an async function: it runs for ever")
        return Declared(function, kind, topic, retain, arguments, settings)

    return declare


def declared_in(module: ModuleType) -> list[Declared[..., Any]]:
    """Those that *module* itself declares, in the order in which it does."""
    found = [each for each in vars(module).values() if isinstance(each, Declared)]
    return [each for each in found if each.function.__module__ == module.__name__]


def children_of(module: ModuleType) -> Callable[..., list[ChildSpec]] | None:
    """What an actor module has as ``children``, made of what *module* declares; None if it declares nothing.

    With one function that is called at intervals, ``interval`` is the module's option.
    """
    found = declared_in(module)
    if not found:
        return None

    def children(services: Any) -> list[ChildSpec]:
        return [each.child(services.hub) for each in found]

    def child(services: Any, *, interval: float | None = None) -> list[ChildSpec]:
        return [found[0].child(services.hub, interval=interval)]

    return child if len(found) == 1 and "interval" in found[0].arguments else children
