"""Webhooks that others call: a signed message becomes an event of the type ``webhook.<name>``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import attrs
import structlog

from realtime.fields import decode_mapping
from realtime.policy.signatures import BadSecrets, Headers, Refused, Scheme, read_secrets, verify
from realtime.ports import NewEvent
from realtime.sections import WebhookSettings
from realtime.settings import Settings, SettingsError

logger = structlog.get_logger("realtime.webhooks")


class SignatureRefused(Exception):
    """A message is not signed as it has to be; *refused* says why."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


@attrs.frozen
class WebhookStatistics:
    """Counts since the start: messages that were signed well, and those refused, by the reason."""

    accepted: int
    missing: int
    wrong: int
    stale: int


class Webhook:
    """One webhook: who signs with one of *secrets* may create its events."""

    def __init__(
        self,
        name: str,
        settings: WebhookSettings,
        secrets: tuple[bytes, ...],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._settings = settings
        self._secrets = secrets
        self._scheme = Scheme(settings.signature_header, settings.timestamp_header, settings.tolerance)
        self._clock = clock
        self._accepted = 0
        self._refused = {"missing": 0, "wrong": 0, "stale": 0}

    def event(self, headers: Headers, body: bytes) -> NewEvent:
        """The event that the message *body* stands for.

        Raises:
          SignatureRefused: it is not signed, or not by whom it should.
          realtime.fields.BadField: it is signed, but no JSON object, or too large for an event.
        """
        refused = verify(self._scheme, self._secrets, headers, body, self._clock())
        if refused is not None:
            self._refused[refused.reason] += 1
            logger.warning("webhook_refused", webhook=self.name, reason=refused.reason)
            raise SignatureRefused(refused)
        self._accepted += 1
        settings = self._settings
        return NewEvent(
            type=f"webhook.{self.name}",
            data=decode_mapping(body),
            severity=settings.severity,
            source=settings.source,
            tags=settings.tags,
        )

    def statistics(self) -> WebhookStatistics:
        """A frozen snapshot."""
        return WebhookStatistics(self._accepted, **self._refused)


class Webhooks:
    """Those of the settings, by name."""

    def __init__(self, webhooks: Mapping[str, Webhook] | None = None) -> None:
        self._webhooks = dict(webhooks or {})

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read their secrets, once.

        Raises:
          SettingsError: naming each file that cannot be used.
        """
        problems: list[str] = []
        made = {}
        for name, webhook in settings.webhooks.items():
            try:
                made[name] = Webhook(name, webhook, _secrets(settings.folder / webhook.secret_file))
            except ValueError as error:
                problems.append(f"webhooks.{name}.secret_file: {error}")
        if problems:
            raise SettingsError(problems)
        return cls(made)

    def get(self, name: str) -> Webhook | None:
        """The webhook *name*, if there is one."""
        return self._webhooks.get(name)

    def statistics(self) -> dict[str, WebhookStatistics]:
        """A frozen snapshot of each, by name."""
        return {name: webhook.statistics() for name, webhook in self._webhooks.items()}


def _secrets(path: Path) -> tuple[bytes, ...]:
    try:
        return read_secrets(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except BadSecrets as error:
        raise ValueError(f"{path} {error}") from error
