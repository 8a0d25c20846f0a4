"""Every error this package raises, one class for each thing a caller can do about it.

The classes carry fields; their text is made from them.  Errors of a supervisor's administration have one class for
each error atom of OTP's ``supervisor`` module.
"""

from __future__ import annotations

import shlex
from typing import Any

import attrs


class SupervisorError(Exception):
    """The base of this package's errors."""


class Shutdown(Exception):  # not a SupervisorError: it is raised by a child to end itself in an orderly way
    """Raise it in a child to end it with the reason ``shutdown``: an orderly end, not a crash.

    Source: ``exit(shutdown)`` in Erlang/OTP.
    """


class Ignore(Exception):
    """Raise it while starting to decline: nothing runs, nothing failed, the spec stays as a stopped child.

    Source: the return value ``ignore`` of an OTP start function.
    """


@attrs.frozen(str=False)
class StartError(SupervisorError):
    """A child did not start; the cause is chained.  What had been started for it is stopped again."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"child {self.path!r} did not start: {self.why}"


@attrs.frozen(str=False)
class NotStarted(SupervisorError):
    """A start ended or ran out of time before ``task_status.started()`` was called."""

    why: str

    def __str__(self) -> str:
        return self.why


@attrs.frozen(str=False)
class ReloadFailed(SupervisorError):
    """A child was not given its new code; the cause is chained.  It runs with the code it had, if it ran before."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"child {self.path!r} keeps its code: {self.why}"


@attrs.frozen(str=False)
class NoSuchChild(SupervisorError, KeyError):
    """OTP's ``not_found``: no child has this path."""

    path: str

    def __str__(self) -> str:
        return f"no child has the path {self.path!r}"


@attrs.frozen(str=False)
class ChildRunning(SupervisorError):
    """OTP's ``running`` and ``already_started``: the child runs, so it cannot be added, started or deleted."""

    path: str

    def __str__(self) -> str:
        return f"child {self.path!r} is running; stop it first"


@attrs.frozen(str=False)
class ChildRestarting(SupervisorError):
    """OTP's ``restarting``: the supervisor is trying to restart the child just now."""

    path: str

    def __str__(self) -> str:
        return f"child {self.path!r} is being restarted"


@attrs.frozen(str=False)
class ChildPresent(SupervisorError):
    """OTP's ``already_present``: a child of this id is known but not running; restart or delete it instead."""

    path: str

    def __str__(self) -> str:
        return f"child {self.path!r} is known already but not running; restart it, or delete it first"


@attrs.frozen(str=False)
class ChildNotRunning(SupervisorError):
    """The child exists and does not run, so it can be neither crashed nor killed."""

    path: str
    state: str

    def __str__(self) -> str:
        return f"child {self.path!r} is not running, it is {self.state}"


@attrs.frozen(str=False)
class WrongKind(SupervisorError):
    """OTP's ``simple_one_for_one`` and its like: this operation is not for this kind of child or supervisor."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path!r} {self.why}"


@attrs.frozen(str=False)
class TooManyChildren(SupervisorError):
    """A dynamic supervisor is at its ``max_children``; nothing was started."""

    path: str
    max_children: int

    def __str__(self) -> str:
        return f"supervisor {self.path!r} already has its {self.max_children} children"


@attrs.frozen(str=False)
class SupervisorNotRunning(SupervisorError):
    """OTP's ``noproc``: the supervisor that was asked has ended, or has not started; nothing was done."""

    path: str

    def __str__(self) -> str:
        return f"supervisor {self.path!r} is not running"


class RestartIntensityExceeded(ExceptionGroup[Exception], SupervisorError):
    """A supervisor gave up: its children failed more often than its budget allows.

    The group holds the last failures, oldest first, each with notes that say path, attempt and uptime.
    """

    def derive(self, excs: Any) -> Any:
        """Keep the class when the group is split."""
        return RestartIntensityExceeded(self.message, excs)


@attrs.frozen(str=False)
class MailboxFull(SupervisorError):
    """The overflow policy is ``refuse`` and the mailbox is full; nothing was sent."""

    path: str
    capacity: int

    def __str__(self) -> str:
        return f"the mailbox of {self.path!r} is full ({self.capacity} messages)"


@attrs.frozen(str=False)
class StashFull(SupervisorError):
    """An actor puts more messages aside than its mailbox holds; this one was not."""

    path: str
    capacity: int

    def __str__(self) -> str:
        return f"the stash of {self.path!r} is full ({self.capacity} messages)"


@attrs.frozen(str=False)
class NameTaken(SupervisorError):
    """Another actor, at *path*, is registered under this name; nothing was changed."""

    name: str
    path: str

    def __str__(self) -> str:
        return f"the name {self.name!r} is taken by {self.path!r}"


@attrs.frozen(str=False)
class MailboxClosed(SupervisorError):
    """The actor is not there: never started, stopped or given up; nothing was sent."""

    path: str

    def __str__(self) -> str:
        return f"actor {self.path!r} is not running; nothing was sent"


@attrs.frozen(str=False)
class ActorStopped(SupervisorError):
    """The actor was stopped or given up before it replied; the request may have been served."""

    path: str

    def __str__(self) -> str:
        return f"actor {self.path!r} ended before it replied"


@attrs.frozen(str=False)
class ActorCrashed(SupervisorError):
    """The actor crashed while it handled this request; the crash is the cause, and the request is not served again."""

    path: str

    def __str__(self) -> str:
        return f"actor {self.path!r} crashed while it handled the request"


@attrs.frozen(str=False)
class MessageDropped(SupervisorError):
    """The request was dropped from a full mailbox by its overflow policy before the actor saw it."""

    path: str
    overflow: str

    def __str__(self) -> str:
        return f"the mailbox of {self.path!r} was full and dropped the request ({self.overflow})"


@attrs.frozen(str=False)
class CallCycle(SupervisorError):
    """The call would wait for an actor that (directly or not) waits for the caller: a deadlock, refused."""

    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"a cycle of calls, which could never end: {' -> '.join(self.paths)}"


@attrs.frozen(str=False)
class ChildEnded(SupervisorError):
    """Stands for an end without an exception where a cause is wanted: a permanent child that returned, or a kill."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"child {self.path!r} ended ({self.reason}) and was to be kept running"


@attrs.frozen(str=False)
class TaskCancelled(SupervisorError):
    """The task was cancelled, or its supervisor stopped, before it ended; it has no result."""

    path: str

    def __str__(self) -> str:
        return f"task {self.path!r} was cancelled before it ended"


@attrs.frozen(str=False)
class ProcessFailed(SupervisorError):
    """An external program ended and should not have, or before it was *ready*.

    It has either an exit *status* or the name of the *signal* that it died of; *lines* are the last of its output.
    """

    argv: tuple[str, ...]
    status: int | None
    signal: str | None
    lines: tuple[str, ...]
    ready: bool = True

    def __str__(self) -> str:
        how = f"exited with status {self.status}" if self.signal is None else f"was killed by {self.signal}"
        when = "" if self.ready else " before it was ready"
        last = "without any output" if not self.lines else "its last lines:\n" + "\n".join(self.lines)
        return f"{shlex.join(self.argv)} {how}{when}; {last}"


@attrs.frozen(str=False)
class IllegalTransition(SupervisorError):
    """The state machine of a child was given an event that its state does not allow: a bug in this package."""

    state: str
    event: str

    def __str__(self) -> str:
        return f"a child that is {self.state} cannot take the event {self.event!r}"
