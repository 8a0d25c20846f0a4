"""Restart intensity: how often a supervisor may restart its children before it gives up.

Source: ``supervisor:add_restart/1`` in Erlang/OTP, with a real-valued clock.
"""

from __future__ import annotations

from collections import deque

import attrs


@attrs.define
class RestartIntensity:
    """Sliding window: at most *max_restarts* restarts in any *max_seconds* seconds."""

    max_restarts: int = attrs.field(validator=attrs.validators.ge(0))
    max_seconds: float = attrs.field(validator=attrs.validators.gt(0))
    _at: deque[float] = attrs.field(factory=deque, init=False)

    def allow(self, now: float) -> bool:
        """Count a restart at *now* (seconds, monotonic); False means give up."""
        self._forget(now)
        if len(self._at) >= self.max_restarts:
            return False
        self._at.append(now)
        return True

    def left(self, now: float) -> int:
        """How many restarts are still allowed at *now*."""
        self._forget(now)
        return self.max_restarts - len(self._at)

    def _forget(self, now: float) -> None:
        # A restart exactly max_seconds ago still counts, as in OTP (in_period/3 compares with >=).
        while self._at and now - self._at[0] > self.max_seconds:
            self._at.popleft()
