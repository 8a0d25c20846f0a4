"""A webhook of ours: each event is posted to somebody else's server, signed, until it is delivered or given up.

    [actors.forge]
    use = "realtime.actors.webhook"
    name = "forge"
    url = "https://forge.example/hooks/realtime"
    secret_file = "forge.secret"
    types = ["door_opened", "alarm.*"]

One after another in the order of the events, at least once each: how far it came is kept in the store, so a crash or a
kill costs nothing but that the event which was being posted is posted again, with the same ``X-Event-Id``. What cannot
be delivered becomes a dead letter, which an operator may have sent again.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from realtime.actors.broadcaster import RESTART
from realtime.actors.delivering import WebhookSink
from realtime.actors.posting import check_url, poster, require_client
from realtime.policy.attempts import Patience
from realtime.policy.checks import Severity
from realtime.policy.selection import Selection
from realtime.policy.signatures import SIGNATURE_HEADER, Scheme, read_secrets
from supervisors import ChildSpec

if TYPE_CHECKING:
    from realtime.plugins import Services

TIMEOUT: Final = 10.0
"""Seconds for one attempt: what GitHub gives others' servers."""

_PATIENCE: Final = Patience()


def children(
    services: Services,
    *,
    url: str,
    name: str = "webhook",
    secret_file: Path | None = None,
    signature_header: str = SIGNATURE_HEADER,
    timestamp_header: str | None = None,
    timeout: float = TIMEOUT,
    attempts: int = _PATIENCE.attempts,
    retry_first: float = _PATIENCE.first,
    retry_maximum: float = _PATIENCE.maximum,
    begin: Literal["now", "oldest"] = "now",
    ca_file: Path | None = None,
    types: tuple[str, ...] = (),
    severity: Severity = "debug",
    tags: tuple[str, ...] = (),
) -> list[ChildSpec]:
    """The actor module's entry point.

    Args:
      url: where to post to.
      name: its position and its dead letters are kept under it; each webhook needs its own.
      secret_file: with the secret that signs, in its first line; left out, nothing is signed.
      signature_header, timestamp_header: see `Scheme`.
      timeout: seconds for one attempt.
      attempts, retry_first, retry_maximum: see `Patience`.
      begin: at its very first start, with the next event or with the oldest in the store.
      ca_file: certificates of authorities in place of the system's.
      types, severity, tags: which events, see `Selection`.
    """
    require_client()
    if not timeout > 0:
        raise ValueError(f"timeout must be a number of seconds greater than 0, got {timeout!r}")
    sink = WebhookSink(
        services.store,
        services.deliveries,
        name,
        partial(poster, check_url(url), seconds=timeout, ca_file=ca_file),
        secret=None if secret_file is None else read_secrets(secret_file.read_bytes())[0],
        scheme=Scheme(signature_header, timestamp_header),
        selection=Selection(types=types, severity=severity, tags=tags),
        patience=Patience(attempts, retry_first, retry_maximum),
        begin=begin,
    )
    return [ChildSpec("webhook", sink.run, backoff=RESTART)]
