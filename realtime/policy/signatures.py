"""Signatures by a shared secret: HMAC-SHA256 over the bytes as they are sent, or over a time and these bytes.

As GitHub's ``X-Hub-Signature-256: sha256=<hex>``. Such a signature stays good for ever, and so a message that somebody
has seen can be sent again; with a time in it, it grows old. What is signed then is ``<seconds since 1970>.<body>``.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import attrs

PREFIX: Final = "sha256="
SIGNATURE_HEADER: Final = "X-Hub-Signature-256"
TOLERANCE: Final = 300.0
"""Seconds that two clocks may differ and a message may take: the usual five minutes, as of Stripe and Slack."""
SHORTEST_SECRET: Final = 16
"""Bytes: who has seen one signed message can try out shorter ones at leisure."""

_LONGEST_NUMBER: Final = 12
"""Digits of a time in seconds: some 30 000 years."""


class Headers(Protocol):
    """A request's headers; names in any case, if they are of a kind that knows of none."""

    def get(self, name: str, /) -> str | None:
        """The value of one, if it is there."""


class BadSecrets(ValueError):
    """What should hold secrets does not."""


@attrs.frozen
class Scheme:
    """Where signature and time stand.

    Attributes:
      header: the header with the signature.
      timestamp_header: the header with the time, in seconds since 1970; None if no time is signed.
      tolerance: seconds by which the time may differ.
    """

    header: str = SIGNATURE_HEADER
    timestamp_header: str | None = None
    tolerance: float = TOLERANCE

    def sign(self, secret: bytes, body: bytes, now: float) -> dict[str, str]:
        """The headers that go with *body*, sent at *now* (seconds since 1970)."""
        if self.timestamp_header is None:
            return {self.header: PREFIX + _digest(secret, body)}
        timestamp = str(int(now))
        return {self.header: PREFIX + _digest(secret, _with_time(timestamp, body)), self.timestamp_header: timestamp}


@attrs.frozen
class Refused:
    """Why a message is not accepted: it says not who it is of, or it is not of who it says."""

    reason: Literal["missing", "wrong", "stale"]
    message: str


def verify(scheme: Scheme, secrets: Sequence[bytes], headers: Headers, body: bytes, now: float) -> Refused | None:
    """None if *body* was signed with one of *secrets*, else why it is refused.

    Signatures are compared in constant time; the time is looked at after that, so that only who knows a secret learns
    about clocks.

    Args:
      now: seconds since 1970.
    """
    signature = headers.get(scheme.header)
    if not signature:
        return Refused("missing", f"the header {scheme.header} is missing; sign the body with HMAC-SHA256")
    signed, timestamp = body, None
    if scheme.timestamp_header is not None:
        timestamp = headers.get(scheme.timestamp_header)
        if not timestamp:
            return Refused("missing", f"the header {scheme.timestamp_header} is missing; it is signed with the body")
        signed = _with_time(timestamp, body)
    given = signature.strip().lower().removeprefix(PREFIX).encode()
    # All of them, whichever fits: how long it takes tells nothing.
    fits = [hmac.compare_digest(given, _digest(secret, signed).encode()) for secret in secrets]
    if not any(fits):
        return Refused("wrong", f"the signature in {scheme.header} is not that of this body; look at the secret")
    if timestamp is not None and not _is_fresh(timestamp, scheme.tolerance, now):
        return Refused("stale", f"the time in {scheme.timestamp_header} is not within {scheme.tolerance:g} s of ours")
    return None


def read_secrets(raw: bytes) -> tuple[bytes, ...]:
    """The secrets in a file, one to a line; several while one takes the place of another.

    Raises:
      BadSecrets: there is none, or one is too short.
    """
    secrets = tuple(line.strip() for line in raw.splitlines() if line.strip())
    if not secrets:
        raise BadSecrets("holds no secret; put one on a line")
    if any(len(secret) < SHORTEST_SECRET for secret in secrets):
        raise BadSecrets(f"holds a secret of less than {SHORTEST_SECRET} bytes; make one with 'openssl rand -hex 32'")
    return secrets


def _with_time(timestamp: str, body: bytes) -> bytes:
    return timestamp.encode() + b"." + body


def _digest(secret: bytes, signed: bytes) -> str:
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


def _is_fresh(timestamp: str, tolerance: float, now: float) -> bool:
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _LONGEST_NUMBER):
        return False
    return abs(int(timestamp) - now) <= tolerance
