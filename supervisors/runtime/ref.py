"""References to actors and supervisors that outlive restarts.

A :class:`Ref` is made by whoever needs one, before the tree runs, and bound by the child spec that names it.  It stays
the same over restarts; only what is behind it changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule

from ..errors import (
    ActorStopped,
    CallCycle,
    MailboxClosed,
    MessageDropped,
    SupervisorNotRunning,
)
from .mailbox import Mailbox, MailboxStatistics

if TYPE_CHECKING:
    from ..spec import ChildSpec, MailboxSpec
    from ..tree import ChildCount, ChildInfo
    from .base import BaseSupervisor
    from .kept import Kept

Reply = TypeVar("Reply")
Value = TypeVar("Value")
AnyRequest = TypeVar("AnyRequest")


class Request(Generic[Reply]):
    """Base of requests that say what is replied: ``class Get(Request[int])`` makes ``await ref.call(Get())`` an int."""

    __slots__ = ()


EXPIRED: Final = "the deadline of the request being served has passed"


class Call:
    """A request on its way: its caller's task waits in it until it is answered."""

    __slots__ = ("_task", "abandoned", "expired", "nested", "request", "result")

    def __init__(self, request: object) -> None:
        self.request = request
        self.abandoned = False
        """Its caller has gone: nobody wants the answer."""
        self.expired = False
        """Its caller has gone because a deadline passed, its own or that of a request above it."""
        self.nested: trio.CancelScope | None = None
        """Around the call that its server makes to serve it."""
        self.result: outcome.Maybe[Any] | None = None
        self._task: Task | None = None

    async def wait(self) -> Any:
        """The reply, or the error it was answered with.  A checkpoint; if cancelled, the request is abandoned."""
        if self.result is not None:
            await trio.lowlevel.checkpoint()
            return self.result.unwrap()
        self._task = current_task()
        return await trio.lowlevel.wait_task_rescheduled(self._abandon)

    def _abandon(self, raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        self.abandoned = True
        self.expired = _is_deadline(raise_cancel)
        if self.expired and self.nested is not None:
            self.nested.cancel(reason=EXPIRED)
        return Abort.SUCCEEDED

    def reply(self, value: object) -> None:
        """Answer with *value*; does nothing if the caller has gone or was answered."""
        self._settle(outcome.Value(value))

    def fail(self, error: BaseException) -> None:
        """Answer with *error*, raised in the caller."""
        self._settle(outcome.Error(error))

    def _settle(self, result: outcome.Maybe[Any]) -> None:
        if self.result is None and not self.abandoned:
            self.result = result
            if self._task is not None:
                task, self._task = self._task, None
                reschedule(task, result)


def _is_deadline(raise_cancel: RaiseCancelT) -> bool:
    """Whether the cancellation that is being delivered comes from a deadline.

    Looking at it when it happens costs the usual call nothing; asking Trio for the effective deadline of each caller
    took 0.8 us of 5.
    """
    try:
        raise_cancel()
    except trio.Cancelled as cancelled:  # noqa: ASYNC103 - made to be looked at; Trio raises its own
        return cancelled.source == "deadline" or cancelled.reason == EXPIRED  # noqa: ASYNC104
    except KeyboardInterrupt:
        return False


class RequestExpired(trio.TooSlowError):
    """The deadline of the request that an actor is serving passed while it waited for another actor's reply.

    Raised from the call to that other actor.  Left alone it ends the serving of *call*, and not the actor: that its
    caller was in a hurry is no failure of it.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(EXPIRED)
        self.call = call


class Cell(Mailbox[object]):
    """What an actor keeps over its restarts: its mailbox, the call in hand, and whom its loop waits for.

    It is the mailbox and does not have one, which would be 144 bytes more for each actor.
    """

    __slots__ = ("current", "kept", "task", "waits_for")

    def __init__(self, path: str, spec: MailboxSpec) -> None:
        super().__init__(spec, path)
        self.close()  # until it starts
        self.current: Call | None = None
        self.task: Task | None = None
        self.waits_for: Cell | None = None
        self.kept: Kept | None = None
        """What few actors need; see ``kept.py``."""

    def _drop(self, message: object) -> None:
        super()._drop(message)
        if isinstance(message, Call):
            message.fail(MessageDropped(self.path, self.spec.overflow))

    def end(self) -> None:
        """Close the mailbox; calls that wait in it get :class:`~supervisors.ActorStopped`."""
        if self.data or self.urgent or self._senders or self._receiver is not None:
            self.close()
            for message in self.drain():
                if isinstance(message, Call):
                    message.fail(ActorStopped(self.path))
        else:  # as nearly always: 0.2 us, which counts when very many are stopped at once
            self._closed = True
        if self.kept is not None:
            self.kept.ended()


ACTORS: Final[dict[Task, Cell]] = {}
"""Whose own task it is, for the tasks that are an actor's; each is entered when it begins and taken out when it ends.

Not a context variable, which tasks below an actor's own would see as well, and which takes 140 bytes a task, not 44.
"""


class Ref(Generic[AnyRequest]):
    """Where to send an actor its messages.  *AnyRequest* is the union of what it understands."""

    __slots__ = ("_cell", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._cell: Cell | None = None

    def __repr__(self) -> str:
        return f"<Ref to {self.path!r}>"

    @property
    def path(self) -> str:
        """The actor's path in its tree; the ref's own name while it was never bound."""
        return self.name if self._cell is None else self._cell.path

    @property
    def cell(self) -> Cell | None:
        """What it is bound to; for the runtime."""
        return self._cell

    def bind(self, cell: Cell) -> None:
        """Point at *cell*; done by the runtime."""
        self._cell = cell

    def statistics(self) -> MailboxStatistics:
        """The mailbox's counters.

        Raises:
          MailboxClosed: the ref was never bound.
        """
        return self._bound().statistics()

    async def call(self, request: Request[Reply] | AnyRequest) -> Reply:
        """Send *request* to the actor and wait for its reply.

        A checkpoint on every call.  If cancelled, the request is dropped while it is queued; once begun it is served:
        make it idempotent, or cast.  The caller's deadline bounds the calls that the actor makes to serve it: past
        it they raise :class:`trio.TooSlowError` there.

        Args:
          request: handed over as it is, not copied.

        Raises:
          MailboxFull: the overflow policy is ``refuse`` and the mailbox is full; nothing was sent.
          MailboxClosed: the actor was not running; nothing was sent.
          MessageDropped: the overflow policy dropped the request; it was not served.
          ActorCrashed: the actor crashed while it handled the request; it is not served again.
          ActorStopped: the actor ended before it replied; the request may have been served.
          CallCycle: the actor waits, directly or not, for the caller; nothing was sent.

        Source: ``gen_server:call/2`` in Erlang/OTP, without its 5 s limit: wrap in :func:`trio.fail_after`.
        """
        cell = self._bound()
        call = Call(request)
        caller = ACTORS.get(current_task())
        if caller is not None:
            return await self._call_from(caller, cell, call)  # type: ignore[no-any-return]
        return await self._exchange(cell, call)  # type: ignore[no-any-return]

    async def _call_from(self, caller: Cell, cell: Cell, call: Call) -> Any:
        """A call that an actor makes in its own loop: it may close a cycle, and serves a request with a deadline."""
        _refuse_cycle(caller, cell)
        serving = caller.current
        caller.waits_for = cell
        try:
            if serving is None:
                return await self._exchange(cell, call)
            if serving.expired:
                raise RequestExpired(serving)
            with trio.CancelScope() as serving.nested:
                return await self._exchange(cell, call)
            raise RequestExpired(serving)
        finally:
            caller.waits_for = None
            if serving is not None:
                serving.nested = None

    async def _exchange(self, cell: Cell, call: Call) -> Any:
        try:
            cell.send_nowait(call)  # waiting for the reply is the checkpoint; a second one costs 3 us of 8
        except trio.WouldBlock:
            await self._send_patiently(cell, call)
        except trio.ClosedResourceError:
            raise MailboxClosed(self.path) from None
        return await call.wait()

    async def _send_patiently(self, cell: Cell, call: Call) -> None:
        try:
            await cell.send(call)
        except trio.ClosedResourceError:
            raise MailboxClosed(self.path) from None

    async def cast(self, message: AnyRequest) -> None:
        """Send *message* and do not wait for it to be handled, only for room.  A checkpoint.

        Raises:
          MailboxFull, MailboxClosed: as in :meth:`call`; nothing was sent.
        """
        try:
            await self._bound().send(message)
        except trio.ClosedResourceError:
            raise MailboxClosed(self.path) from None

    def cast_nowait(self, message: AnyRequest) -> None:
        """As :meth:`cast`, without waiting.

        Raises:
          trio.WouldBlock: the policy is ``wait`` and the mailbox is full; nothing was sent.
          MailboxFull, MailboxClosed: as in :meth:`call`; nothing was sent.
        """
        if self._cell is None:
            raise MailboxClosed(self.name)
        try:
            self._cell.send_nowait(message)
        except trio.ClosedResourceError:
            raise MailboxClosed(self.path) from None

    def _bound(self) -> Cell:
        if self._cell is None:
            raise MailboxClosed(self.path)
        return self._cell


def _refuse_cycle(caller: Cell, target: Cell) -> None:
    paths = [caller.path, target.path]
    cell: Cell | None = target
    while cell is not None:
        if cell is caller:
            raise CallCycle(tuple(paths))
        cell = cell.waits_for
        if cell is not None:
            paths.append(cell.path)


class SupervisorRef:
    """A supervisor's administration, by reference: OTP's ``start_child`` and its like.  Survives restarts.

    Every method raises :class:`~supervisors.SupervisorNotRunning` while the supervisor does not run.  The methods
    that wait are checkpoints; if cancelled after the supervisor has begun, it finishes what was asked.
    """

    __slots__ = ("_supervisor", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._supervisor: BaseSupervisor | None = None

    def bind(self, supervisor: BaseSupervisor) -> None:
        """Point at *supervisor*; done by the runtime."""
        self._supervisor = supervisor

    async def start_child(self, spec: ChildSpec) -> object:
        """Add a child and start it; returns what it gave to ``task_status.started()``, or None if it declined.

        Of an actor or a supervisor that is a ref to it.

        Raises:
          ChildRunning, ChildPresent, TooManyChildren: nothing was done.
          StartError: it failed to start; nothing is left of it.
          ValueError: the spec may not stand under this supervisor.
        """
        return await self._bound().start_child(spec)

    def start_child_nowait(self, spec: ChildSpec) -> None:
        """Add a child and begin to start it; only for a dynamic supervisor.  A failed start is told to the event hook.

        Raises:
          ChildRunning, TooManyChildren, ValueError: as in :meth:`start_child`.
          WrongKind: this supervisor starts its children one at a time.
        """
        self._bound().start_child_nowait(spec)

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child in an orderly way and wait until it is gone.

        Raises:
          NoSuchChild: no child has this id.
        """
        await self._bound().terminate_child(child_id)

    async def restart_child(self, child_id: str) -> object:
        """Start a stopped child again; returns as :meth:`start_child`.

        Raises:
          NoSuchChild, ChildRunning, ChildRestarting: nothing was done.
          StartError: it failed to start and stays stopped.
        """
        return await self._bound().restart_child(child_id)

    async def delete_child(self, child_id: str) -> None:
        """Forget the spec of a stopped child.

        Raises:
          NoSuchChild, ChildRunning, ChildRestarting: nothing was done.
        """
        await self._bound().delete_child(child_id)

    async def in_turn(self, look: Callable[[], Value]) -> Value:
        """Call *look* in the supervisor's own turn, between two things that it does, and return what it returns.

        A checkpoint.  Everything the supervisor was told before this call is done by then.  :meth:`which_children`
        and :meth:`count_children` answer at any moment; ``await ref.in_turn(ref.count_children)`` answers as OTP does.
        """
        return await self._bound().in_turn(look)

    def which_children(self) -> tuple[ChildInfo, ...]:
        """The children in start order, as they are now; answers at any moment."""
        return self._bound().which_children()

    def count_children(self) -> ChildCount:
        """How many children there are, as they are now; answers at any moment."""
        return self._bound().count_children()

    def _bound(self) -> BaseSupervisor:
        if self._supervisor is None or not self._supervisor.serving:
            raise SupervisorNotRunning(self.name if self._supervisor is None else self._supervisor.path)
        return self._supervisor
