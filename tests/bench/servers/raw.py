"""The floor in Python: a loop of non-blocking ``socket.send``, and nothing around it.

``raw.py PORT send`` writes each frame by itself; ``raw.py PORT join`` all frames of a tick to a client in one call.
Its clients always read: where the kernel takes no more, it waits.
"""

from __future__ import annotations

import base64
import hashlib
import select
import selectors
import socket
import struct
import sys

from tests.bench.peers.commands import message, parse

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes) -> bytes:
    """A text frame (RFC 6455 section 5.2) of up to 65535 bytes."""
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else struct.pack("!BBH", 0x81, 126, size)) + payload


def send(connection: socket.socket, data: bytes) -> None:
    try:
        sent = connection.send(data)
    except BlockingIOError:
        sent = 0
    while sent < len(data):
        select.select([], [connection], [], 5.0)
        sent += connection.send(data[sent:])


def publish(connections: list[socket.socket], per: int, size: int, joined: bool) -> None:
    frames = [frame(message(size).encode()) for _ in range(per)]
    for data in [b"".join(frames)] if joined else frames:
        for connection in connections:
            send(connection, data)


def shake(connection: socket.socket) -> bool:
    """Answer the handshake; False if it was none."""
    request = connection.recv(4096)
    _, found, rest = request.partition(b"Sec-WebSocket-Key: ")
    if not found:
        return False
    accept = base64.b64encode(hashlib.sha1(rest.partition(b"\r\n")[0] + GUID).digest())
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return True


def main(port: int, joined: bool) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    commands = socket.socket(type=socket.SOCK_DGRAM)
    commands.bind(("127.0.0.1", port))
    listener.setblocking(False)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(commands, selectors.EVENT_READ)
    connections: list[socket.socket] = []
    while True:
        for key, _ in waiting.select():
            if key.fileobj is commands:
                publish(connections, *parse(commands.recv(64)), joined)
            elif key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(connection, selectors.EVENT_READ)
            else:
                assert isinstance(key.fileobj, socket.socket)
                waiting.unregister(key.fileobj)
                if shake(key.fileobj):
                    connections.append(key.fileobj)
                else:
                    key.fileobj.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "join")
