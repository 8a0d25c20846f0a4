"""How a child ended, as a value.

Four reasons, OTP's: ``normal`` (it returned), ``shutdown`` (it was asked, or raised :class:`~supervisors.Shutdown`),
``killed`` (it was cancelled with no say in it) and ``crashed`` (it raised).
"""

from __future__ import annotations

from typing import Literal

import attrs

Reason = Literal["normal", "shutdown", "killed", "crashed"]


@attrs.frozen
class Exit:
    """How one generation of a child ended; *error* is there when it crashed, and only then."""

    reason: Reason
    error: Exception | None = None

    @property
    def failed(self) -> bool:
        """True for an end that a transient child is restarted after."""
        return self.reason in ("crashed", "killed")


@attrs.frozen
class Down:
    """A monitored child has ended, or was not running when it was asked about: then *exit* is None (OTP's ``noproc``).

    *generation* is the one that ended; of a child that was not up its last one, 0 if there was none.
    """

    path: str
    generation: int
    exit: Exit | None


NORMAL = Exit("normal")
SHUTDOWN = Exit("shutdown")
KILLED = Exit("killed")


def crashed(error: Exception) -> Exit:
    """The exit of a child that raised *error*."""
    return Exit("crashed", error)
