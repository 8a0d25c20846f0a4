"""Actors: a class whose methods run one at a time, fed by a bounded mailbox."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs
import trio

from .kept import Deferred, defer, own_cell, put_aside, put_back
from .ref import ACTORS, Call, Cell, Ref, RequestExpired
from .timers import Agenda, Entry

if TYPE_CHECKING:
    from .child import Child
    from .context import TreeContext
    from .monitors import Monitor

Message = TypeVar("Message")

# Messages handled between two checkpoints: enough to spread the cost of a task switch, about 2.5 us (with 32 casts cost
# 1.3 times as much), few enough that an actor whose handlers never wait does not hold up the loop.
BATCH = 64


class Stop:
    """The control message that asks an actor to stop; with *export*, only if that says so, which takes its state."""

    __slots__ = ("export",)

    def __init__(self, export: Callable[[Actor[Any]], Awaitable[bool]] | None = None) -> None:
        self.export = export


STOP: Final = Stop()
"""The one that each is sent in an ordinary stop; for 100 000 actors at once, 100 000 objects less."""


@attrs.frozen
class ActorContext:
    """Who an actor is: its path in the tree, which generation it is (from 1), and the ref it is reached by."""

    path: str
    generation: int
    ref: Ref[Any]
    tree: TreeContext = attrs.field(repr=False, eq=False)
    """For the runtime."""


class Timer:
    """A message to come; :meth:`cancel` takes it back.  It belongs to one generation of one actor."""

    __slots__ = ("_entry", "_start", "_ticks", "cancelled", "interval", "late", "message")

    def __init__(self, start: float, message: object, interval: float | None) -> None:
        self._start = start
        self._ticks = 1
        self._entry: Entry[Timer] | None = None
        self.message = message
        self.interval = interval
        self.cancelled = False
        self.late = 0
        """How many ticks of ``every`` were skipped because the actor was busy."""

    @property
    def due(self) -> float:
        """When it is due next, in :func:`trio.current_time` seconds."""
        # Multiplied, not added up: ten thousand ticks of 0.1 s end at 1000 s, without the errors of as many additions.
        return self._start if self.interval is None else self._start + self._ticks * self.interval

    def cancel(self) -> None:
        """Take the message back, unless it was delivered.  Can be called more than once."""
        self.cancelled = True
        if self._entry is not None:
            self._entry.cancel()

    def wait_in(self, agenda: Agenda[Timer]) -> Timer:
        """Begin to wait for it."""
        self._entry = agenda.add(self.due, self)
        return self

    def advance(self, now: float) -> bool:
        """Set the next due time of a repeated timer; False if it has none.  Late ticks are skipped, never doubled."""
        if self.interval is None or self.cancelled:
            return False
        ticks = max(self._ticks, math.floor((now - self._start) / self.interval)) + 1
        if self._start + ticks * self.interval <= now:  # rounding can leave it a step short
            ticks += 1
        self.late += ticks - self._ticks - 1
        self._ticks = ticks
        return True


class Timers:
    """The timers of one generation."""

    __slots__ = ("_agenda",)

    def __init__(self) -> None:
        self._agenda: Agenda[Timer] = Agenda()

    def add(self, timer: Timer) -> Timer:
        """Begin to wait for *timer*."""
        return timer.wait_in(self._agenda)

    def __bool__(self) -> bool:
        return len(self._agenda) > 0

    def next_due(self) -> float:
        """When the next timer is due, in :func:`trio.current_time` seconds; infinity without one."""
        return self._agenda.next_due()

    def pop_due(self, now: float) -> Timer | None:
        """The earliest timer that is due at *now*, put back if it repeats."""
        timer = self._agenda.pop_due(now)
        if timer is not None and timer.advance(now):
            self.add(timer)
        return timer


class Actor(Generic[Message]):
    """Subclass it and give the class to a :class:`~supervisors.ChildSpec`.

    The methods run one at a time in the actor's own task; an exception that leaves one is a crash, and the supervisor
    decides what comes next.  A new generation is a new object; what has to outlive a crash belongs elsewhere.
    """

    context: ActorContext
    _timers: Timers | None = None

    async def on_start(self) -> None:
        """Prepare, inside the start handshake: the actor is up when this returns.

        Raise :class:`~supervisors.Ignore` to decline; any other exception is a failed start.
        """

    async def on_continue(self) -> None:
        """Do the long part of the preparation, right after the handshake and before the first message."""

    async def handle_call(self, request: Any) -> object:
        """Serve a request; what is returned is the reply.

        When the request's deadline passes while this waits for a call of its own, that call raises
        :class:`trio.TooSlowError`.  Undo what is half-done if need be, and let it pass: it ends this request, which
        nobody waits for any more, and not the actor.
        """
        raise TypeError(f"{type(self).__name__} does not answer calls, got {request!r}")

    async def handle_cast(self, message: Any) -> None:
        """Serve a message without a reply, also one sent by a timer."""
        raise TypeError(f"{type(self).__name__} does not take messages, got {message!r}")

    async def on_stop(self) -> None:
        """Clean up in an orderly stop, within what is left of ``shutdown``; not called after a crash or a kill."""

    async def export_state(self) -> object:
        """What the code that replaces this one is to know: see :meth:`Tree.reload_child`.

        Called between two messages, the last thing before :meth:`on_stop`.  Values of built-in types, or of classes of
        a module that is not reloaded.  If it raises, this code goes on.
        """
        return None

    async def on_upgrade(self, state: Any) -> None:
        """Take over the *state* that the code before this one exported; the last step of the start handshake."""

    def statistics(self) -> Mapping[str, object]:
        """Figures for the tree's snapshot.  Called at any moment; must not block."""
        return {}

    def monitor(self, target: Ref[Any] | str) -> Monitor:
        """Be told how the present life of another child, a ref or a path, ends.

        A :class:`~supervisors.Down` comes to :meth:`handle_cast`, once, before the messages that wait.  A child that
        is starting is waited for; for one that is not running it comes at once, with None as its exit.  The monitor
        goes with this life of the actor; ``monitor.cancel()`` ends it sooner.  A ref must be of the same tree.

        Raises:
          RuntimeError: it is not the actor's own task.

        Source: ``erlang:monitor/2`` in Erlang/OTP.
        """
        return self.context.tree.monitors.by_actor(own_cell("monitor()"), target)

    def demonitor(self, monitor: Monitor) -> None:
        """:meth:`Monitor.cancel`: nothing more comes of *monitor*."""
        monitor.cancel()

    def stash(self, message: object) -> None:
        """Put *message*, which is being handled, aside until :meth:`unstash_all`; a call is not answered meanwhile.

        What ``handle_call`` returns after it is not used.  There is room for as many as the mailbox holds.  What is
        put aside is treated as what waits in the mailbox: it outlives a crash, after which it is handled first; when
        the actor is stopped or given up, calls get :class:`~supervisors.ActorStopped`.

        Raises:
          StashFull: there is no room.
          RuntimeError: it is not the actor's own task.

        Sources: postponed events of ``gen_statem`` in Erlang/OTP; the stash of Akka, which outlives a crash as well.
        """
        put_aside(message)

    def unstash_all(self) -> None:
        """Handle what was put aside before all that waits, in the order in which it came."""
        put_back(own_cell("unstash_all()"))

    def defer(self) -> Deferred:
        """Answer the call that is being served later: by ``reply()`` of what this returns, in any task, at any time.

        What ``handle_call`` returns after it is not used.  If this life of the actor ends before the answer, the
        caller gets :class:`~supervisors.ActorCrashed` or :class:`~supervisors.ActorStopped`.

        Raises:
          RuntimeError: no call is being served, or it was deferred or stashed before.

        Source: ``{noreply, State}`` and ``gen_server:reply/2`` in Erlang/OTP.
        """
        return defer()

    def send_after(self, delay: float, message: Message) -> Timer:
        """Hand *message* to :meth:`handle_cast` in *delay* seconds."""
        return self._set(Timer(trio.current_time() + delay, message, None))

    def every(self, interval: float, message: Message) -> Timer:
        """Hand *message* to :meth:`handle_cast` each *interval* seconds: steady, late ticks skipped and counted."""
        if interval <= 0:
            raise ValueError(f"interval must be greater than 0, got {interval!r}")
        return self._set(Timer(trio.current_time(), message, interval))

    def _set(self, timer: Timer) -> Timer:
        if self._timers is None:  # most actors never set one
            self._timers = Timers()
        return self._timers.add(timer)


async def run_actor(child: Child, start: Callable[..., Actor[Any]]) -> None:
    """One attempt of an actor, from its construction to its end; returns when it was asked to stop.

    While it is idle this frame is all there is of it, so it holds on to nothing that it needs no more.
    """
    with child:
        assert child.cell is not None
        cell, actor = child.cell, await _come_up(child, child.cell, start)
        del start
        await actor.on_continue()
        while True:
            if actor._timers:
                with trio.move_on_at(actor._timers.next_due()):
                    await cell.wait_nonempty()
                await trio.lowlevel.checkpoint()
            elif cell.data or cell.urgent:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_task_rescheduled(cell.park())
            if cell.urgent and cell.urgent[0] is STOP:  # as a batch would, without one: 0.3 us of 9
                cell.receive_nowait()
                await actor.on_stop()
                return
            if await _handle_batch(actor, cell):
                return


async def _come_up(child: Child, cell: Cell, start: Callable[..., Actor[Any]]) -> Actor[Any]:
    cell.task = trio.lowlevel.current_task()
    ACTORS[cell.task] = cell
    actor = start(*child.spec.args, **child.spec.kwargs)
    actor.context = ActorContext(child.path, child.generation + 1, child.ref, child.owner.context)
    await actor.on_start()
    cell.reopen()
    if cell.kept is not None:
        cell.kept.came_up()
    child.set_up(actor)
    return actor


async def _handle_batch(actor: Actor[Any], cell: Cell) -> bool:
    """Do up to a batch of what is there; True when it was asked to stop."""
    ticked = False
    for _ in range(BATCH):
        if actor._timers:
            # A tick that is due goes first, but not twice in a row while messages wait, and never before a control
            # message: a handler slower than its own timer must neither starve the mailbox nor be deaf to a stop.
            ticked = not (cell.urgent or (ticked and cell.data))
            timer = actor._timers.pop_due(trio.current_time()) if ticked else None
            if timer is not None:
                await actor.handle_cast(timer.message)
                continue
            ticked = False
        if not (cell.data or cell.urgent):
            return False
        message = cell.receive_nowait()
        if type(message) is Call:
            await _handle_call(actor, cell, message)
        elif type(message) is Stop:
            if message.export is not None and not await message.export(actor):
                continue
            await actor.on_stop()
            return True
        else:
            await actor.handle_cast(message)
    return False


async def _handle_call(actor: Actor[Any], cell: Cell, call: Call) -> None:
    if call.abandoned:
        return
    cell.current = call
    try:
        reply = await actor.handle_call(call.request)
    except RequestExpired as expired:
        if expired.call is not call:
            raise
        call.fail(expired)
    else:
        if cell.current is not call:
            return  # deferred or put aside: answered by somebody else
        call.reply(reply)
    cell.current = None
