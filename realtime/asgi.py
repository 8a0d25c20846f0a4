"""``hypercorn -k trio realtime.asgi:app``: the same application on a server that is not ours, for development.

The tree runs inside the lifespan.  Connections belong to Hypercorn then: there is no drain, and a client that stops
reading can hold up the shutdown.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import structlog

from realtime import log
from realtime.plugins import look_beside
from realtime.settings import find, load
from realtime.tree import build
from realtime.web.app import Application, create_app

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = structlog.get_logger("realtime.asgi")


class LifespanApp:
    """An ASGI application that brings its tree up at startup and down at shutdown."""

    def __init__(self) -> None:
        self._app: Application | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send, *args: Any) -> None:
        """ASGI's entry point."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._app is None:
            raise RuntimeError("this application needs a server that speaks ASGI's lifespan protocol")
        else:
            await self._app(scope, receive, send)  # type: ignore[arg-type]

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        up = False
        answer: Message = {"type": "lifespan.shutdown.complete"}
        try:
            path = find(os.environ, Path.cwd())
            look_beside(path)
            settings = load(path, os.environ)
            log.configure(settings.log.level, settings.log.format)
            system = build(settings)
            self._app = create_app(system.backend)
            async with system.run(self._app, None):
                logger.warning(
                    "development_server",
                    reason="not our own server: no drain, no write deadlines; use 'realtime serve' in production",
                )
                up = True
                await send({"type": "lifespan.startup.complete"})
                await receive()  # lifespan.shutdown
                system.backend.phase = "draining"
        except Exception as error:
            if up:
                # An exception would be logged, and the worker would go on without its tree.
                logger.error("tree_ended", exc_info=error)
                raise SystemExit(1) from error
            answer = {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
        await send(answer)


app = LifespanApp()
