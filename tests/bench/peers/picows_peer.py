"""picows: a loop of ``transport.send``, on uvloop."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from tests.bench.peers.commands import obey

PORT = int(sys.argv[1])
TRANSPORTS: set[WSTransport] = set()


class Listener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        TRANSPORTS.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        TRANSPORTS.discard(transport)


def accept(_request: WSUpgradeRequest) -> WSListener:
    return Listener()


async def send(message: str) -> None:
    data = message.encode()
    for transport in TRANSPORTS:
        transport.send(WSMsgType.TEXT, data)


async def main() -> None:
    server = await ws_create_server(accept, "127.0.0.1", PORT, backlog=4096)
    commands = asyncio.create_task(obey(PORT, send))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    commands.cancel()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
