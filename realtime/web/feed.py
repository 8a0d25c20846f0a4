"""What happens in the tree, published to the topic ``supervisors`` for whoever watches it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import structlog
import trio

from realtime.delivery.hub import Hub
from realtime.web.nodes import node_to_wire
from supervisors import (
    Event,
    Exited,
    GaveUp,
    HealthChanged,
    Ignored,
    LoopBlocked,
    NoSuchChild,
    Removed,
    RestartDelayed,
    Restarting,
    Started,
    StartError,
    StartFailed,
    StateChanged,
    Stuck,
    Tree,
)

TOPIC: Final = "supervisors"

CROWD: Final = "connections"
"""The dynamic supervisor whose children come and go by the thousand: watchers get its totals, not each of them."""

CROWD_INTERVAL: Final = 1.0
"""Seconds between two reports of a crowd that changes."""

logger = structlog.get_logger("realtime.supervisors")


class SupervisorFeed:
    """Turns the tree's events into messages and log lines.

    Args:
      tree: returns the running tree, None while it is being started.
      tracebacks: whether watchers see those of crashes.
    """

    def __init__(self, hub: Hub, tree: Callable[[], Tree | None], *, tracebacks: bool) -> None:
        self._hub = hub
        self._tree = tree
        self._tracebacks = tracebacks
        self._crowd_changed = trio.Event()

    def on_event(self, event: Event) -> None:
        """The hook for :func:`supervisors.open_tree`."""
        _log(event)
        if event.path.startswith(f"{CROWD}/"):
            self._crowd_changed.set()
            return
        self._publish(_name(event), event.path)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Report the crowd's totals while they change and somebody watches: a supervised child."""
        task_status.started()
        while True:
            await self._hub.wait_for_subscriber(TOPIC)
            await self._crowd_changed.wait()
            self._crowd_changed = trio.Event()
            self._publish("changed", CROWD)
            await trio.sleep(CROWD_INTERVAL)

    def _publish(self, name: str, path: str) -> None:
        tree = self._tree()
        if tree is None:
            return
        node: dict[str, Any] | None = None
        if self._hub.wanted(TOPIC):  # else nobody would see it, and a tree can be large
            try:
                node = node_to_wire(tree.find(path), tracebacks=self._tracebacks)
            except NoSuchChild:
                pass  # forgotten by now: the message says so by its null
        self._hub.publish_nowait(TOPIC, "supervisor_event", {"event": name, "path": path, "node": node})


_NAMES: Final[dict[type, str]] = {
    Exited: "exited",
    StartFailed: "start_failed",
    Ignored: "ignored",
    RestartDelayed: "restart_delayed",
    Restarting: "restarting",
    GaveUp: "gave_up",
    Stuck: "stuck",
    StateChanged: "state_changed",
    Removed: "removed",
    HealthChanged: "recovered",
    LoopBlocked: "loop_blocked",
}


def _name(event: Event) -> str:
    if isinstance(event, Started):
        return "started" if event.generation == 1 else "restarted"
    return _NAMES[type(event)]


def _log(event: Event) -> None:
    """One line for what an operator would want to know; crashes are errors, everything else is news or noise."""
    if isinstance(event, Exited) and event.exit.reason == "crashed":
        logger.error(
            "child_crashed",
            path=event.path,
            generation=event.generation,
            uptime_s=round(event.uptime, 3),
            exc_info=event.exit.error,
        )
    elif isinstance(event, StartFailed) and trio.current_effective_deadline() == -math.inf:
        # The whole tree is cancelled, as by a signal before it was up: nothing failed.
        logger.info("child_start_cancelled", path=event.path)
    elif isinstance(event, StartFailed):
        # A supervisor fails with its child, whose own line has shown where.
        where = None if isinstance(event.error, StartError) else event.error
        logger.error("child_start_failed", path=event.path, cause=str(event.error), exc_info=where)
    elif isinstance(event, RestartDelayed):
        logger.error(
            "child_restart_delayed",
            path=event.path,
            attempt=None if event.report is None else event.report.attempt,
            failures=event.failures,
            next_delay_s=round(event.delay, 3),
            cause=repr(event.error),
        )
    elif isinstance(event, Restarting):
        logger.error(
            "child_restarting",
            path=event.path,
            attempt=event.attempt,
            next_delay_s=0.0,
            budget_left=event.left,
            cause=repr(event.error),
        )
    elif isinstance(event, GaveUp):
        logger.error("gave_up", path=event.path, cause=repr(event.error))
    elif isinstance(event, Stuck):
        logger.warning("child_stuck", path=event.path, waited_s=event.waited)
    else:
        logger.debug(_name(event), path=event.path)
