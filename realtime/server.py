"""The process: a listening socket, the tree around it, signals, and an end that comes in time."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from typing import Final

import attrs
import structlog
import trio

from realtime.settings import Settings
from realtime.transport import open_listener
from realtime.tree import System, build
from realtime.web.app import Application, create_app
from supervisors import Ignore, RestartIntensityExceeded, StartError, Tree

MARGIN: Final = 0.5
"""Seconds of ``drain_timeout`` kept for the process itself, after the tree's deadline."""

LAST_RESORT: Final = 1.0
"""Seconds after ``drain_timeout`` at which the process ends whatever still runs: Trio cannot kill a task."""

FAILED: Final = 1
STUCK: Final = 70  # EX_SOFTWARE of sysexits.h

logger = structlog.get_logger("realtime.server")


@attrs.define
class Process:
    """Everything that one ``realtime serve`` is made of."""

    settings: Settings
    system: System
    app: Application
    listener: socket.socket
    _stop: trio.Event = attrs.field(factory=trio.Event, init=False)
    _tree: Tree | None = attrs.field(default=None, init=False)

    async def run(self) -> int:
        """Serve until a signal comes or the root gives up; returns the process's exit status."""
        tune_gc(self.settings)
        status = 0
        try:
            async with trio.open_nursery() as process_nursery:
                process_nursery.start_soon(self._watch_signals, process_nursery.cancel_scope, name="signals")
                status = await self._serve()
                process_nursery.cancel_scope.cancel(reason="the tree has ended")
        finally:
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
            logger.info("serving", url=self.url, pid=os.getpid())
            await self._stop.wait()
            drain = self.settings.server.drain_timeout
            logger.info("stopping", drain_timeout_s=drain)
            force_exit_after(drain + LAST_RESORT)
            self.system.backend.phase = "draining"
            await tree.stop(deadline=trio.current_time() + max(drain - MARGIN, drain / 2))

    async def _watch_signals(self, everything: trio.CancelScope) -> None:
        """The first signal begins the drain; the second, or one before the tree is up, ends at once."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                if self._tree is None or self._stop.is_set():
                    everything.cancel(reason=signal.Signals(number).name)
                self._stop.set()

    @property
    def url(self) -> str:
        """Where the server can be reached, with the port that the system chose if it was left open."""
        host, port = self.listener.getsockname()[:2]
        scheme = "https" if self.settings.server.certfile is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def prepare(settings: Settings) -> Process:
    """Bind the socket and wire everything together; nothing runs yet.

    Raises:
      OSError: the address cannot be bound.
      SettingsError, PluginError: see :func:`realtime.tree.build`.
    """
    system = build(settings)
    app = create_app(system.backend)
    return Process(settings, system, app, open_listener(settings.server.bind))


def tune_gc(settings: Settings) -> None:
    """Collect garbage less often, unless ``server.gc`` is "default".

    With 1000 connections the default thresholds spend half of all time looking through objects that live long;
    100 000, 50, 100 made fan-out 1.8 to 2.4 times faster.  What exists by now is never looked at again.
    """
    if settings.server.gc == "tuned":
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)


def force_exit_after(seconds: float) -> None:
    """End the process in *seconds*, from a thread of its own: a task that never yields must not keep it alive."""

    def end() -> None:
        logger.error("stuck", reason="the tree did not stop in time; ending the process")
        os._exit(STUCK)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
