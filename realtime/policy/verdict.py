"""How the process as a whole fares, from the health of its tree and the phase of its life.

* ``ok`` and ``degraded`` serve; ``failing`` does not.
* *live* is false only when the root is failing: restarting the process is what helps then.
* *ready* is false while it starts or drains as well: clients are to be sent elsewhere then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

Phase = Literal["starting", "serving", "draining"]


@attrs.frozen
class Verdict:
    """What the health endpoints answer with."""

    status: Literal["ok", "degraded", "failing"]
    live: bool
    ready: bool
    reasons: list[str]


def health_verdict(*, phase: Phase, root_failing: bool, troubled: Mapping[str, str]) -> Verdict:
    """The verdict.

    Args:
      troubled: paths of workers that are not ok, each with why.
    """
    reasons = [f"{path}: {why}" if why else path for path, why in troubled.items()]
    if phase != "serving":
        reasons.insert(0, f"the server is {phase}")
    if root_failing:
        return Verdict("failing", live=False, ready=False, reasons=[*reasons, "the root supervisor is failing"])
    return Verdict(
        "degraded" if troubled else "ok",
        live=True,
        ready=phase == "serving",
        reasons=reasons,
    )
