"""A TCP stream whose writes always end: written, given up after a deadline, or cancelled.

It stands below everything that writes, TLS included, so no protocol above it can bring back an endless write.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
from collections.abc import Awaitable, Callable

import trio

from realtime.delivery.wire import WriteStalled

# SO_LINGER on, for 0 seconds: close() drops what is unsent and answers with a reset.
_RESET = struct.pack("ii", 1, 0)
# Bytes taken at once where the caller names no number: Trio's own figure.
_MAX_RECEIVED = 2**16
# A socket closed meanwhile, as trio.SocketStream tells it from one that broke.
_CLOSED = frozenset({errno.EBADF, errno.ENOTSOCK})


class GuardedStream(trio.abc.HalfCloseableStream):
    """A connected socket with a deadline on every write that counts progress, and an end that never waits.

    A write may take any time as long as the peer goes on taking something: it fails when nothing could be
    written for *write_timeout* seconds. One that was cancelled or given up in the middle leaves half a frame
    behind, so nothing can be written after it but its other half, if somebody has that.

    Args:
      stream: owned from now on.
      address: the peer's, without its port.
    """

    def __init__(self, stream: trio.SocketStream, address: str, write_timeout: float) -> None:
        plain = _plain(stream)
        self.socket = stream.socket
        self.address = address
        self.write_timeout = write_timeout
        self._stream = stream
        self._writing = False
        self._cut_off = False
        self._socket_send = plain.send
        self._socket_recv = plain.recv

    def writer(self) -> Callable[[bytes], int] | None:
        """What writes some bytes without a task, as `socket.socket.send`; None during a write or after half of one.

        It may be called until the next `send_all`. Whoever is left with a part that cannot stand alone has to
        `cut_off` before anybody else can write.
        """
        return None if self._writing or self._cut_off else self._socket_send

    def cut_off(self) -> None:
        """Let nothing be written but what `send_all` is told to be the other half."""
        self._cut_off = True

    async def send_all(self, data: bytes | bytearray | memoryview, *, resumes: bool = False) -> None:
        """Write all of *data*. A checkpoint; if cancelled, the stream may be broken for further writes.

        Args:
          resumes: *data* begins with the other half of what was cut off.

        Raises:
          WriteStalled: no progress for `write_timeout` seconds; the socket has been aborted.
          trio.BrokenResourceError: the peer is gone, or an earlier write was cut off.
          trio.ClosedResourceError: closed here.
          trio.BusyResourceError: another task is writing.
        """
        if self._writing:
            raise trio.BusyResourceError("another task is writing to this stream")
        if self._cut_off and not resumes:
            raise trio.BrokenResourceError("an earlier write was cut off")
        sent = 0
        self._writing = True
        try:
            with memoryview(data) as view, trio.move_on_after(self.write_timeout) as patience:
                while True:
                    with view[sent:] as rest:
                        sent += await self._send(rest)
                    if sent == len(view):
                        return
                    patience.deadline = trio.current_time() + self.write_timeout
        finally:
            self._writing = False
            self._cut_off = (resumes or sent > 0) and sent < len(data)
        # A reset and not an orderly close: the kernel would go on offering its queue to a peer that does not
        # read, for minutes.
        self.abort()
        raise WriteStalled(self.write_timeout)

    async def _send(self, data: memoryview) -> int:
        try:
            return await self.socket.send(data)
        except OSError as error:
            if error.errno in _CLOSED:
                raise trio.ClosedResourceError("this stream was closed") from None
            raise trio.BrokenResourceError(f"the peer is gone: {error}") from error

    async def wait_send_all_might_not_block(self) -> None:
        """Until the kernel takes more. A checkpoint."""
        await self._stream.wait_send_all_might_not_block()

    def finish(self) -> None:
        """Say that nothing more follows; reading goes on. Never blocks or raises."""
        if self._writing or self._cut_off:
            self.abort()
        elif not self.closed:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:  # the peer has reset it: nobody is there to be told
                self.abort()

    async def send_eof(self) -> None:
        """As `finish`. A checkpoint."""
        self.finish()
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at least one byte; empty at the end. A checkpoint; cancelling loses nothing.

        Raises:
          trio.BrokenResourceError: the peer reset the connection.
          trio.ClosedResourceError: closed here.
        """
        # As `trio.SocketStream` does it, in fewer steps: what waits here for most of a connection's life is then 1 KiB
        # smaller.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            try:
                data = self._socket_recv(_MAX_RECEIVED if max_bytes is None else max_bytes)
            except BlockingIOError:
                pass
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            while True:
                await trio.lowlevel.wait_readable(self.socket.fileno())
                try:
                    return self._socket_recv(_MAX_RECEIVED if max_bytes is None else max_bytes)
                except BlockingIOError:  # somebody else's news
                    continue
        except OSError as error:
            if error.errno in _CLOSED:
                raise trio.ClosedResourceError("this stream was closed") from None
            raise trio.BrokenResourceError(f"the peer is gone: {error}") from error

    @property
    def closed(self) -> bool:
        """Whether the socket has been closed here."""
        return self.socket.fileno() == -1

    def close(self) -> None:
        """Close now; the kernel delivers what was written, unless a write was cut off. Never blocks or raises."""
        if self._writing or self._cut_off:
            self.abort()
        else:
            self.socket.close()

    def abort(self) -> None:
        """Close now with a reset, dropping what is unsent; whoever waits on the stream wakes with an error.

        Never blocks or raises, and may be called again.
        """
        if self.closed:
            return
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:  # the kernel has given the connection up already: there is nothing to reset
            pass
        self.socket.close()

    async def aclose(self) -> None:
        """As `close`. A checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def holds(self, condition: Callable[[], Awaitable[object]]) -> bool:
        """Wait for *condition* without reading; False if the peer hung up before it came true.

        This is how a reader that is held back learns that nobody is left to hold back: the end of the stream
        would show only behind all that is still unread.
        """
        fulfilled = False
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await self.wait_hangup()
                nursery.cancel_scope.cancel(reason="the peer hung up")

            nursery.start_soon(watch)
            await condition()
            fulfilled = True
            nursery.cancel_scope.cancel(reason="need not wait any longer")
        return fulfilled

    async def wait_hangup(self) -> None:
        """Until the peer has shut down its side or reset the connection, with any amount still unread; at once if
        it was closed here.

        Trio waits for readable or writable, and both are true here. An epoll of its own can be asked for the
        hang-up alone, and can itself be waited for. Elsewhere than on Linux this never returns; the next
        write tells.
        """
        if self.closed:  # by a write that stalled, say: nobody is left either way
            await trio.lowlevel.checkpoint()
            return
        if sys.platform != "linux":
            await trio.sleep_forever()
        with select.epoll(1) as watch:
            watch.register(self.socket.fileno(), select.EPOLLRDHUP)
            await trio.lowlevel.wait_readable(watch.fileno())


def _plain(stream: trio.SocketStream) -> socket.socket:
    """The socket of *stream* as the standard library has it; *stream* gets a new one of Trio's around it.

    Trio's own only writes in a task.
    """
    old = stream.socket
    plain = socket.socket(old.family, old.type, old.proto, fileno=old.detach())
    stream.socket = trio.socket.from_stdlib_socket(plain)
    return plain
