"""The one object that a published message becomes, however many receive it."""

from __future__ import annotations

import attrs

from realtime.delivery.frames import Frame
from realtime.policy.lag import Overflow


@attrs.frozen(eq=False)
class Message:
    """One published message: made once, and shared by the outboxes of all who receive it."""

    frame: Frame
    topic: str
    offset: int
    overflow: Overflow = Overflow.DROP_OLDEST
    key: str | None = None
    """Under `conflate`, the newer of two messages with the same topic and key replaces the older."""
    patient: bool = False
    """Whether a publisher waits until this message has room; see `wait` in `realtime.policy.lag`."""
    size: int = attrs.field(init=False)
    """Bytes on the wire."""
    slot: tuple[str, str | None] | None = attrs.field(init=False, repr=False)
    """What it is conflated by: at most one message of a slot is queued. None for all other policies."""

    @size.default
    def _size(self) -> int:
        return len(self.frame.data)

    @slot.default
    def _slot(self) -> tuple[str, str | None] | None:
        return (self.topic, self.key) if self.overflow is Overflow.CONFLATE else None
