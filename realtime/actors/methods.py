"""Methods that clients call over their WebSocket, by ``{"type":"call","id","method","params"?}``.

They are answered by ``result`` or ``error`` with the same id. Each call is a task of its connection: it has the
method's deadline, and ends with the connection if that ends first. The socket is read meanwhile, so that a client may
have several calls under way, whose answers come as they are ready.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import attrs
import structlog
import trio

from realtime import messages
from realtime.actors.parameters import arguments
from realtime.delivery.connection import Connection
from realtime.fields import BadField, nearest, positive_seconds, shown
from realtime.messages import Call
from realtime.policy.access import Principal

TIMEOUT: Final = 10.0
"""Seconds that a call may take of a method that says nothing else: people do not wait longer for an answer."""

MAX_CALLS: Final = 8
"""Calls of one connection at a time; more are refused."""

logger = structlog.get_logger("realtime.methods")


class CallRefused(Exception):
    """Raised by a method to answer with an error of its own: a *code* for programs, and a *message* for people.

    Raises:
      UnicodeEncodeError: one of them holds a lone surrogate, as names of files may.
    """

    def __init__(self, code: str, message: str) -> None:
        # Here, where it is the method that fails; the answer, and what counts by codes, could not be written later.
        code.encode()
        message.encode()
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@attrs.frozen
class Caller:
    """Who calls.

    Attributes:
      session: None on a connection of none.
      principal: as whom it has signed in.
    """

    connection_id: str
    session: str | None
    address: str
    principal: Principal


@attrs.frozen
class Method:
    """What can be called.

    Attributes:
      function: ``async def``; its first parameter takes the `Caller`, its keyword parameters are the call's, checked
        against their annotations. What it returns, with a JSON form, is the result.
      timeout: seconds after which it is cancelled, and the caller told.
    """

    name: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9_.:-]{1,64}"))
    function: Callable[..., Coroutine[Any, Any, Any]]
    timeout: float = TIMEOUT

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call the function, as if it had not been decorated."""
        return self.function(*args, **kwargs)


def method(name: str, *, timeout: float = TIMEOUT) -> Callable[[Callable[..., Coroutine[Any, Any, Any]]], Method]:
    """Make a method called *name* of an async function; see `Method`.

    Raises:
      ValueError: *name* or *timeout* is none, or the function is not async, or takes no caller.
    """
    positive_seconds("timeout", timeout)

    def make(function: Callable[..., Coroutine[Any, Any, Any]]) -> Method:
        if not inspect.iscoroutinefunction(function):
            raise ValueError(f"{function.__name__}() must be async; what blocks belongs into trio.to_thread.run_sync")
        if not inspect.signature(function).parameters:
            raise ValueError(f"{function.__name__}() must take a Caller as its first argument")
        return Method(name, function, timeout)

    return make


@attrs.frozen
class MethodStatistics:
    """Plain integers, counted since the start of the process."""

    running: int
    completed: int
    refused: int
    """Not begun, or answered by the method with an error of its own."""
    failed: int
    timed_out: int


class Methods:
    """The methods by name, and the calls that are under way."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}
        self._running: dict[Connection, int] = {}
        self._counts = dict.fromkeys(("completed", "refused", "failed", "timed_out"), 0)

    def register(self, method: Method) -> None:
        """Make *method* known.

        Raises:
          ValueError: another one of this name is.
        """
        if self._methods.setdefault(method.name, method) is not method:
            raise ValueError(f"there are two methods called {method.name!r}")

    def forget(self, name: str) -> None:
        """Take no more calls of the method *name*; those under way go on."""
        self._methods.pop(name, None)

    @property
    def methods(self) -> Mapping[str, Method]:
        """The methods by name."""
        return self._methods

    def begin(self, connection: Connection, call: Call) -> None:
        """Let *call* run as a task of *connection*, or refuse it. Never blocks; for the connection's reader."""
        found = self._methods.get(call.method)
        if found is None:
            text = f"method {shown(call.method)} is not known{nearest(call.method, self._methods)}"
            self._refuse(connection, call, "unknown_method", text)
            return
        if self._running.get(connection, 0) >= MAX_CALLS:
            text = f"{MAX_CALLS} calls of this connection are under way; wait for an answer"
            self._refuse(connection, call, "too_many_calls", text)
            return
        try:
            given = arguments(found.name, found.function, call.params)
        except BadField as problem:
            self._refuse(connection, call, "bad_params", str(problem))
            return
        self._running[connection] = self._running.get(connection, 0) + 1
        try:
            connection.start_soon(self._run, connection, call, found, given, name=f"call of {found.name}")
        except BaseException:
            self._ended(connection)
            raise

    def statistics(self) -> MethodStatistics:
        """A frozen snapshot."""
        return MethodStatistics(running=sum(self._running.values()), **self._counts)

    async def _run(self, connection: Connection, call: Call, method: Method, given: dict[str, Any]) -> None:
        try:
            await self._answer(connection, call, method, given)
        finally:
            self._ended(connection)

    async def _answer(self, connection: Connection, call: Call, method: Method, given: dict[str, Any]) -> None:
        caller = Caller(connection.id, connection.session, connection.address, connection.principal)
        try:
            with trio.move_on_after(method.timeout) as deadline:
                answer = messages.result(call.id, await method.function(caller, **given))
        except CallRefused as refusal:
            self._refuse(connection, call, refusal.code, refusal.message)
        except Exception:
            # It is the caller's answer and the operator's business; the connection is not to blame.
            logger.exception("call_failed", method=method.name)
            self._counts["failed"] += 1
            connection.refuse("call_failed", f"{method.name} failed; it has been logged", id=call.id)
        else:
            if deadline.cancelled_caught:
                logger.warning("call_timed_out", method=method.name, timeout_s=method.timeout)
                self._counts["timed_out"] += 1
                connection.refuse("call_timeout", f"{method.name} took longer than {method.timeout:g} s", id=call.id)
            else:
                self._counts["completed"] += 1
                connection.reply(answer)

    def _refuse(self, connection: Connection, call: Call, code: str, message: str) -> None:
        self._counts["refused"] += 1
        connection.refuse(code, message, id=call.id)

    def _ended(self, connection: Connection) -> None:
        self._running[connection] -= 1
        if not self._running[connection]:
            del self._running[connection]
