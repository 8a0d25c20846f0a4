"""A child that is an external program: the same specs, the same tree.

Made on :func:`trio.lowlevel.open_process` and not on :func:`trio.run_process`, which kills one process and not its
group, and hands out the output only when all is over.  For POSIX systems.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from os import PathLike
from typing import Any, Final, TypeAlias

import attrs
import trio

from ..errors import ProcessFailed, Shutdown
from ..policy.program import LineSplitter, judge, signal_name
from .readiness import STREAMS, FileDescriptor, Line, Port, Readiness, Stream, wait_notified

logger = logging.getLogger("supervisors.process")

Argument: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]

READ_BYTES: Final = 16_384
"""Bytes of output taken at a time."""

LINES_A_TURN: Final = 64
"""Lines logged between two checkpoints: some half a millisecond, so that a chatty program does not hold up the loop."""

LAST_LINES: Final = 20
"""Lines of output that are kept to say why a program failed: the end of a traceback."""

LAST_LINE_CHARACTERS: Final = 500
"""Characters kept of each of them."""

DRAIN_SECONDS: Final = 1.0
"""How long the rest of the output is read after the end; only a process outside the group can still hold the pipe."""

REAP_SECONDS: Final = 5.0
"""How long a process that was sent SIGKILL is waited for; only one stuck in the kernel takes longer."""


def _as_argv(argv: Iterable[Argument]) -> tuple[Argument, ...]:
    # A string is a sequence too; left as it is, so that the validator can refuse it.
    return argv if isinstance(argv, str | bytes) else tuple(argv)  # type: ignore[return-value]


def _argv(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(part, str | bytes | PathLike) for part in value):
        raise TypeError(
            f"{attribute.name} must be a list of strings, the program first (never a shell's line), got {value!r}"
        )
    if not value or not os.fspath(value[0]):
        raise ValueError(f"{attribute.name} must name a program, got {value!r}")


def _as_statuses(statuses: Iterable[int]) -> tuple[int, ...]:
    return tuple(statuses)


def _statuses(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not all(isinstance(status, int) and 0 <= status <= 255 for status in value):
        raise ValueError(f"{attribute.name} must be exit statuses from 0 to 255, got {value!r}")


def _level(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be a level of logging or None, got {value!r}")


def _readiness(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, Readiness):
        raise TypeError(f"{attribute.name} must be a Line, a Port, a FileDescriptor or None, got {value!r}")


@attrs.frozen
class ProcessStatistics:
    """What the tree shows of a program: its process id and the lines it has written; *lines_cut* were too long."""

    pid: int
    stdout_lines: int
    stderr_lines: int
    lines_cut: int


@attrs.frozen
class Command:
    """An external program as the ``start`` of a :class:`~supervisors.ChildSpec`.  Never a shell.

    It runs in a process group of its own, with no input.  Its output is logged line by line by the logger
    ``supervisors.process`` at the level *log* (None: not at all), with ``path``, ``stream`` and ``pid``; long lines are
    cut, bytes that are not UTF-8 replaced.  Reading never stops while it runs, so writing never blocks it for long.

    It is up once it is *ready*, at once without; a program that ends before has failed to start.  An exit status among
    *ok_statuses* is a normal end, any other and a signal is a crash with :class:`~supervisors.ProcessFailed`.  Asked to
    stop, its group gets SIGTERM; after ``shutdown`` seconds, or when it is cancelled, SIGKILL.  When the program itself
    has ended, whatever is left of its group is killed at once; a process that left the group is out of reach, and so is
    everything if this process is killed by SIGKILL.

    Args:
      argv: the program and its arguments; without a slash it is looked for in ``PATH``.
      on_line: called with the stream's name and the text of each line of output, in the loop's thread; must not block.
      cwd: the directory it runs in; None is this process's.
      env: its whole environment; None is this process's.

    Raises:
      TypeError, ValueError: naming the field.
    """

    argv: tuple[Argument, ...] = attrs.field(converter=_as_argv, validator=_argv)
    ready: Readiness | None = attrs.field(default=None, kw_only=True, validator=_readiness)
    cwd: str | PathLike[str] | None = attrs.field(default=None, kw_only=True)
    env: Mapping[str, str] | None = attrs.field(default=None, kw_only=True)
    ok_statuses: tuple[int, ...] = attrs.field(default=(0,), kw_only=True, converter=_as_statuses, validator=_statuses)
    log: int | None = attrs.field(default=logging.INFO, kw_only=True, validator=_level)
    on_line: Callable[[Stream, str], object] | None = attrs.field(default=None, kw_only=True)

    async def __call__(self, *, task_status: trio.TaskStatus[Program], stopping: trio.Event) -> None:
        """Run it to its end; called by the runtime in the child's own task, which is named by its path.

        Raises:
          OSError: it could not be started.
          ProcessFailed: it ended and should not have.
          Shutdown: it was asked to stop, and did.
        """
        program = await _spawn(self, trio.lowlevel.current_task().name)
        try:
            await program.live(task_status, stopping)
        finally:
            with trio.move_on_after(REAP_SECONDS, shield=True) as patience:
                await program.end()
            if patience.cancelled_caught:
                logger.error("%s: process %d still exists %g s after SIGKILL", program.path, program.pid, REAP_SECONDS)
        program.judge()


class Program:
    """One run of a :class:`Command`; what the start of the child returns."""

    def __init__(
        self, command: Command, path: str, process: trio.Process, notice: trio.abc.ReceiveStream | None
    ) -> None:
        self.command = command
        self.path = path
        self._process = process
        self._notice = notice
        self._line_seen = trio.Event()
        self._output_ended = trio.Event()
        self._lines: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self._splitters = {name: LineSplitter() for name in STREAMS}
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._ready = self._asked = self._exited = False

    @property
    def pid(self) -> int:
        """The process id, which is its group's id too."""
        return self._process.pid

    def statistics(self) -> ProcessStatistics:
        """Figures for the tree's snapshot."""
        cut = sum(splitter.cut for splitter in self._splitters.values())
        return ProcessStatistics(self.pid, self._lines["stdout"], self._lines["stderr"], cut)

    # -------------------------------------------------------- done by the runtime

    async def live(self, task_status: trio.TaskStatus[Program], stopping: trio.Event) -> None:
        """Read its output, tell when it is ready, ask it to stop when told to; return once it has ended."""
        if self.command.ready is None:
            self._set_ready(task_status)  # before its end can be seen, else which of both it is would be up to chance
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_all)
            nursery.start_soon(self._tell_ready, task_status)
            nursery.start_soon(self._ask_when_told, stopping)
            await wait_exited(self._process)
            self._exited = True
            self._signal(signal.SIGKILL)  # what is left of its group, which would keep the pipes open too
            with trio.move_on_after(DRAIN_SECONDS):
                await self._output_ended.wait()
            nursery.cancel_scope.cancel(reason="the program has ended")

    async def end(self) -> None:
        """Kill its group, unless :meth:`live` did, and reap it."""
        if not self._exited:
            self._signal(signal.SIGKILL)
        for stream in (self._process.stdout, self._process.stderr, self._notice):
            if stream is not None:
                await trio.aclose_forcefully(stream)
        await self._process.wait()

    def judge(self) -> None:
        """Raise what its end means, or return if it ended normally."""
        returncode = self._process.returncode
        assert returncode is not None
        verdict = judge(returncode, self.command.ok_statuses, ready=self._ready, asked=self._asked)
        if verdict == "shutdown":
            raise Shutdown("asked to stop by SIGTERM")
        if verdict == "failed":
            name = signal_name(returncode)
            status = returncode if name is None else None
            argv = tuple(os.fsdecode(part) for part in self.command.argv)
            raise ProcessFailed(argv, status, name, tuple(self._last), self._ready)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole group.  Only before it is reaped: until then nobody else can have its number."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            logger.error("%s: process group %d cannot be sent %s: %s", self.path, self.pid, number.name, error)

    async def _ask_when_told(self, stopping: trio.Event) -> None:
        await stopping.wait()
        self._asked = True
        self._signal(signal.SIGTERM)

    async def _tell_ready(self, task_status: trio.TaskStatus[Program]) -> None:
        how = self.command.ready
        if isinstance(how, Line):
            await self._line_seen.wait()
        elif isinstance(how, Port):
            await how.wait_accepting()
        elif self._notice is not None:
            await wait_notified(self._notice)
        if not self._ready and not self._exited:
            self._set_ready(task_status)

    def _set_ready(self, task_status: trio.TaskStatus[Program]) -> None:
        self._ready = True
        task_status.started(self)

    async def _read_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for name in STREAMS:
                nursery.start_soon(self._read, name)
        self._output_ended.set()

    async def _read(self, name: Stream) -> None:
        stream: trio.abc.ReceiveStream = getattr(self._process, name)
        splitter = self._splitters[name]
        try:
            while data := await stream.receive_some(READ_BYTES):
                lines = splitter.feed(bytes(data))
                for start in range(0, len(lines), LINES_A_TURN):
                    self._take(name, lines[start : start + LINES_A_TURN])
                    await trio.lowlevel.checkpoint()
        finally:
            self._take(name, splitter.finish())

    def _take(self, name: Stream, lines: list[bytes]) -> None:
        self._lines[name] += len(lines)
        how, level = self.command.ready, self.command.log
        for line in lines:
            text = line.decode(errors="replace")
            self._last.append(text[:LAST_LINE_CHARACTERS])
            if level is not None:
                extra = {"path": self.path, "stream": name, "pid": self.pid}
                logger.log(level, "%s: %s", self.path, text, extra=extra)
            if self.command.on_line is not None:
                self.command.on_line(name, text)
            if isinstance(how, Line) and how.matches(name, line):
                self._line_seen.set()


async def _spawn(command: Command, path: str) -> Program:
    """Start the program; if that fails, nothing is left open.

    Raises:
      OSError: it could not be started.
    """
    options: dict[str, Any] = {"cwd": command.cwd, "env": command.env}
    notice: trio.abc.ReceiveStream | None = None
    with ExitStack() as on_failure, ExitStack() as always:
        if isinstance(command.ready, FileDescriptor):
            reading, writing = os.pipe()
            always.callback(os.close, writing)
            notice = stream = trio.lowlevel.FdStream(reading)
            on_failure.callback(stream.close)
            environment = os.environ if command.env is None else command.env
            options["env"] = {**environment, command.ready.variable: str(writing)}
            options["pass_fds"] = (writing,)
        process = await trio.lowlevel.open_process(
            list(command.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )
        on_failure.pop_all()
    return Program(command, path, process, notice)


async def wait_exited(process: trio.Process) -> None:
    """Return once *process* has ended, and do not reap it: until then its number, and its group's, is its own.

    Without pidfds (outside Linux) it is reaped, and in theory its number can be another's by the time of the next line.
    """
    try:
        pidfd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        await process.wait()
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
