"""Which events somebody wants to hear of."""

from collections.abc import Iterable
from typing import Any, Final

import attrs

from realtime.fields import BadField, shown
from realtime.policy import checks
from realtime.policy.checks import SEVERITIES, Severity

_RANK: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}


def _as_tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _are_types(_instance: object, field: "attrs.Attribute[Any]", value: tuple[str, ...]) -> None:
    for wanted in value:
        name = wanted.removesuffix("*") if isinstance(wanted, str) else wanted
        if wanted == "*":
            continue
        try:
            checks.is_type(None, field, name)
        except BadField:
            text = f"{field.name} must be types of events, or their beginnings and a '*', got {shown(wanted)}"
            raise BadField(field.name, text) from None


@attrs.frozen
class Selection:
    """The events that fit all that is said here; nothing said, all of them.

    Attributes:
      types: any of these; one that ends in ``*`` stands for all that begin so.
      severity: this one or a more severe one.
      tags: at least one of these.
    """

    types: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple, validator=_are_types)
    severity: Severity = attrs.field(default="debug", validator=checks.is_severity)
    tags: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple, validator=checks.are_tags)

    def wants(self, type: str, severity: str, tags: Iterable[str]) -> bool:
        """Whether an event like this is one of them."""
        return (
            _RANK[severity] >= _RANK[self.severity]
            and (not self.types or any(_fits(wanted, type) for wanted in self.types))
            and (not self.tags or not set(self.tags).isdisjoint(tags))
        )


def _fits(wanted: str, type: str) -> bool:
    return type.startswith(wanted[:-1]) if wanted.endswith("*") else type == wanted
