"""What to run and how to keep it running: the specifications of children and supervisors.

Frozen values, validated when built, so that a wrong tree fails before anything of it starts.
Defaults are Elixir's where OTP has none: 3 restarts in 5 seconds, 5 seconds to shut down.
"""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import attrs
from attrs import validators as v

if TYPE_CHECKING:
    from .runtime.actor import Actor
    from .runtime.ref import Ref, SupervisorRef

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Overflow = Literal["wait", "refuse", "drop_oldest", "drop_newest"]
GiveUp = Literal["raise", "shutdown"]

INFINITY: Final = math.inf
"""Wait as long as it takes."""


class _BrutalKill(enum.Enum):
    BRUTAL_KILL = "BRUTAL_KILL"

    def __repr__(self) -> str:
        return "BRUTAL_KILL"


BRUTAL_KILL: Final = _BrutalKill.BRUTAL_KILL
"""As a ``shutdown``: do not ask, cancel at once."""

ShutdownTime: TypeAlias = float | Literal[_BrutalKill.BRUTAL_KILL]


def _one_of(literal: Any) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    allowed = get_args(literal)

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in allowed:
            raise ValueError(f"{attribute.name} must be one of {', '.join(allowed)}, got {value!r}")

    return check


def _seconds(*, zero: bool = False, finite: bool = False) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (value >= 0 if zero else value > 0) or (finite and value == math.inf):
            bound = ("at least 0" if zero else "greater than 0") + (" and finite" if finite else "")
            raise ValueError(f"{attribute.name} must be a number of seconds {bound}, got {value!r}")

    return check


def _at_least(least: int, *, optional: bool = False) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if optional and value is None:
            return
        # True and False are ints to Python, and a mistake here.
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            or_none = " or None" if optional else ""
            raise ValueError(f"{attribute.name} must be an int of at least {least}{or_none}, got {value!r}")

    return check


def _yes_or_no(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be True or False, got {value!r}")


def _function(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"{attribute.name} must be an async function or None, got {value!r}")


def _shutdown(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not BRUTAL_KILL and value is not None:
        _seconds(zero=True)(_, attribute, value)


def _optional_seconds(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        _seconds()(_, attribute, value)


def _identifier(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value or "/" in value:
        raise ValueError(f"{attribute.name} must be a non-empty string without '/', got {value!r}")


@attrs.frozen
class Backoff:
    """Restart after a delay instead of by the supervisor's budget.

    The first restart is at once; the next ones wait a random time between 0 and *first*, 2 x *first*, 4 x *first* ...
    up to *maximum* seconds ("full jitter").  A child that has run for *healthy_uptime* seconds begins anew.  After
    *max_failures* failures in a row it is given up alone and stays ``failed``; ``None`` means never.  Under
    ``one_for_all`` and ``rest_for_one`` those that are restarted with it are down while it waits, and stay down when
    it is given up.

    Source of full jitter: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    first: float = attrs.field(default=0.5, validator=_seconds(finite=True))
    maximum: float = attrs.field(default=30.0, validator=_seconds(finite=True))
    # Not 0: then every failure would be the first of a row, and restarts that cost no budget would have no bound.
    healthy_uptime: float = attrs.field(default=5.0, validator=_seconds())
    max_failures: int | None = attrs.field(default=None, validator=_at_least(1, optional=True))

    def __attrs_post_init__(self) -> None:
        if self.maximum < self.first:
            raise ValueError(f"maximum must be at least first ({self.first}), got {self.maximum}")


@attrs.frozen
class MailboxSpec:
    """How many messages may wait for an actor, and what happens to one more.

    1000 is a bound on memory, not a target: an actor that far behind is in trouble, and the overflow policy says who
    is told.
    """

    capacity: int = attrs.field(default=1000, validator=_at_least(1))
    overflow: Overflow = attrs.field(default="wait", validator=_one_of(Overflow))


_USUAL_MAILBOX: Final = MailboxSpec()
"""One for all: each child's own would be 64 bytes."""


def _as_children(children: Iterable[ChildSpec]) -> tuple[ChildSpec, ...]:
    return tuple(children)


@attrs.frozen
class SupervisorSpec:
    """A supervisor of the *children* listed, started in this order and stopped in reverse.

    *on_start* runs before the first child is started; it may raise :class:`~supervisors.Ignore` to decline.
    *give_up* says how the supervisor ends when its budget is used up: ``raise`` fails with
    :class:`~supervisors.RestartIntensityExceeded`; ``shutdown`` is OTP's way.  *keep_children* says which children it
    has when it is restarted: those of the spec again, as in OTP, or with ``True`` those that it had last.

    Raises:
      ValueError: naming the field, also for two children of one id and for a significant child that could never act.
    """

    children: tuple[ChildSpec, ...] = attrs.field(default=(), converter=_as_children)
    strategy: Strategy = attrs.field(default="one_for_one", validator=_one_of(Strategy))
    max_restarts: int = attrs.field(default=3, validator=_at_least(0))
    max_seconds: float = attrs.field(default=5.0, validator=_seconds())
    auto_shutdown: AutoShutdown = attrs.field(default="never", validator=_one_of(AutoShutdown))
    give_up: GiveUp = attrs.field(default="raise", validator=_one_of(GiveUp))
    on_start: Callable[[], Any] | None = attrs.field(default=None, validator=_function)
    keep_children: bool = attrs.field(default=False, validator=_yes_or_no)

    def __attrs_post_init__(self) -> None:
        seen: set[str] = set()
        for child in self.children:
            if not isinstance(child, ChildSpec):
                raise TypeError(f"children must be ChildSpecs, got {child!r}")
            if child.id in seen:
                raise ValueError(f"children must have ids of their own, got {child.id!r} twice")
            seen.add(child.id)
            self.accept(child)

    def accept(self, child: ChildSpec) -> None:
        """Check that *child* may stand under this supervisor.

        Raises:
          ValueError: it is significant, and this supervisor never shuts itself down.
        """
        _check_significant(self.auto_shutdown, child)


@attrs.frozen
class DynamicSupervisorSpec:
    """A supervisor whose children are added while it runs; it starts, restarts and stops them concurrently.

    *concurrent* ``False`` starts and restarts them one at a time, as OTP's ``simple_one_for_one`` does; they are
    stopped in parallel either way.  *max_children* bounds how many there may be at once; ``None`` is no bound.
    *on_stop* is awaited when the supervisor begins to stop, before any child is asked to: the place to announce it.
    """

    max_restarts: int = attrs.field(default=3, validator=_at_least(0))
    max_seconds: float = attrs.field(default=5.0, validator=_seconds())
    max_children: int | None = attrs.field(default=None, validator=_at_least(1, optional=True))
    auto_shutdown: AutoShutdown = attrs.field(default="never", validator=_one_of(AutoShutdown))
    give_up: GiveUp = attrs.field(default="raise", validator=_one_of(GiveUp))
    on_start: Callable[[], Any] | None = attrs.field(default=None, validator=_function)
    on_stop: Callable[[], Any] | None = attrs.field(default=None, validator=_function)
    concurrent: bool = attrs.field(default=True, validator=_yes_or_no)

    def accept(self, child: ChildSpec) -> None:
        """As :meth:`SupervisorSpec.accept`."""
        _check_significant(self.auto_shutdown, child)


def _check_significant(auto_shutdown: AutoShutdown, child: ChildSpec) -> None:
    if child.significant and auto_shutdown == "never":
        raise ValueError(
            f"child {child.id!r} is significant, which has no meaning under auto_shutdown 'never'; "
            "set auto_shutdown of its supervisor to 'any_significant' or 'all_significant'"
        )


AnySupervisorSpec: TypeAlias = SupervisorSpec | DynamicSupervisorSpec
Start: TypeAlias = "Callable[..., Any] | type[Actor[Any]] | AnySupervisorSpec | str"

_NO_KWARGS: Final[Mapping[str, Any]] = MappingProxyType({})


def _as_args(args: Iterable[Any]) -> tuple[Any, ...]:
    # Not `tuple` itself, in which mypy sees no type for the arguments and refuses them all.
    return tuple(args)


@attrs.frozen
class ChildSpec:
    """One child: what to start, when to restart it, how long it may take to stop.

    *start* is an async callable, an :class:`~supervisors.Actor` class (with *args* and *kwargs* for its constructor),
    or the spec of a supervisor.  A callable is given what it has keyword parameters for: ``task_status`` makes the
    start a handshake, as with :meth:`trio.Nursery.start`; ``stopping`` is a :class:`trio.Event` set when it is asked
    to stop.  Without ``stopping`` it is asked by cancelling it.

    *start* may also be the name of one of the first two, ``"package.module:attribute"``, which is looked up at each
    start: such a child can be given new code by :meth:`Tree.reload_child`.

    *shutdown* is how many seconds it may take to stop once asked, before it is cancelled: 5 for workers, unbounded
    for supervisors (their children have bounds of their own).  *start_timeout* bounds the handshake, in seconds.
    *ref* is a :class:`~supervisors.Ref` or :class:`~supervisors.SupervisorRef` made beforehand, bound while it runs.

    Raises:
      ValueError, TypeError: naming the field.
    """

    id: str = attrs.field(validator=_identifier)
    start: Start
    args: tuple[Any, ...] = attrs.field(default=(), converter=_as_args)
    kwargs: Mapping[str, Any] = _NO_KWARGS
    restart: Restart = attrs.field(default="permanent", validator=_one_of(Restart))
    shutdown: ShutdownTime = attrs.field(default=None, validator=_shutdown)
    significant: bool = attrs.field(default=False, validator=_yes_or_no)
    start_timeout: float = attrs.field(default=None, validator=_optional_seconds)
    backoff: Backoff | None = attrs.field(default=None, validator=v.optional(v.instance_of(Backoff)))
    mailbox: MailboxSpec = attrs.field(default=_USUAL_MAILBOX, validator=v.instance_of(MailboxSpec))
    ref: Ref[Any] | SupervisorRef | None = None

    def __attrs_post_init__(self) -> None:
        if inspect.iscoroutine(self.start):
            raise TypeError(f"start of child {self.id!r} must be a callable, not a coroutine: leave out the ()")
        if isinstance(self.start, str):
            _check_name(self.id, self.start)
        elif not callable(self.start) and not self.is_supervisor:
            raise TypeError(
                f"start of child {self.id!r} must be an async callable, an Actor class or a supervisor's spec, "
                f"got {self.start!r}"
            )
        if self.is_supervisor and (self.args or self.kwargs):
            raise ValueError(f"args and kwargs of child {self.id!r} have no meaning for a supervisor")
        if self.ref is not None:
            _check_ref(self)
        if self.significant and self.restart == "permanent":
            raise ValueError(
                f"child {self.id!r} is significant and permanent, so it could never end its supervisor; "
                "make it transient or temporary"
            )
        if self.backoff is not None and self.restart == "temporary":
            raise ValueError(f"child {self.id!r} is temporary, so a backoff has no meaning")
        # 5 s is Elixir's default for workers; a supervisor's children have bounds of their own.
        defaults = (INFINITY, INFINITY) if self.is_supervisor else (5.0, 30.0)
        if self.shutdown is None:
            object.__setattr__(self, "shutdown", defaults[0])
        if self.start_timeout is None:
            object.__setattr__(self, "start_timeout", defaults[1])

    @property
    def is_supervisor(self) -> bool:
        """True when *start* is the spec of a supervisor."""
        return isinstance(self.start, SupervisorSpec | DynamicSupervisorSpec)


def _check_name(child_id: str, name: str) -> None:
    module, colon, attribute = name.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
        raise ValueError(f"start of child {child_id!r} must be named as 'package.module:attribute', got {name!r}")


def _check_ref(child: ChildSpec) -> None:
    # By what they offer and not by their classes, which are made of what stands in this module.
    # What a name stands for is not known before it starts.
    actor = isinstance(child.start, str) or (isinstance(child.start, type) and hasattr(child.start, "handle_call"))
    wanted = "SupervisorRef" if child.is_supervisor else "Ref" if actor else None
    if wanted is None:
        raise TypeError(f"ref of child {child.id!r} has no meaning: only actors and supervisors are reached by one")
    if not hasattr(child.ref, "start_child" if child.is_supervisor else "call"):
        raise TypeError(f"ref of child {child.id!r} must be a {wanted}, got {child.ref!r}")


def keywords_wanted(start: Callable[..., Any], offered: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the keyword arguments *offered* the callable *start* takes by name."""
    if isinstance(start, FunctionType) and not start.__dict__:
        # A plain function says it itself, 20 times as fast; a decorated one may stand for another.
        code = start.__code__
        named = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        return tuple([name for name in offered if name in named])
    try:
        parameters = inspect.signature(start).parameters
    except ValueError:  # some callables written in C have no signature: they get nothing
        return ()
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple([name for name in offered if name in parameters and parameters[name].kind in by_name])
