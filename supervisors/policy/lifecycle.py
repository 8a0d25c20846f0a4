"""The state machine of a child, as a table: every state, every event it allows, and what it is then.

* ``stopped``: no task of it exists.  It begins here, and comes back here whenever it ended.
* ``starting``: its task runs and has not said that it is up.
* ``running``: it is up.
* ``stopping``: it was asked to stop or cancelled, and its task is still there.
* ``backing_off``: it failed and will be started again, after a delay or when its supervisor gets to it.
* ``failed``: it was given up; only an operator or a restart from above starts it again.
"""

from __future__ import annotations

from typing import Final, Literal

from ..errors import IllegalTransition

State = Literal["stopped", "starting", "running", "stopping", "backing_off", "failed"]
LifecycleEvent = Literal["start", "started", "ended", "stop", "delay", "give_up"]

TRANSITIONS: Final[dict[tuple[State, LifecycleEvent], State]] = {
    ("stopped", "start"): "starting",
    ("stopped", "stop"): "stopped",
    ("stopped", "delay"): "backing_off",
    ("stopped", "give_up"): "failed",
    ("starting", "started"): "running",
    ("starting", "ended"): "stopped",
    ("starting", "stop"): "stopping",
    ("running", "ended"): "stopped",
    ("running", "stop"): "stopping",
    ("stopping", "started"): "stopping",
    ("stopping", "stop"): "stopping",
    ("stopping", "ended"): "stopped",
    ("backing_off", "start"): "starting",
    ("backing_off", "stop"): "stopped",
    ("failed", "start"): "starting",
    ("failed", "stop"): "stopped",
}


def advance(state: State, event: LifecycleEvent) -> State:
    """The state after *event*.

    Raises:
      IllegalTransition: this state does not allow this event.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None
