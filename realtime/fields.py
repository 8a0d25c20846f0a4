"""Plain values (of JSON or TOML) into attrs classes, with errors that name the field.

msgspec converts into attrs classes by itself, but takes unknown keys in silence and stops at the first
problem, which is too little for whoever corrects a file. Here every field is converted on its own.

A class read this way follows one rule: the validator of a field looks at its value alone, since it is called
before there is an instance; what holds between fields is checked in ``__attrs_post_init__``. Both raise
ValueError with a text that begins with the field's name, or a `BadField`.
"""

import difflib
import enum
import functools
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

import attrs
import msgspec

T = TypeVar("T")
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]

LONGEST_SHOWN = 80
"""Characters of a foreign value that an error repeats: enough to recognise it, too few to flood a log."""


MAX_DEPTH = 64
"""Levels of nesting accepted from outside. msgspec decodes about as deep as Python's recursion limit allows;
what just passed could not be encoded again from a deeper stack, and would crash whoever hands it on."""

_JSON_NAMES = {
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class BadField(ValueError):
    """A value that does not fit.

    Attributes:
      field: where it stood, such as ``tags[2]``; None when the whole is wrong, or two fields together.
      message: one sentence that begins with the field's name and says what was wanted and what came.
    """

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(field, message)
        self.field = field
        self.message = message

    def __str__(self) -> str:
        return self.message


def raise_first(problem: BadField) -> NoReturn:
    """A *report* for `build` that stops at the first problem: values of a stranger deserve no longer list."""
    raise problem


def build(
    cls: type[T],
    values: Mapping[str, object],
    report: Callable[[BadField], object],
    *,
    dec_hook: Callable[[type, Any], Any] | None = None,
) -> T | None:
    """Make a *cls* (an attrs class) of *values*, or None when anything was reported.

    Args:
      report: called with each problem: the ``append`` of a list, or `raise_first`, to stop at one.
      dec_hook: as msgspec's, makes the types that msgspec does not know.
    """
    known = _fields(cls)  # type: ignore[arg-type]  # mypy does not see that a class is hashable
    given: dict[str, Any] = {}
    bad = False

    def tell(problem: BadField) -> None:
        nonlocal bad
        bad = True
        report(problem)

    for key in values:
        if key in known:
            continue
        tell(BadField(key[:LONGEST_SHOWN], f"{key[:LONGEST_SHOWN]} is not known{nearest(key, known)}"))
    for name, (field, hint) in known.items():
        if name not in values:
            if field.default is attrs.NOTHING:
                tell(BadField(name, f"{name} is missing"))
            continue
        try:
            given[name] = _convert(name, values[name], hint, dec_hook)
            if field.validator is not None:
                field.validator(None, field, given[name])
        except BadField as problem:
            tell(problem)
        except ValueError as error:
            tell(BadField(name, str(error)))
    if bad:
        return None
    try:
        return cls(**given)
    except ValueError as error:
        report(error if isinstance(error, BadField) else BadField(None, str(error)))
        return None


def decode_object(raw: bytes | str, cls: type[T]) -> T:
    """Make a *cls* (an attrs class) of the JSON object in *raw*; for values that a stranger sent.

    Unknown fields are refused in *cls* itself; classes within it are msgspec's business.

    Raises:
      BadField: the first problem found, be it the text, the object or one of its fields; nothing but this.
    """
    return build_first(cls, decode_mapping(raw))


def decode_mapping(raw: bytes | str) -> dict[str, object]:
    """The JSON object in *raw*, at most `MAX_DEPTH` deep.

    Raises:
      BadField: it is none; ``field`` is None.
    """
    try:
        value = msgspec.json.decode(raw)
    except (UnicodeDecodeError, UnicodeEncodeError) as error:  # the latter for a str with a lone surrogate
        raise BadField(None, f"not UTF-8: {error.reason}") from None
    except msgspec.DecodeError as error:
        reason = _lower_first(str(error).removeprefix("JSON is malformed: "))
        raise BadField(None, f"cannot be read as JSON: {reason}") from None
    except RecursionError:
        raise BadField(None, f"nested more than {MAX_DEPTH} levels deep") from None
    if not isinstance(value, dict):
        raise BadField(None, f"must be a JSON object, got {_JSON_NAMES[type(value)]}")
    # Level by level, not by recursion. Exact types suffice, msgspec makes no others. In place, this is several
    # times cheaper than a call for each of the thousands of empty lists that one message has room for.
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return value
    raise BadField(None, f"nested more than {MAX_DEPTH} levels deep")


def build_first(cls: type[T], values: Mapping[str, object]) -> T:
    """`build` with `raise_first`, so that there always is a result."""
    made = build(cls, values, raise_first)
    assert made is not None, "build returns None only after a report"
    return made


# Bounded, as modules that are reloaded bring new classes each time.
@functools.lru_cache(maxsize=512)
def _fields(cls: type) -> dict[str, "tuple[attrs.Attribute[Any], Any]"]:
    hints = typing.get_type_hints(cls, include_extras=True)
    # Where a validator enforces what `msgspec.Meta` says for the documents, its words are the better ones.
    plain = typing.get_type_hints(cls)
    return {
        field.alias or field.name: (field, (hints if field.validator is None else plain)[field.name])
        for field in attrs.fields(cls)
        if field.init
    }


def _convert(name: str, value: object, hint: Any, dec_hook: Callable[[type, Any], Any] | None) -> Any:
    try:
        return msgspec.convert(value, hint, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        # "Expected `str`, got `int` - at `$[2]`"
        text, _, inner = str(error).partition(" - at `$")
        where = name + inner.removesuffix("`")
        choices = [choice for part in (hint, *typing.get_args(hint)) for choice in _choices(part)]
        if choices and not inner:
            message = f"{where} must be one of {', '.join(choices)}, got {shown(value)}"
        else:
            message = f"{where}: {_lower_first(text)}"
        raise BadField(where, message) from None


def _lower_first(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _choices(hint: Any) -> Iterable[str]:
    if isinstance(hint, enum.EnumMeta):
        return map(str, hint)
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key that looks most like *key*, as the tail of a sentence; empty when nothing is known."""
    # A cut-off of 0 always names one: wrong by far, it still shows what kind of name belongs here. The slice
    # bounds the comparison, whose cost grows with the length of a key that a stranger may have sent.
    found = difflib.get_close_matches(key[:LONGEST_SHOWN], list(known), n=1, cutoff=0.0)
    return f"; the nearest is {found[0]}" if found else ""


def shown(value: object) -> str:
    """*value* for an error message: its repr, at most `LONGEST_SHOWN` characters."""
    text = repr(value[: LONGEST_SHOWN + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def greater_than(bound: float) -> Validator:
    """A validator for finite numbers above *bound*; TOML can write ``nan`` and ``inf``, which are refused."""

    def check(_instance: object, field: "attrs.Attribute[Any]", value: float) -> None:
        if not bound < value < math.inf:
            raise ValueError(f"{field.name} must be greater than {bound}, got {value!r}")

    return check


def at_least(bound: float) -> Validator:
    """A validator for finite numbers from *bound* on."""

    def check(_instance: object, field: "attrs.Attribute[Any]", value: float) -> None:
        if not bound <= value < math.inf:
            raise ValueError(f"{field.name} must be at least {bound}, got {value!r}")

    return check


def positive_seconds(name: str, seconds: float) -> float:
    """*seconds*, which have to be a finite number above 0; ValueError calls them *name*."""
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError(f"{name} must be a number of seconds greater than 0, got {seconds!r}")
    return seconds


def each(check: Callable[[str], str | None]) -> Validator:
    """A validator for lists of strings: *check* returns what is wrong with one of them, or None."""

    def check_all(_instance: object, field: "attrs.Attribute[Any]", value: Iterable[str]) -> None:
        for item in value:
            if (problem := check(item)) is not None:
                raise ValueError(f"{field.name} {problem}, got {shown(item)}")

    return check_all
