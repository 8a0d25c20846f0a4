"""aiohttp: the broadcast of its documentation ("Graceful shutdown"), on uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import web

from tests.bench.peers.commands import obey

PORT = int(sys.argv[1])
SOCKETS = web.AppKey("SOCKETS", set[web.WebSocketResponse])


async def handler(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    request.app[SOCKETS].add(ws)
    try:
        async for _ in ws:
            pass
    finally:
        request.app[SOCKETS].discard(ws)
    return ws


async def commands(app: web.Application) -> AsyncIterator[None]:
    async def broadcast(message: str) -> None:
        for ws in list(app[SOCKETS]):
            await ws.send_str(message)

    task = asyncio.create_task(obey(PORT, broadcast))
    yield
    task.cancel()


def main() -> None:
    app = web.Application()
    app[SOCKETS] = set()
    app.router.add_get("/", handler)
    app.cleanup_ctx.append(commands)
    uvloop.install()
    web.run_app(
        app, host="127.0.0.1", port=PORT, backlog=4096, shutdown_timeout=10, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main()
