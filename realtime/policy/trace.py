"""The trace that a request belongs to, by the header `traceparent` (W3C Trace Context, section 3.2).

``00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01``: version, trace, the caller's span, flags. Strictly: what is
not of this form, as with capital letters, is no trace, since nobody else would find it by that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

_FORM: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)


@attrs.frozen
class TraceContext:
    """Whose call this is: the trace as a whole, and the caller's span in it; lower-case hexadecimal digits."""

    trace_id: str
    span_id: str


def trace_context(headers: Sequence[str]) -> TraceContext | None:
    """What the values of all `traceparent` headers of a request say; None without one, or with more.

    Also None for what a receiver has to take for none: version ff, a trace or a span of zeros, anything behind the
    flags in version 00.
    """
    found = _FORM.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        return None
    version, trace, span = found["version"], found["trace"], found["span"]
    if version == "ff" or (version == "00" and found["more"]) or not trace.strip("0") or not span.strip("0"):
        return None
    return TraceContext(trace, span)
