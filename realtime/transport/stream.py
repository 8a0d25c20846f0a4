"""A TCP stream whose writes always end: written, given up after a deadline, or cancelled.

It stands below everything that writes, TLS included, so no protocol above it can bring back an endless write.
"""

from __future__ import annotations

import contextlib
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
# What Trio lets wait in the kernel: see `prepare`.
_UNSENT_BYTES = 2**14
# A socket closed meanwhile, as trio.SocketStream tells it from one that broke.
_CLOSED = frozenset({errno.EBADF, errno.ENOTSOCK})


class GuardedStream(trio.abc.HalfCloseableStream):
    """A connected socket with a deadline on every write that counts progress, and an end that never waits.

    A write may take any time as long as the peer goes on taking something: it fails when nothing could be
    written for *write_timeout* seconds. One that was cancelled or given up in the middle leaves half a frame
    behind, so nothing can be written after it but its other half, if somebody has that.

    Args:
      sock: connected, non-blocking, and owned from now on; see `prepare`.
      address: the peer's, without its port.
    """

    __slots__ = ("_cut_off", "_writing", "address", "socket", "write_timeout")

    def __init__(self, sock: socket.socket, address: str, write_timeout: float) -> None:
        # The standard library's and not Trio's: that one only writes and reads in a task, and takes twice the steps.
        self.socket = sock
        self.address = address
        self.write_timeout = write_timeout
        self._writing = False
        self._cut_off = False

    def writer(self) -> Callable[[bytes], int] | None:
        """What writes some bytes without a task, as `socket.socket.send`; None during a write or after half of one.

        It may be called until the next `send_all`. Whoever is left with a part that cannot stand alone has to
        `cut_off` before anybody else can write.
        """
        return None if self._writing or self._cut_off else self.socket.send

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
            await trio.lowlevel.checkpoint_if_cancelled()
            with memoryview(data) as view:
                sent = self._send(view)
                if sent == len(view):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    return
                with trio.move_on_after(self.write_timeout) as patience:
                    while True:
                        await self._wait_writable()
                        with view[sent:] as rest:
                            taken = self._send(rest)
                        if taken:
                            sent += taken
                            patience.deadline = trio.current_time() + self.write_timeout
                        if sent == len(view):
                            return
        finally:
            self._writing = False
            self._cut_off = (resumes or sent > 0) and sent < len(data)
        # A reset and not an orderly close: the kernel would go on offering its queue to a peer that does not
        # read, for minutes.
        self.abort()
        raise WriteStalled(self.write_timeout)

    def _send(self, data: memoryview) -> int:
        """Write what the kernel takes at once, which can be nothing."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _ended(error) from error

    async def _wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self.socket)
        except OSError as error:  # closed before it could be waited for
            raise _ended(error) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Until the kernel takes more. A checkpoint."""
        await self._wait_writable()

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
                data = self.socket.recv(_MAX_RECEIVED if max_bytes is None else max_bytes)
            except BlockingIOError:
                pass
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            while True:
                await trio.lowlevel.wait_readable(self.socket.fileno())
                try:
                    return self.socket.recv(_MAX_RECEIVED if max_bytes is None else max_bytes)
                except BlockingIOError:  # somebody else's news
                    continue
        except OSError as error:
            raise _ended(error) from error

    @property
    def closed(self) -> bool:
        """Whether the socket has been closed here."""
        return self.socket.fileno() == -1

    def close(self) -> None:
        """Close now; the kernel delivers what was written, unless a write was cut off. Never blocks or raises."""
        if self._writing or self._cut_off:
            self.abort()
        elif not self.closed:
            self._close()

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
        self._close()

    def _close(self) -> None:
        trio.lowlevel.notify_closing(self.socket)
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


def _ended(error: OSError) -> trio.ClosedResourceError | trio.BrokenResourceError:
    """What *error* of a socket means in Trio's words."""
    if error.errno in _CLOSED:
        return trio.ClosedResourceError("this stream was closed")
    return trio.BrokenResourceError(f"the peer is gone: {error}")


def prepare(listener: socket.socket) -> None:
    """Give *listener* what each socket accepted from it is to have; on Linux they inherit that, elsewhere set it again.

    As `trio.SocketStream` has it: nothing waits to be sent together with more, and no more than 16 KiB wait in the
    kernel behind what is under way, so that a slow client shows at once.
    """
    with contextlib.suppress(OSError):  # not TCP
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
