"""The process: a listening socket, the tree around it, signals, and an end that comes in time.

| signal | while it starts | while it serves | while it drains |
|---|---|---|---|
| SIGTERM, SIGINT | ends at once | drains and ends | ends at once; one that was to restart ends after its drain |
| SIGUSR1 | nothing | writes the tree and the stacks of its tasks | the same |
| SIGUSR2 | restarts once it is up | drains and restarts, if the check finds nothing against it | nothing |
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from realtime import restart
from realtime.policy import closing
from realtime.restart import Restart
from realtime.settings import Settings
from realtime.transport import listens_on, open_listener, take_over
from realtime.tree import System, build
from realtime.web.app import Application, create_app
from supervisors import Ignore, RestartIntensityExceeded, StartError, Tree, dump

MARGIN: Final = 0.5
"""Seconds of ``drain_timeout`` kept for the process itself, after the tree's deadline."""

LAST_RESORT: Final = 1.0
"""Seconds after ``drain_timeout`` at which the process ends whatever still runs: Trio cannot kill a task."""

LONGEST_ABSENCE: Final = 5.0
"""Seconds that clients are told to stay away for a restart at the most."""

FAILED: Final = 1
STUCK: Final = 70  # EX_SOFTWARE of sysexits.h
BY_SIGNAL: Final = 128  # plus its number: what shells report of a program that a signal ended

logger = structlog.get_logger("realtime.server")


@attrs.define
class Process:
    """Everything that one ``realtime serve`` is made of.

    Args:
      restart: how it begins anew; None where nobody would do it, and SIGUSR2 is left alone.
    """

    settings: Settings
    system: System
    app: Application
    listener: socket.socket
    restart: Restart | None = None
    _stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    _serving: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _tree: Tree | None = attrs.field(default=None, init=False)
    _again: bool = attrs.field(default=False, init=False)
    _checking: bool = attrs.field(default=False, init=False)
    _dumping: bool = attrs.field(default=False, init=False)
    _cut_by: int | None = attrs.field(default=None, init=False)

    async def run(self) -> int | None:
        """Serve until a signal comes or the root gives up.

        Returns the process's exit status; None if it is to begin anew, with the listening socket still open.
        """
        status: int | None = 0
        try:
            async with trio.open_nursery() as process_nursery:
                await process_nursery.start(self._watch_signals, process_nursery)
                # A scope of its own, so that signals do not get back their own effects before all has ended.
                with self._serving:
                    status = await self._serve()
                process_nursery.cancel_scope.cancel(reason="the tree has ended")
            if self._cut_by is not None:
                status = 0 if self._tree is None else BY_SIGNAL + self._cut_by
            elif status == 0 and self._again:
                status = None
        finally:
            if status is not None:
                self.listener.close()
        return status

    async def _serve(self) -> int:
        # Here rather than around the nursery: `except*` cannot catch what is a group itself, like the second of them.
        try:
            await self._serve_until_stopped()
        except (StartError, RestartIntensityExceeded, Ignore) as failure:
            # In one line: where each of its causes came from was logged when it happened.
            logger.error("server_failed", reason=str(failure))
            return FAILED
        logger.info("stopped")
        return 0

    async def _serve_until_stopped(self) -> None:
        async with self.system.run(self.app, self.listener) as tree:
            self._tree = tree
            tune_gc(self.settings)
            logger.info("serving", url=self.url, pid=os.getpid(), restarts=self.system.backend.restarts)
            await self._stop.wait()
            drain = self.settings.server.drain_timeout
            logger.info("stopping", drain_timeout_s=drain, then="restart" if self._again else "end")
            call_after(drain + LAST_RESORT, self._cut_short)
            backend = self.system.backend
            backend.phase = "draining"
            backend.hub.turn_away(random.Random(), backend.absence)
            await tree.stop(deadline=trio.current_time() + max(drain - MARGIN, drain / 2))

    def _cut_short(self) -> None:
        """From a thread: the tree did not stop in time. What it stored is safe, as if the process had been killed."""
        if self._again and self.restart is not None:
            logger.error("stuck", reason="the tree did not stop in time; restarting all the same")
            try:
                self.restart.begin_anew(self.listener, os.environ)
            except OSError as error:
                logger.error("restart_failed", reason=str(error))
        else:
            logger.error("stuck", reason="the tree did not stop in time; ending the process")
        os._exit(STUCK)

    # --- signals ----------------------------------------------------------------------------------------------------

    async def _watch_signals(
        self, process_nursery: trio.Nursery, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See the table at the head of this file."""
        restarting = () if self.restart is None else (restart.SIGNAL,)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *restarting) as signals:
            task_status.started()
            if restarting:
                restart.let_through()
            async for number in signals:
                if number == signal.SIGUSR1:
                    self._ask_for_dump(process_nursery)
                elif number in restarting:
                    self._ask_for_restart(process_nursery)
                elif self._tree is None or (self._stop.is_set() and not self._again):
                    self._end_at_once(number)
                else:
                    self._stop_for_good()

    def _ask_for_dump(self, process_nursery: trio.Nursery) -> None:
        if self._tree is not None and not self._dumping:
            self._dumping = True
            process_nursery.start_soon(self._dump, self._tree, name="dump")

    async def _dump(self, tree: Tree) -> None:
        try:
            await trio.to_thread.run_sync(sys.stderr.write, dump(tree) + "\n", abandon_on_cancel=True)
        except OSError as error:  # nobody reads it any more
            logger.error("dump_failed", reason=str(error))
        finally:
            self._dumping = False

    def _stop_for_good(self) -> None:
        if self._again:
            self._again = False
            logger.info("restart_called_off")
        self._stop.set()

    def _end_at_once(self, number: int) -> None:
        """Wait for nobody: clients are told as far as that takes no waiting, and the store closes."""
        if self._cut_by is not None:
            return
        self._cut_by = number
        name = signal.Signals(number).name
        logger.info("ending_at_once", signal=name)
        call_after(LAST_RESORT, lambda: os._exit(BY_SIGNAL + number))
        self._serving.cancel(reason=name)

    def _ask_for_restart(self, process_nursery: trio.Nursery) -> None:
        if self._stop.is_set() or self._checking:
            logger.info("restart_ignored", reason="it is stopping, or about to restart, already")
            return
        self._checking = True
        process_nursery.start_soon(self._restart_if_sound, name="check before a restart")

    async def _restart_if_sound(self) -> None:
        assert self.restart is not None
        logger.info("restart_asked_for")
        began = trio.current_time()
        refusal = await self.restart.refusal(os.environ)
        self._checking = False
        if refusal is not None:
            logger.error("restart_refused", reason=refusal)
        elif not self._stop.is_set():
            # The check does most of what a start does, so it tells how long clients will have to wait for that.
            # Not without a bound: it ran beside all that this process does, and who comes early waits unharmed.
            seconds = trio.current_time() - began
            self.system.backend.absence = min(max(closing.RESTART, seconds), LONGEST_ABSENCE)
            self._again = True
            self._stop.set()

    @property
    def url(self) -> str:
        """Where the server can be reached, with the port that the system chose if it was left open."""
        host, port = self.listener.getsockname()[:2]
        scheme = "https" if self.settings.server.certfile is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def prepare(settings: Settings, restart: Restart | None = None) -> Process:
    """Bind the socket, or take over the one that was handed to us, and wire everything together; nothing runs yet.

    Raises:
      OSError: the address cannot be bound, or what was handed over is no listening socket.
      SettingsError, PluginError: see :func:`realtime.tree.build`.
    """
    system = build(settings)
    if restart is not None:
        system.backend.restarts = restart.count
    app = create_app(system.backend)
    listener = take_over(os.environ)
    if listener is None:
        listener = open_listener(settings.server.bind)
    elif not listens_on(listener, settings.server.bind):
        own = ":".join(map(str, listener.getsockname()[:2]))
        logger.warning(
            "bind_ignored", bind=settings.server.bind, reason=f"a socket that listens on {own} was handed over"
        )
    return Process(settings, system, app, listener, restart)


def tune_gc(settings: Settings) -> None:
    """Collect garbage less often, unless ``server.gc`` is "default".

    With 1000 connections the default thresholds spend half of all time looking through objects that live long;
    100 000, 50, 100 made fan-out 1.8 to 2.4 times faster.  What exists by now, the program and the tree,
    is never looked at again; so this is for when the tree is up.
    """
    if settings.server.gc == "tuned":
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)


def call_after(seconds: float, act: Callable[[], None]) -> None:
    """Call *act* in *seconds*, from a thread of its own: a task that never yields must not keep the process alive."""
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
