"""What a stranger may call a function with: its keyword parameters, checked against their annotations."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from realtime.fields import LONGEST_SHOWN, BadField, nearest


def arguments(name: str, function: Callable[..., Any], given: Mapping[str, object]) -> dict[str, Any]:
    """The keyword arguments for *function*, converted from plain values; its first parameter is not the stranger's.

    Args:
      name: what the function is called in errors.

    Raises:
      BadField: a parameter is unknown, missing or of the wrong type; `field` is ``params.<name>``.
    """
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)
    known = {each.name: each for each in list(signature.parameters.values())[1:]}
    for key in given:
        if key not in known:
            where = f"params.{key[:LONGEST_SHOWN]}"
            raise BadField(where, f"{where} is not known to {name}{nearest(key, known)}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in given:
            raise BadField(f"params.{key}", f"params.{key} is missing; {name} needs it")
    return {key: _argument(key, value, hints.get(key, Any)) for key, value in given.items()}


def _argument(key: str, value: object, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise BadField(f"params.{key}", f"params.{key}: {str(error)[0].lower()}{str(error)[1:]}") from error
