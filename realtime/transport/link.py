"""What a wire needs of its connection where there is nothing else to it."""

from __future__ import annotations

import trio

from .stream import GuardedStream


class DirectLink:
    """What a `SocketWire` needs of its connection: the socket, and one writer at a time."""

    __slots__ = ("_lock", "id", "stopping", "stream")

    def __init__(self, stream: GuardedStream, id: str, stopping: trio.Event) -> None:
        self.stream = stream
        self.id = id
        self.stopping = stopping
        # Made by the first who has to wait for a write: most connections that are idle never had one.
        self._lock: trio.Lock | None = None

    @property
    def transport(self) -> GuardedStream:
        """The socket."""
        return self.stream

    async def write(self, data: bytes | bytearray, *, resumes: bool = False) -> None:
        """See `GuardedTCPServer.write`."""
        if self._lock is None:
            self._lock = trio.Lock()
        async with self._lock:
            await self.stream.send_all(data, resumes=resumes)

    async def written(self) -> None:
        """See `GuardedTCPServer.written`."""
        if self._lock is None:
            await trio.lowlevel.checkpoint()
            return
        async with self._lock:
            pass

    def close(self) -> None:
        """See `GuardedTCPServer.close`."""
        self.stream.close()

    def abort(self) -> None:
        """See `GuardedTCPServer.abort`."""
        self.stream.abort()
