"""The heartbeat: asks every connection for a sign of life, and closes those that give none.

One task serves all connections, from a heap of the moments at which each is looked at next: about two looks per
connection and interval. It also measures how late it is itself woken, since what keeps it from running keeps
the answers from being read; that lag is taken off everybody's silence.

What it knows of a connection dies with it. Its next incarnation starts afresh: it pings everyone within one
interval, and takes nobody's silence into account that began before its own time.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from realtime.delivery import frames
from realtime.delivery.connection import Connection
from realtime.delivery.frames import Frame
from realtime.delivery.registry import Registry
from realtime.delivery.wire import ping_payload
from realtime.messages import CloseCode
from realtime.policy import heartbeat as policy
from realtime.policy.heartbeat import Probe, Reap, Wait

# Seconds between two wakings at least: at 10 000 connections some 20 pings share one, and one message.
_PACE: Final = 0.05
# Seconds between two wakings at most, by which the lag is measured; for short timeouts a quarter of them.
_TICK: Final = 1.0

logger = structlog.get_logger("realtime.heartbeat")


@attrs.frozen
class HeartbeatStatistics:
    """What the tree shows of the heartbeat; durations in seconds."""

    interval_s: float
    pong_timeout_s: float
    connections: int
    pings: int
    reaped: int
    lag_s: float
    """For how long the loop did not run when it should have, since the start."""


@attrs.define(eq=False)
class _Pulse:
    """What is known of one connection: when it is pinged next, and the lag when its oldest open ping was made."""

    ping_due: float
    lag: float
    suspected: bool = False
    round_trip: float | None = None


class Heartbeat:
    """Pings the connections of *registry* every *interval* seconds; reaps after *pong_timeout* seconds of silence."""

    def __init__(
        self,
        registry: Registry,
        *,
        interval: float = 30.0,
        pong_timeout: float = 10.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if interval <= 0 or pong_timeout <= 0:
            raise ValueError(f"interval and pong_timeout must be greater than 0, not {interval} and {pong_timeout}")
        self._registry = registry
        self._interval = interval
        self._pong_timeout = pong_timeout
        self._chance = chance
        self._tick = min(_TICK, interval / 4, pong_timeout / 4)
        self._pace = min(_PACE, self._tick / 4)
        self._pings = 0
        self._reaped = 0
        self._lag = 0.0
        # By the connection's number. The connections themselves are not kept alive from here.
        self._pulses: dict[int, _Pulse] = {}
        # (when, number, id)
        self._looks: list[tuple[float, int, str]] = []
        self._newest = 0
        self._began = -math.inf

    async def run(self, *, task_status: trio.TaskStatus[Heartbeat] = trio.TASK_STATUS_IGNORED) -> None:
        """Ping and reap until cancelled: the supervised child."""
        logger.info("heartbeat_started", interval_s=self._interval, pong_timeout_s=self._pong_timeout)
        self._pulses.clear()
        self._looks.clear()
        self._newest = 0
        self._began = trio.current_time()
        self._adopt(self._began, late=True)
        task_status.started(self)
        try:
            while True:
                now = trio.current_time()
                self._adopt(now)
                self._look(now)
                await self._sleep(now)
        finally:
            logger.info("heartbeat_stopped", pings=self._pings, reaped=self._reaped)

    def statistics(self) -> HeartbeatStatistics:
        """A frozen snapshot."""
        return HeartbeatStatistics(
            self._interval, self._pong_timeout, len(self._pulses), self._pings, self._reaped, self._lag
        )

    # --- one waking ---

    def _adopt(self, now: float, *, late: bool = False) -> None:
        """Take in the connections that are new; *late*: all those that were there before this incarnation."""
        for connection in self._registry.newcomers(self._newest):
            self._newest = connection.number
            if late:
                due = now + self._interval * self._chance()
            else:
                due = policy.first_ping(connection.connected_at, self._interval, self._chance())
            self._pulses[connection.number] = _Pulse(due, self._lag)
            heapq.heappush(self._looks, (due, connection.number, connection.id))

    def _look(self, now: float) -> None:
        """Do what is due for each connection whose time has come."""
        call = _Call(now)
        while self._looks and self._looks[0][0] <= now:
            _, number, id = heapq.heappop(self._looks)
            connection = self._registry.get(id)
            after = None
            # Its number too, since the id may be another connection's by now.
            if connection is not None and connection.number == number and connection.outbox.closing is None:
                after = self._judge(connection, self._pulses[number], now, call)
            if after is None:
                del self._pulses[number]
            else:
                heapq.heappush(self._looks, (after, number, id))

    def _judge(self, connection: Connection, pulse: _Pulse, now: float, call: _Call) -> float | None:
        """Wait, ping or reap; return when to look again, None for never."""
        since = connection.unanswered_since
        if since is not None:
            since = max(since, self._began)
        verdict = policy.decide(
            now,
            ping_due=pulse.ping_due,
            pong_timeout=self._pong_timeout,
            unanswered_since=since,
            lag=self._lag - pulse.lag,
        )
        match verdict:
            case Wait(until):
                pulse.suspected = False
                return until
            case Probe():
                if since is None and not connection.outbox.ping_waits:
                    pulse.lag = self._lag
                pulse.suspected = False
                pulse.ping_due = policy.next_ping(pulse.ping_due, self._interval, now)
                call.ping(connection)
                self._pings += 1
                self._note_round_trip(connection, pulse)
                return min(pulse.ping_due, (now if since is None else since) + self._pong_timeout)
            case Reap(silent_for):
                # Woken in the same instant as the readers, it may be the first to run: they get a turn.
                if not pulse.suspected:
                    pulse.suspected = True
                    return now + self._pace
                connection.close(CloseCode.NO_SIGN_OF_LIFE, f"no sign of life for {silent_for:.1f} s")
                self._reaped += 1
                return None

    def _note_round_trip(self, connection: Connection, pulse: _Pulse) -> None:
        """Count that of the ping before, if there was one and it was answered: once."""
        rtt = connection.wire.rtt
        if rtt is not None and rtt != pulse.round_trip:
            pulse.round_trip = rtt
            self._registry.counts.round_trip.observe(rtt)

    async def _sleep(self, now: float) -> None:
        """Until the next look, within bounds; what that takes longer is lag."""
        wake = now + self._tick
        if self._looks:
            wake = min(wake, max(self._looks[0][0], now + self._pace))
        await trio.sleep_until(wake)
        late = max(0.0, trio.current_time() - wake)
        self._lag += late
        self._registry.counts.lag.observe(late)


class _Call:
    """One ping for all who get it at the same moment: frame and message are encoded once."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._frame: Frame | None = None
        self._messages: dict[Callable[[], bytes], Frame] = {}

    def ping(self, connection: Connection) -> None:
        if self._frame is None:
            self._frame = frames.ping(ping_payload(self._now))
        make = connection.heartbeat_message
        if make not in self._messages:
            self._messages[make] = frames.text(make())
        connection.ping(self._frame, self._messages[make])
