"""python-socketio on uvicorn: ``emit`` to everybody, over WebSocket alone."""

from __future__ import annotations

import asyncio
import json
import sys

import socketio
import uvicorn

from tests.bench.peers.commands import obey

PORT = int(sys.argv[1])

sio = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])


async def emit(message: str) -> None:
    await sio.emit("load", json.loads(message))


TASKS: set[asyncio.Task[None]] = set()


async def begin() -> None:
    TASKS.add(asyncio.create_task(obey(PORT, emit)))


async def finish() -> None:
    for task in TASKS:
        task.cancel()


app = socketio.ASGIApp(sio, on_startup=begin, on_shutdown=finish)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, backlog=4096, timeout_graceful_shutdown=10)
