"""websockets: its own ``broadcast``, on uvloop."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from tests.bench.peers.commands import obey

PORT = int(sys.argv[1])
CONNECTIONS: set[ServerConnection] = set()


async def handler(websocket: ServerConnection) -> None:
    CONNECTIONS.add(websocket)
    try:
        await websocket.wait_closed()
    finally:
        CONNECTIONS.remove(websocket)


async def send(message: str) -> None:
    broadcast(CONNECTIONS, message)


async def main() -> None:
    async with serve(handler, "127.0.0.1", PORT, backlog=4096) as server:
        commands = asyncio.create_task(obey(PORT, send))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
        await server.wait_closed()
        commands.cancel()


if __name__ == "__main__":
    uvloop.run(main())
