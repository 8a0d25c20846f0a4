"""Presence: who is in a topic, told to all who are.

Who is there is never kept beside the hub: it is read off the hub's own subscribers. What is kept is what was told, for
that is what a join or a leave is measured against; it changes in the same step in which the telling is published. So
neither a crash of this actor nor one of the hub's flusher makes what clients were told differ from the truth for longer
than until the next look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs
import trio

from realtime import messages
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.delivery.topics import Subscription
from realtime.delivery.wakeup import Wakeup

TICK: Final = 0.25
"""Seconds between two looks at what has changed: who leaves and is back within it has not left, and a crowd that comes
through the door together makes one message."""

KEY: Final = "presence"
"""Of the messages, so that a topic that retains its state does not lose it to one of them."""


@attrs.frozen(order=True)
class Member:
    """Who is present: a session, on one connection or several, and as whom it has signed in.

    Attributes:
      principal: empty for the anonymous.
    """

    session: str
    principal: str = ""

    def to_wire(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"session": self.session, **({"principal": self.principal} if self.principal else {})}


@attrs.frozen
class PresenceStatistics:
    """Plain integers."""

    topics: int
    """Topics with somebody in them."""
    members: int
    """In all topics together, as far as it was told."""
    told: int
    """Messages published since the start of the process."""


class Presence:
    """Tells the subscribers of each topic of *hub* that has presence who joins and who leaves; `run` is the child.

    Who subscribes is first told who is there already, as joins; what is told after that changes it.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._announced: dict[str, frozenset[Member]] = {}
        # Topics whose subscribers have changed since the last look, in that order.
        self._stirred: dict[str, None] = {}
        self._wakeup = Wakeup()
        self._told = 0
        hub.on_subscribe.append(self._greet)
        hub.on_leave.append(self._left)

    def members(self, topic: str) -> Mapping[Member, int]:
        """Who subscribes to *topic* now, on how many connections; fixed streams have no session, and do not count."""
        return Counter(
            Member(each.session, each.principal.name or "")
            for each in self._hub.listeners(topic)
            if each.session is not None
        )

    async def run(self, *, task_status: trio.TaskStatus[Presence] = trio.TASK_STATUS_IGNORED) -> None:
        """Look whenever somebody has come or gone, at most once in `TICK` seconds, for ever."""
        # All of them, for what an earlier incarnation may have failed at.
        self._stirred |= dict.fromkeys(self._announced)
        task_status.started(self)
        while True:
            if not self._stirred:
                await self._wakeup.sleep()
            for topic in list(self._stirred):
                self._look(topic)
                await trio.lowlevel.checkpoint()
            await trio.sleep(TICK)

    def statistics(self) -> PresenceStatistics:
        """A frozen snapshot."""
        return PresenceStatistics(len(self._announced), sum(map(len, self._announced.values())), self._told)

    def _look(self, topic: str) -> None:
        """Tell what has changed in *topic*. One step: nobody comes or goes meanwhile."""
        before, present = self._announced.get(topic, frozenset()), frozenset(self.members(topic))
        # A topic that is there while it has subscribers is gone with the last of them.
        if present != before and self._hub.knows(topic):
            self._hub.publish_nowait(topic, "presence", _changes(present - before, before - present), key=KEY)
            self._told += 1
        self._announced[topic] = present
        if not present:
            del self._announced[topic]
        del self._stirred[topic]

    def _greet(self, connection: Connection, subscription: Subscription) -> None:
        """Tell a subscriber who was there before it; itself it finds in what is told to all."""
        topic = subscription.topic
        there = _changes(self._announced.get(topic, frozenset()), frozenset())
        connection.reply(messages.published("presence", topic, subscription.offset, there))
        self._stir(topic)

    def _left(self, _connection: Connection, topic: str) -> None:
        self._stir(topic)

    def _stir(self, topic: str) -> None:
        self._stirred[topic] = None
        self._wakeup.wake()


def _changes(joined: frozenset[Member], left: frozenset[Member]) -> dict[str, Any]:
    return {"joined": [each.to_wire() for each in sorted(joined)], "left": [each.to_wire() for each in sorted(left)]}
