"""Events as classes of one's own: written down as plain data, and made of it again.

    @event_type("door_opened", severity="info")
    @attrs.frozen
    class DoorOpened:
        door: int
        by: str | None = None

A class is checked twice: by its own validators when an instance is made, and against its annotations when the data
comes from elsewhere. What no class is registered for is a `GenericEvent`: anything may be told, and known types are
what they say.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs
import msgspec

from realtime.fields import BadField, nearest
from realtime.policy import checks
from realtime.policy.checks import Severity

T = TypeVar("T")

_MARK: Final = "__realtime_event_type__"
_TYPE: Final = attrs.fields(attrs.make_class("_Named", {"type": attrs.field()})).type
_SEVERITY: Final = attrs.fields(attrs.make_class("_Rated", {"severity": attrs.field()})).severity


@attrs.frozen
class EventType:
    """What `event_type` says of a class: the type of its events, and how severe they are unless it is said."""

    name: str
    severity: Severity = "info"

    def __attrs_post_init__(self) -> None:
        checks.is_type(None, _TYPE, self.name)
        checks.is_severity(None, _SEVERITY, self.severity)


@attrs.frozen
class GenericEvent:
    """An event of a type for which no class is registered: its data as they are."""

    type: str
    data: dict[str, Any] = attrs.field(factory=dict)


def event_type(name: str, *, severity: Severity = "info") -> Callable[[type[T]], type[T]]:
    """Make an attrs class the class of the events of the type *name*; put it above ``@attrs.frozen``.

    Raises:
      BadField: *name* or *severity* cannot be those of an event.
      TypeError: what is decorated is no attrs class, or a field has a name or annotation that cannot be used.
    """
    facts = EventType(name, severity)

    def mark(cls: type[T]) -> type[T]:
        if not is_attrs(cls):
            raise TypeError(f"@event_type({name!r}) goes above @attrs.frozen: {cls!r} is no attrs class")
        setattr(cls, _MARK, facts)
        return cls

    return mark


def type_of(event: object) -> EventType | None:
    """What `event_type` said of the class of *event* (or of *event*, if it is a class); None if it said nothing.

    A class derived from a marked one is another class, and has to be marked itself.
    """
    cls = event if inspect.isclass(event) else type(event)
    found = vars(cls).get(_MARK)
    return found if isinstance(found, EventType) else None


def to_data(event: Any) -> dict[str, Any]:
    """The fields of *event*, an instance of a marked class, as JSON has them.

    Raises:
      BadField: a value has no JSON form.
    """
    data = {}
    for name, field in _fields(_class_of(event)).items():
        try:
            data[name] = msgspec.to_builtins(getattr(event, field.name))
        except (TypeError, RecursionError) as error:
            raise BadField(f"data.{name}", f"data.{name} has no JSON form: {error}") from None
    return data


def from_data(cls: type[T], data: Mapping[str, Any], *, strict: bool = True) -> T:
    """Make a *cls* of *data*.

    Args:
      strict: refuse fields that *cls* does not have. Stored events may be older than their class is now.

    Raises:
      BadField: *data* are not those of a *cls*; the field is named as ``data.<field>``.
    """
    known: Any = cls  # mypy does not see that a class is hashable
    fields, hints = _fields(known), _hints(known)
    if strict:
        for name in data:
            if name not in fields:
                short = name[:80]
                raise BadField(f"data.{short}", f"data.{short} is not known{nearest(name, fields)}")
    given = {}
    for name, field in fields.items():
        if name in data:
            given[name] = _converted(f"data.{name}", data[name], hints[field.name])
        elif field.default is attrs.NOTHING:
            raise BadField(f"data.{name}", f"data.{name} is missing")
    try:
        return cls(**given)
    except BadField as error:
        where = "data" if error.field is None else f"data.{error.field}"
        raise BadField(where, f"data: {error.message}") from None
    except (ValueError, TypeError) as error:  # both are what attrs' own validators raise
        raise BadField("data", f"data: {error.args[0] if error.args else error!r}") from None


def _class_of(event: Any) -> Any:
    return type(event)


def _converted(where: str, value: object, hint: Any) -> object:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        text, _, inner = str(error).partition(" - at `$")
        where += inner.removesuffix("`")
        raise BadField(where, f"{where}: {text[:1].lower()}{text[1:]}") from None


def is_attrs(cls: Any) -> bool:
    """Whether *cls* is an attrs class."""
    return inspect.isclass(cls) and attrs.has(cls)


@functools.cache
def _fields(cls: Any) -> dict[str, "attrs.Attribute[Any]"]:
    """By the names of the parameters that the class is made with."""
    return {field.alias or field.name: field for field in attrs.fields(cls) if field.init}


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


class EventTypes:
    """The classes that are known, each by the type of its events."""

    def __init__(self, classes: Iterable[type] = ()) -> None:
        self._classes: dict[str, type] = {}
        for cls in classes:
            self.register(cls)

    def __iter__(self) -> typing.Iterator[type]:
        return iter(self._classes.values())

    def register(self, cls: type[T]) -> type[T]:
        """Know *cls* from now on; may be used as a decorator. A class replaces an older version of itself.

        Raises:
          TypeError: it is not marked by `event_type`.
          ValueError: its type is another class's.
        """
        facts = type_of(cls)
        if facts is None:
            raise TypeError(f"{cls!r} says no type of event; put @event_type(...) above it")
        known = self._classes.get(facts.name)
        if known is not None and _name(known) != _name(cls):
            raise ValueError(f"events of type {facts.name!r} are {_name(known)}; {_name(cls)} needs another type")
        self._classes[facts.name] = cls
        return cls

    def facts(self, event: object) -> EventType:
        """What is known of the class of *event*.

        Raises:
          TypeError: it is not registered, so that the event could not be told from others when it is read again.
        """
        facts = type_of(event)
        if facts is None or self._classes.get(facts.name) is not event.__class__:
            raise TypeError(f"{_name(type(event))} is not registered as the class of a type of events; register() it")
        return facts

    def check(self, type: str, data: Mapping[str, Any]) -> None:
        """Refuse *data* that the class registered for *type* would not take.

        Raises:
          BadField: naming the field.
        """
        cls = self._classes.get(type)
        if cls is not None:
            from_data(cls, data)

    def decode(self, type: str, data: Mapping[str, Any]) -> Any:
        """The event as its class, or as a `GenericEvent` if there is none for *type*.

        Fields that the class no longer has are left out; those that came since have to have a default.

        Raises:
          BadField: *data* are not what the class takes, as when it changed after they were stored.
        """
        cls = self._classes.get(type)
        return GenericEvent(type, dict(data)) if cls is None else from_data(cls, data, strict=False)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
