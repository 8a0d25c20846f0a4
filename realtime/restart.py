"""A process that begins anew in its own place: drained, then replaced by the program as it is on the disk by now.

The pid, the folder, the command line and the listening socket stay; everything else is new, the code and the settings
among it.  So no service manager and no container sees an end, and no client is refused: whoever connects meanwhile
waits in the kernel's queue.  A second process beside the first, as some servers start it, would find the store locked
until the first has closed it, so it could not accept any sooner.

Before the drain the settings and modules are judged by ``realtime check``, in a process of its own, since this one has
the old code: what would not start is refused while the old one still serves.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, Self

import attrs
import trio

from realtime.transport import handover

SIGNAL: Final = signal.SIGUSR2
"""What asks for it, as in nginx and gunicorn.  SIGHUP would come whenever a terminal is closed."""

CHECK_SECONDS: Final = 60.0
"""Loading every module takes a second; on a machine where it takes a minute nothing would start either."""

_COUNT: Final = "REALTIME_RESTARTS"


@attrs.frozen
class Restart:
    """What takes the place of this process.

    Attributes:
      program: the interpreter's path.
      command: its arguments, the zeroth included: those that this process was started with.
      check: the command that judges beforehand.
      count: how often that has happened.
    """

    program: str
    command: tuple[str, ...]
    check: tuple[str, ...]
    count: int = 0

    @classmethod
    def of_this_process(
        cls, config: Path | None, environ: MutableMapping[str, str], argv: Sequence[str], orig_argv: Sequence[str]
    ) -> Self:
        """The same again; *config* as it was given to this one.

        Args:
          environ: the environment, from which the count is taken and removed.
          argv, orig_argv: those of `sys`: with the program's own arguments, and with the interpreter's before them.
        """
        counted = environ.pop(_COUNT, "0")
        python = orig_argv[: len(orig_argv) - len(argv) + 1]
        settings = () if config is None else ("--config", str(config))
        count = int(counted) if counted.isdecimal() else 0
        return cls(sys.executable, tuple(orig_argv), (sys.executable, *python[1:], "check", *settings), count)

    async def refusal(self, environ: Mapping[str, str]) -> str | None:
        """Why it would not come up, as far as that can be told beforehand; None if nothing stands against it."""
        with trio.move_on_after(CHECK_SECONDS):
            try:
                done = await trio.run_process(
                    self.check,
                    env=dict(environ),
                    stdout=subprocess.DEVNULL,
                    capture_stderr=True,
                    check=False,
                )
            except OSError as error:
                return f"{self.check[0]} cannot be run: {error}"
            said = done.stderr.decode(errors="replace").strip().removeprefix("Error: ")
            return None if done.returncode == 0 else said or f"the check ended with status {done.returncode}"
        return f"the check took longer than {CHECK_SECONDS:g} s"

    def begin_anew(self, listener: socket.socket, environ: Mapping[str, str]) -> NoReturn:
        """Replace this process by the new one, which finds *listener*.

        Raises:
          OSError: the program cannot be run; descriptor 3 is lost then, so there is nothing to do but to end.
        """
        # Kept until the new program listens to it; what is ignored and blocked waits, see signal(7).
        signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
        for stream in (sys.stdout, sys.stderr):
            # Whoever read them may have gone, which is no reason not to serve.
            with suppress(BrokenPipeError):
                stream.flush()
        given = {**environ, _COUNT: str(self.count + 1)}
        handover.hand_on(listener, given)
        os.execve(self.program, self.command, given)


def ignore_until_served() -> None:
    """Let a request for a restart that comes too early not end the process, which is what the signal does by itself.

    Nothing is changed where it is ignored already, as after a restart: that would forget one that waits.
    """
    if signal.getsignal(SIGNAL) is signal.SIG_DFL:
        signal.signal(SIGNAL, signal.SIG_IGN)


def let_through() -> None:
    """Take the request that may have waited since before this program began; its handler has to be there by now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {SIGNAL})
