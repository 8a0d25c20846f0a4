"""Whether a new value is worth sending: predicates over the new value and the one that was last sent.

They never see a first value: where nothing was sent yet, everything is significant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

Significant = Callable[[object, object], bool]
"""Takes the new value and the one last sent; whether the new one is to be sent."""


def changed(new: object, old: object) -> bool:
    """Whether the two differ at all."""
    return new != old


def changed_by(fraction: float) -> Significant:
    """Whether a number has moved by *fraction* of its old value, as 0.10 for a tenth, or more.

    In mappings, sequences and attrs instances one number that has is enough, at any depth; and so is whatever else
    has changed, such as a text, a key or a length. From 0 every change is by more than any fraction.

    Raises:
      ValueError: *fraction* is no finite number above 0.
    """
    if not (fraction > 0 and math.isfinite(fraction)):
        raise ValueError(f"fraction must be a finite number greater than 0, got {fraction!r}")
    return _anywhere(lambda new, old: abs(new - old) >= fraction * abs(old))


def moved_by(amount: float) -> Significant:
    """Whether a number has moved by *amount* of its own unit or more; of all else as `changed_by`.

    Raises:
      ValueError: *amount* is no finite number above 0.
    """
    if not (amount > 0 and math.isfinite(amount)):
        raise ValueError(f"amount must be a finite number greater than 0, got {amount!r}")
    return _anywhere(lambda new, old: abs(new - old) >= amount)


def _anywhere(enough: Callable[[float, float], bool]) -> Significant:
    def significant(new: object, old: object) -> bool:
        if new == old:
            return False
        if _is_number(new) and _is_number(old):
            # Not a number, infinity: nothing can be said of how far that is, so it is told.
            return not (_is_finite(new) and _is_finite(old)) or enough(new, old)  # type: ignore[arg-type]
        if type(new) is not type(old):
            return True
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            return new.keys() != old.keys() or any(significant(new[key], old[key]) for key in new)
        if isinstance(new, Sequence) and isinstance(old, Sequence) and not isinstance(new, str | bytes):
            return len(new) != len(old) or any(map(significant, new, old))
        kind: Any = type(new)
        if attrs.has(kind):
            names = [field.name for field in attrs.fields(kind)]
            return any(significant(getattr(new, name), getattr(old, name)) for name in names)
        return True

    return significant


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
