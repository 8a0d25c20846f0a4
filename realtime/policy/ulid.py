"""Event ids: ULIDs, strictly increasing, whatever the clock does.

The form is that of https://github.com/ulid/spec: 48 bits of milliseconds since 1970 and 80 random bits,
written in 26 characters of Crockford's base 32, so that ids sort as text in the order in which they were
made. Two rules go beyond the spec's "monotonic" mode: a clock that was set back continues the last id instead
of sorting below it, and an overflow of the random part is carried into the time instead of failing.
"""

from collections.abc import Callable

import attrs

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U, in the order of their ASCII codes."""

LENGTH = 26
"""Characters of a ULID: 128 bits at 5 bits each, rounded up."""

_RANDOM_BITS = 80
_DIGITS = {character: value for value, character in enumerate(ALPHABET)}


@attrs.define
class UlidSequence:
    """Makes ids, each greater than all before it."""

    _last: int = attrs.field(default=-1, init=False)

    def resume(self, ulid: str) -> None:
        """Make only ids above *ulid* from now on; ValueError if that is none. Lower ids than known change
        nothing.
        """
        self._last = max(self._last, decode(ulid))

    def next(self, now_ms: int, random_bits: Callable[[int], int]) -> str:
        """The id for *now_ms* (milliseconds since 1970); *random_bits* returns that many, as
        ``secrets.randbits``.
        """
        value = now_ms << _RANDOM_BITS | random_bits(_RANDOM_BITS)
        if value >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
            value = self._last + 1
        self._last = value
        return encode(value)


def lowest(ms: int) -> str:
    """The least id of the millisecond *ms*: every id that was made for it or later sorts at or after this text."""
    return encode(max(ms, 0) << _RANDOM_BITS)


def time_ms(ulid: str) -> int:
    """The milliseconds since 1970 in *ulid*."""
    return decode(ulid) >> _RANDOM_BITS


def encode(value: int) -> str:
    """The 26 characters of a number below 2**128."""
    return "".join(ALPHABET[value >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def decode(ulid: str) -> int:
    """The number that *ulid* stands for; ValueError if it is not a ULID in its canonical upper case."""
    # A first character above 7 would need a 129th bit.
    if len(ulid) != LENGTH or ulid[0] > "7" or not _DIGITS.keys() >= set(ulid):
        raise ValueError(f"a ULID has {LENGTH} characters of Crockford's base 32, got {ulid[:80]!r}")
    value = 0
    for character in ulid:
        value = value << 5 | _DIGITS[character]
    return value
