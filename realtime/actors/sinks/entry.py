"""The entry point that the actor modules of this folder share: their options are the same, their lines are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from realtime.actors.broadcaster import RESTART
from realtime.actors.sinks.writer import EventLog
from realtime.policy.checks import Severity
from realtime.policy.loglines import LineFormat
from realtime.policy.rotation import Rotation
from realtime.policy.selection import Selection
from supervisors import ChildSpec

if TYPE_CHECKING:
    from realtime.plugins import Services

_DEFAULT: Final = Rotation()


def children_writing(form: LineFormat, *, id: str) -> Callable[..., list[ChildSpec]]:
    """The hook ``children`` of an actor module whose one child, *id*, writes the events in *form*."""

    def children(
        services: Services,
        *,
        path: Path,
        max_bytes: int = _DEFAULT.max_bytes,
        daily: bool = _DEFAULT.daily,
        keep: int = _DEFAULT.keep,
        fsync: bool = False,
        types: tuple[str, ...] = (),
        severity: Severity = "debug",
        tags: tuple[str, ...] = (),
    ) -> list[ChildSpec]:
        """The actor module's entry point.

        Args:
          path: of the current file; its folder has to exist.
          max_bytes, daily, keep: when a new file begins and how many old ones stay, see `Rotation`.
          fsync: whether to wait for the disk after each batch.
          types, severity, tags: which events, see `Selection`.
        """
        rotation = Rotation(max_bytes=max_bytes, daily=daily, keep=keep)
        selection = Selection(types=types, severity=severity, tags=tags)
        log = EventLog(services.store, path, form, rotation=rotation, selection=selection, sync=fsync)
        return [ChildSpec(id, log.run, backoff=RESTART)]

    return children
