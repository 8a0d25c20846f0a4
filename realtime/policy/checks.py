"""What an event may consist of: validators for the fields of `realtime.ports`.

Each raises a `realtime.fields.BadField` that begins with the field's name and says what was wanted and what
came.
"""

import math
import re
import unicodedata
from typing import Annotated, Any, Literal

import attrs
import msgspec

from realtime.fields import LONGEST_SHOWN, BadField, shown
from realtime.policy import timestamps

Severity = Literal["debug", "info", "warning", "error", "critical"]
SEVERITIES = ("debug", "info", "warning", "error", "critical")

MAX_TAGS = 32
MAX_TAG_CHARACTERS = 64
MAX_SOURCE_CHARACTERS = 256
MAX_SEARCH_CHARACTERS = 200
"""Far below the 50 000 bytes of SQLite's longest LIKE pattern; nobody searches for a longer text."""
MAX_DATA_BYTES = 262_144
"""Of an event's data as JSON: four times the largest message a client may send, so that what waits stays bounded."""
MAX_DATA_DEPTH = 64
"""Levels of nesting in an event's data: encoders and decoders, ours and the clients', give up somewhere above it."""
MAX_PAGE = 1000

_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
_ATOMS = frozenset({str, int, bool, type(None)})

# The same bounds for the documents that are made of the classes; the validators below enforce them, with better words.
_LINE = r"^[^\u0000-\u001f\u007f-\u009f]+$"
TypeName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
Source = Annotated[str, msgspec.Meta(pattern=_LINE, max_length=MAX_SOURCE_CHARACTERS)]
Tag = Annotated[str, msgspec.Meta(pattern=_LINE, max_length=MAX_TAG_CHARACTERS)]
Search = Annotated[str, msgspec.Meta(pattern=_LINE, max_length=MAX_SEARCH_CHARACTERS)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)]
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"}, description="ISO 8601")]


def is_type(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """The grammar of an event's type."""
    if not (isinstance(value, str) and _TYPE.fullmatch(value)):
        wanted = "1 to 128 characters of letters, digits, '_', '.', ':' and '-'"
        raise BadField(field.name, f"{field.name} must be {wanted}, got {shown(value)}")


def is_event_name(name: str) -> bool:
    """Whether *name* is of that grammar, which what is emitted shares."""
    return _TYPE.fullmatch(name) is not None


def is_severity(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """One of `SEVERITIES`."""
    if value not in SEVERITIES:
        raise BadField(field.name, f"{field.name} must be one of {', '.join(SEVERITIES)}, got {shown(value)}")


def is_source(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """A short line of text."""
    _check_line(field.name, value, MAX_SOURCE_CHARACTERS)


def is_tag(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """A short line of text."""
    _check_line(field.name, value, MAX_TAG_CHARACTERS)


def are_tags(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """A tuple of at most `MAX_TAGS` tags."""
    if not isinstance(value, tuple):
        raise BadField(field.name, f"{field.name} must be a list of strings, got {shown(value)}")
    if len(value) > MAX_TAGS:
        raise BadField(field.name, f"{field.name} must be at most {MAX_TAGS}, got {len(value)}")
    for index, tag in enumerate(value):
        _check_line(f"{field.name}[{index}]", tag, MAX_TAG_CHARACTERS)


def is_search(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """A text to search for."""
    _check_line(field.name, value, MAX_SEARCH_CHARACTERS)


def is_moment(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """An ISO 8601 time."""
    try:
        timestamps.to_ms(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        example = "an ISO 8601 time such as 2026-01-01T00:00:00Z"
        raise BadField(field.name, f"{field.name} must be {example}, got {shown(value)}") from None


def is_limit(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """The size of a page."""
    if type(value) is not int or not 1 <= value <= MAX_PAGE:
        raise BadField(field.name, f"{field.name} must be a whole number from 1 to {MAX_PAGE}, got {shown(value)}")


def is_json_object(_instance: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """An object made of nothing but what JSON has: what is stored must read back as what was sent."""
    if not isinstance(value, dict):
        raise BadField(field.name, f"{field.name} must be a JSON object, got {shown(value)}")
    _check_json(field.name, value, MAX_DATA_DEPTH)


def json_text(name: str, value: object) -> str:
    """*value*, which `is_json_object` has passed, as JSON within `MAX_DATA_BYTES`."""
    try:
        encoded = msgspec.json.encode(value)
    except ValueError as error:  # half a surrogate pair, or an integer of thousands of digits
        raise BadField(name, f"{name} cannot be written as JSON: {error}") from None
    if len(encoded) > MAX_DATA_BYTES:
        raise BadField(name, f"{name} must be at most {MAX_DATA_BYTES} bytes of JSON, got {len(encoded)}")
    return encoded.decode()


def _check_line(name: str, value: object, longest: int) -> None:
    if not (isinstance(value, str) and 1 <= len(value) <= longest):
        raise BadField(name, f"{name} must be 1 to {longest} characters, got {shown(value)}")
    # Controls (Cc) would end a log line or a text inside SQLite; half a surrogate pair (Cs) cannot be written
    # as UTF-8.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise BadField(name, f"{name} must not contain control characters, got {shown(value)}")


def _check_json(where: str, value: object, depth: int) -> None:
    if type(value) in _ATOMS or (type(value) is float and math.isfinite(value)):
        return
    if depth == 0 and isinstance(value, dict | list | tuple):
        raise _bad_json(where, f"must not be nested more than {MAX_DATA_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise _bad_json(where, f"must have strings as its keys, got {shown(key)}")
            _check_json(f"{where}.{key}", item, depth - 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(f"{where}[{index}]", item, depth - 1)
    else:
        raise _bad_json(where, f"must be a JSON value, got {shown(value)}")


def _bad_json(where: str, problem: str) -> BadField:
    # A path is as long as the keys in it.
    where = where[:LONGEST_SHOWN]
    return BadField(where, f"{where} {problem}")
