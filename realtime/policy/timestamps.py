"""Points in time: milliseconds since 1970 inside, ISO 8601 on the wire."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_iso(ms: int) -> str:
    """*ms* (milliseconds since 1970) as ``2026-01-01T00:00:00.000Z``, the one form that this project writes."""
    # Not datetime.fromtimestamp: a float of seconds cannot hold every millisecond.
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_ms(text: str) -> int:
    """Milliseconds since 1970 of any ISO 8601 date or time, fractions of a millisecond rounded up.

    Without an offset it is read as UTC, as everything on the wire is. Rounding up keeps ``>=`` and ``<``
    exact against times of whole milliseconds. Raises ValueError for anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
        elapsed = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        raise ValueError(f"wanted an ISO 8601 time such as 2026-01-01T00:00:00Z, got {text[:80]!r}") from None
    return -(-elapsed // _MILLISECOND)
