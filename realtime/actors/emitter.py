"""Emitting: a message of any name, to a session, to who subscribes to a topic, or to every session.

`Emitter.emit` waits for nothing: it encodes, and leaves the message in a bounded inbox, from which the emitter's own
task hands it over. So it is as good from any thread as from async code, and a message costs whoever emits it the same
for one receiver and for ten thousand. Messages arrive in the order in which they were emitted.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import attrs
import structlog
import trio

from realtime import messages
from realtime.delivery.acknowledgements import Acknowledgements, Awaited, TooManyOutstanding
from realtime.delivery.connection import Connection
from realtime.delivery.emission import Emission, topic_of
from realtime.delivery.hub import Hub
from realtime.delivery.wakeup import Wakeup
from realtime.fields import BadField, shown
from realtime.policy.checks import is_event_name

MAX_WAITING: Final = 1000
"""Messages in the inbox: what many threads may emit while the loop is busy for a moment."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Bytes of them: 256 of the largest that come by HTTP."""
STEPS_PER_CHECKPOINT: Final = 256
"""Receivers served between two checkpoints: about a millisecond."""
ACK_SECONDS: Final = 5.0
"""Seconds for a client to acknowledge, where nothing else is said."""

logger = structlog.get_logger("realtime.emitter")


class EmitRefused(Exception):
    """The message was not taken, for the reason in the text; nobody got it."""


class EmitFailed(Exception):
    """The emitter crashed or was stopped while it handed the message over: some may have got it."""


@attrs.frozen
class Reached:
    """Whom a message reached: it is in the socket, or waits in the outbox of a connection that lags.

    Attributes:
      sessions: those with one connection at least.
      acknowledged: how many connections acknowledged in time; None if none was asked to.
    """

    sessions: int
    connections: int
    acknowledged: int | None = None


@attrs.frozen
class EmitterStatistics:
    """Plain integers, counted since the start of the process."""

    emitted: int
    """Messages taken up."""
    refused: int
    """Messages for which the inbox had no room."""
    reached: int
    """Connections reached, all messages together."""
    acknowledged: int
    unexpected: int
    """Acknowledgements that came from who owed none: too late, twice, or made up."""
    waiting: int
    outstanding: int
    """Acknowledgements waited for now."""


@attrs.define(eq=False)
class _Waiting:
    """A message in the inbox, and what became of it."""

    payload: bytes
    to: str | None
    id: str | None = None
    every: bool = True
    abandoned: bool = False
    handed: trio.Event | None = None
    reached: Reached = Reached(0, 0)
    awaited: Awaited | None = None
    error: Exception | None = None


class Emitter:
    """Emits to the connections of *hub* that belong to sessions; the fixed streams stay as they are.

    To call one is to `emit`.
    """

    def __init__(self, hub: Hub, acknowledgements: Acknowledgements | None = None) -> None:
        self._hub = hub
        self._acks = Acknowledgements() if acknowledgements is None else acknowledgements
        hub.on_drop.append(self._acks.forget)
        # Of the inbox: filled by any thread, emptied by the loop's.
        self._lock = threading.Lock()
        self._inbox: deque[_Waiting] = deque()
        self._inbox_bytes = 0
        self._refused = 0
        self._wakeup = Wakeup()
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread: int | None = None
        self._emitted = 0
        self._reached = 0
        self._acknowledged = 0

    # --- emitting ---

    def emit(self, event: str, data: object = None, *, to: str | None = None) -> None:
        """Send ``{"type": event, "data": data, "timestamp": ...}``. From any thread; waits for nothing.

        Args:
          to: a topic's name, for the sessions that subscribe to it. ``session/<id>`` is the one of a session itself,
            to which all of its connections do. None: every session.

        Raises:
          ValueError: *event* is reserved for the protocol's own messages, or no name; or *to* is no topic's name.
          TypeError: *data* has no JSON form.
          EmitRefused: too much waits already, or the system has ended.
        """
        self._put(_waiting(event, data, to))

    __call__ = emit

    async def emit_and_wait(
        self,
        event: str,
        data: object = None,
        *,
        to: str | None = None,
        ack: bool | Literal["first"] = False,
        within: float = ACK_SECONDS,
    ) -> Reached:
        """Emit, wait until it is handed over, and tell whom it reached. On the loop's thread; a checkpoint.

        If cancelled before that, it is not sent any more.

        Args:
          ack: ask each client for an acknowledgement, and wait for all of them, or for the ``"first"``. A connection
            that ends has not acknowledged.
          within: seconds for them; then what came counts.

        Raises:
          ValueError, TypeError, EmitRefused: as `emit`.
          EmitFailed: it was handed over to some at most.
        """
        waiting = _waiting(event, data, to, ack=ack)
        waiting.handed = trio.Event()
        self._put(waiting)
        try:
            await waiting.handed.wait()
            if waiting.error is not None:
                raise waiting.error
            if waiting.awaited is None:
                return waiting.reached
            with trio.move_on_after(within):
                await waiting.awaited.over.wait()
            self._acknowledged += waiting.awaited.acknowledged
            return attrs.evolve(waiting.reached, acknowledged=waiting.awaited.acknowledged)
        finally:
            waiting.abandoned = True
            if waiting.awaited is not None:
                self._acks.end(waiting.awaited)

    def acknowledge(self, connection: Connection, id: str) -> bool:
        """*connection* acknowledges the message *id*; False if it did not have to."""
        return self._acks.acknowledge(connection, id)

    def statistics(self) -> EmitterStatistics:
        """A frozen snapshot."""
        return EmitterStatistics(
            emitted=self._emitted,
            refused=self._refused,
            reached=self._reached,
            acknowledged=self._acknowledged,
            unexpected=self._acks.unexpected,
            waiting=len(self._inbox),
            outstanding=self._acks.outstanding,
        )

    def _put(self, waiting: _Waiting) -> None:
        with self._lock:
            if len(self._inbox) >= MAX_WAITING or self._inbox_bytes + len(waiting.payload) > MAX_WAITING_BYTES:
                self._refused += 1
                raise EmitRefused(f"{len(self._inbox)} messages wait to be sent already; try again in a moment")
            self._inbox.append(waiting)
            self._inbox_bytes += len(waiting.payload)
        if threading.get_ident() == self._thread:
            self._wakeup.wake()
        elif self._token is not None:
            try:
                self._token.run_sync_soon(self._wakeup.wake, idempotent=True)
            except trio.RunFinishedError:
                raise EmitRefused("the system has ended") from None

    # --- handing over: the loop's thread ---

    async def run(self, *, task_status: trio.TaskStatus[Emitter] = trio.TASK_STATUS_IGNORED) -> None:
        """Hand over what is emitted, for ever; the supervised child. What waits when it crashes is not lost."""
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        task_status.started(self)
        steps = 0
        while True:
            waiting = self._next()
            if waiting is None:
                await self._wakeup.sleep()
                steps = 0
            elif not waiting.abandoned:
                steps = await self._serve(waiting, steps)

    def _next(self) -> _Waiting | None:
        with self._lock:
            if not self._inbox:
                return None
            waiting = self._inbox.popleft()
            self._inbox_bytes -= len(waiting.payload)
            return waiting

    async def _serve(self, waiting: _Waiting, steps: int) -> int:
        """Hand over one message; a checkpoint every `STEPS_PER_CHECKPOINT` receivers, those before it counted."""
        waiting.error = EmitFailed("the emitter was stopped while it handed the message over")
        try:
            receivers = self._receivers(waiting.to)
            if waiting.id is not None:
                waiting.awaited = self._acks.expect(waiting.id, receivers, every=waiting.every)
            steps = await self._hand_over(waiting, Emission(waiting.payload, receivers, self._hub.offset), steps)
            waiting.error = None
        except TooManyOutstanding as error:
            waiting.error = EmitRefused(str(error))
        except Exception as error:
            waiting.error = EmitFailed("the emitter crashed while it handed the message over")
            waiting.error.__cause__ = error
            raise
        finally:
            if waiting.handed is not None:
                waiting.handed.set()
        return steps

    async def _hand_over(self, waiting: _Waiting, emission: Emission, steps: int) -> int:
        while (served := emission.hand_over(left := max(0, STEPS_PER_CHECKPOINT - steps))) == left:
            await trio.lowlevel.checkpoint()
            steps = 0
        self._emitted += 1
        self._reached += emission.connections
        waiting.reached = Reached(emission.sessions, emission.connections)
        return steps + served + 1

    def _receivers(self, to: str | None) -> Sequence[Connection]:
        if to is not None:
            return [each for each in self._hub.listeners(to) if each.session is not None]
        sessions = (each for each in self._hub.connections if each.session is not None)
        # Who has unsubscribed from its own session wants nothing of this.
        return [each for each in sessions if topic_of(str(each.session)) in each.topics]


def check_event(event: str) -> None:
    """Refuse what no emitted message may be called with a `BadField` of ``event``."""
    if not is_event_name(event):
        wanted = "1 to 128 characters of letters, digits, '_', '.', ':' and '-'"
        raise BadField("event", f"event must be {wanted}, got {shown(event)}")
    if event in messages.RESERVED_TYPES:
        raise BadField("event", f"event {shown(event)} is reserved for the protocol's own messages; choose another")


def _waiting(event: str, data: object, to: str | None, ack: bool | Literal["first"] = False) -> _Waiting:
    check_event(event)
    if to is not None and not messages.is_topic(to):
        raise BadField("to", f"to must be a topic's name, {messages.TOPIC_GRAMMAR}; got {shown(to)}")
    id = secrets.token_hex(8) if ack else None
    return _Waiting(messages.emitted(event, data, id=id), to, id, every=ack != "first")
