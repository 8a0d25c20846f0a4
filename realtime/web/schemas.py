"""JSON Schema of attrs classes, by msgspec, with what msgspec cannot know of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

Schema = dict[str, Any]


def definitions(shapes: Iterable[Any], prefix: str, *, strict: bool = False) -> dict[str, Schema]:
    """The schema of each class in *shapes* and of those within them, by name.

    Args:
      prefix: stands before a name in references.
      strict: say of all, also of those within others, that they have no other fields.

    Raises:
      ValueError: two classes share a name.
    """
    wanted = list(dict.fromkeys(shapes))
    _, found = msgspec.json.schema_components(wanted, ref_template=prefix + "{name}", schema_hook=_unknown)
    # Defaults are as Python has them, a tuple among them.
    schemas: dict[str, Schema] = msgspec.json.decode(msgspec.json.encode(found))
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"]).partition("\n\nAttributes:")[0]
    for shape in wanted:
        if attrs.has(shape):
            _mend(schemas[shape.__name__], shape)
    for schema in schemas.values():
        if strict and "properties" in schema:
            schema["additionalProperties"] = False
    return schemas


def _unknown(kind: type) -> Schema:
    """What msgspec has no schema for: of that, only the type of anything."""
    if kind is object:
        return {"description": "anything that JSON has"}  # an empty one would count as none
    raise TypeError(f"{kind.__qualname__} has no JSON form")


def _mend(schema: Schema, shape: type[attrs.AttrsInstance]) -> None:
    """Leave out what nobody can give."""
    for field in attrs.fields(shape):
        if not field.init:
            schema["properties"].pop(field.name, None)
            schema["required"] = [name for name in schema.get("required", ()) if name != field.name]
    if not schema.get("required"):
        schema.pop("required", None)


def reference(shape: Any, prefix: str) -> Schema:
    """How a document refers to *shape*, an attrs class or anything made of them."""
    if isinstance(shape, type) and attrs.has(shape):
        return {"$ref": f"{prefix}{shape.__name__}"}  # as below, where all that it refers to is looked at too
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=prefix + "{name}", schema_hook=_unknown)
    return schema


def properties(shape: type[attrs.AttrsInstance]) -> Iterable[tuple[str, Schema, bool]]:
    """Name, schema and whether it is required, of each field of *shape* as a parameter, which cannot be null."""
    schema = definitions([shape], "")[shape.__name__]
    for name, field in schema.get("properties", {}).items():
        given = [choice for choice in field.get("anyOf", ()) if choice.get("type") != "null"]
        alone = (
            {**{key: value for key, value in field.items() if key not in ("anyOf", "default")}, **given[0]}
            if (len(given) == 1)
            else dict(field)
        )
        if field.get("default") is not None:
            alone["default"] = field["default"]
        yield name, alone, name in schema.get("required", ())
