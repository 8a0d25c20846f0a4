"""`Wire` over our own server: frames straight to the socket, and messages as `realtime.transport.incoming` has them.

Why bytes can never be torn or swapped: whatever is written, by whomever, is one or several whole frames given to
`GuardedTCPServer.write`, which writes one call after the other, in the order of the calls; or given to
`GuardedStream.writer`, by the owner and only while nothing else is being written; and when a write was cut off in the
middle, no later one is let through, except for the one that brings the other half.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio
from hypercorn.trio.tcp_server import MAX_RECV
from wsproto.events import BytesMessage, TextMessage
from wsproto.frame_protocol import CloseReason

from realtime.delivery.ending import VANISHED
from realtime.delivery.frames import CLOSE, Frame, close, pong
from realtime.delivery.wire import Life, PeerClosed, PeerMisbehaved, WriteStalled

from .config import ServerConfig
from .incoming import Incoming
from .link import DirectLink
from .parser import Parser
from .reader import Reader
from .stream import GuardedStream

if TYPE_CHECKING:
    from .tcp import GuardedTCPServer

# RFC 6455 section 7.1.5: a Close frame without a code is answered with one like it.
_NO_CODE: Final = Frame(CLOSE, bytes((0x80 | CLOSE, 0)), 2)
_UNWRITABLE = (trio.BrokenResourceError, trio.ClosedResourceError, WriteStalled)


class SocketWire(Incoming):
    """One WebSocket of our own server.

    Taken before the handshake is accepted, or not at all: a message that came in between might have gone to
    ASGI already. `realtime.transport.open_wire` does both.
    """

    supports_frames = True

    def __init__(self, link: GuardedTCPServer | DirectLink, address: str, config: ServerConfig) -> None:
        super().__init__(link, address, config)
        self.taken = False
        self._close_sent = False
        self._gone = False
        #: Whether `detach` was called: nobody else reads, so `receive` does.
        self.detached = False
        self._handshaking: trio.CancelScope | None = None
        self._owed: Frame | None = None
        # The answer to the opening handshake, while it waits for what can be written with it.
        self._answer = b""

    # --- for the owner ------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The connection's id, as in the tree and in the log."""
        return self._link.id

    @property
    def stopping(self) -> trio.Event:
        """Set when the connection is asked to stop: its owner then closes it, in its own time."""
        return self._link.stopping

    def take(self) -> None:
        """Make the caller the owner of all that is read and written; ASGI's own events are over.

        Raises:
          RuntimeError: the handshake has been accepted, or the wire was taken before.
        """
        if self._parser is not None or self.taken:
            raise RuntimeError("take the wire once, and before the WebSocket is accepted: see open_wire")
        self.taken = True

    def detach(self, life: Life) -> bool:
        """See `Wire.detach`: true, unless it raises.

        When the handler has returned, all that it was handled by is given up: its task, the framework's objects for
        it, and HTTP's. Then *life* is called in the task of the connection's own child, and owns the wire as the
        handler did: it has to close it, or its client is told that it failed (1011).

        Raises:
          RuntimeError: the wire was not taken, is not open yet, or has been detached.
        """
        self._check_taken()
        if self._parser is None or self.detached or isinstance(self._link, DirectLink):
            raise RuntimeError("detach the wire once, and when the WebSocket is accepted: see open_wire")
        self.detached = True
        self._inbox.lift()  # whatever was read already has room; nothing more is read but by `receive`
        self._link.detach(life)
        return True

    def writer(self) -> Callable[[bytes], int] | None:
        """See `Wire.writer`: the socket's own method, a call of ours around it would be 5 % of a delivery."""
        self._check_taken()
        if self._answer:
            return self._write_with_answer
        stream = self._link.stream
        # With TLS in between, what is sent is not what goes over the socket.
        return stream.writer() if isinstance(stream, GuardedStream) else None

    def owe(self, rest: Frame) -> None:
        """See `Wire.owe`."""
        self._link.transport.cut_off()
        self._owed = rest

    async def send(self, frames: Sequence[Frame]) -> None:
        """See `Wire.send`. Several frames go out in one call."""
        self._check_taken()
        # One that broke the rules still hears what waits for it, and last of all why it is sent away.
        if self._gone or isinstance(self._end, PeerClosed):
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the peer is gone")
        self._close_sent |= any(frame.opcode == CLOSE for frame in frames)
        # Anything else than what is owed finds the stream cut off.
        resumes = bool(frames) and frames[0] is self._owed
        if resumes:
            self._owed = None
        # Each made once, by the first connection that needs it.
        forms = [frame.deflated for frame in frames] if self.deflates else [frame.data for frame in frames]
        await self._write(forms[0] if len(forms) == 1 else b"".join(forms), resumes=resumes)

    async def receive(self) -> str | bytes:
        """See `Wire.receive`."""
        self._check_taken()
        try:
            if not self.detached or self._inbox.ready:
                return await self.next_message()
            while not self._inbox.ready:
                await self._read_on()
            return self._inbox.get_nowait()
        except trio.EndOfChannel:
            raise attrs.evolve(self._end or PeerClosed(VANISHED)) from None

    async def aclose(self, code: int, reason: str = "") -> None:
        """See `Wire.aclose`. Waits at most `ServerConfig.close_timeout`, what is to be written included."""
        # Nobody receives any more; and a reader that is held back must go on, to the peer's Close frame.
        self._inbox.finish()
        try:
            with trio.move_on_after(self._config.close_timeout):
                await self.say_goodbye(code, reason)
                while not self._handshake_over():
                    if self.detached:
                        await self._read_on()
                        continue
                    self._answered = trio.Event()
                    await self._answered.wait()
                # The reader may be just writing the answer: closing during a write is a reset.
                await self._link.written()
        finally:
            self._gone = True
            self._link.close()

    def abort(self) -> None:
        """See `Wire.abort`."""
        self.hung_up()
        self._link.abort()

    def start_soon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Start *function* as a task of the connection."""
        assert not isinstance(self._link, DirectLink)  # whose owner has a task already
        self._link.tasks.spawn(function)

    # --- for the stream -----------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether the handshake was accepted, however it went on."""
        return self._parser is not None

    def handshake_within(self, scope: trio.CancelScope) -> None:
        """Cancel *scope* if the peer leaves before the handshake is over, or has broken it off already."""
        self._handshaking = scope
        if self._gone:
            scope.cancel(reason="there is no handshake any more")

    def opened(self, parser: Parser | Reader, *, deflates: bool = False) -> None:
        """The handshake was accepted: *parser* reads what follows; *deflates* as `Wire` has it."""
        self._parser = parser
        self._handshaking = None
        self.deflates = deflates
        self.last_seen = trio.current_time()

    def open_directly(self, parser: Parser | Reader, answer: bytes) -> None:
        """The handshake is accepted, for an owner that reads and writes itself from the outset.

        Args:
          answer: to the handshake; goes out with what is written first, or before anything is read.
        """
        self.taken = self.detached = True
        self._inbox.lift()
        self._answer = answer
        self.opened(parser)

    def hung_up(self) -> None:
        """The socket has ended: what was read can still be received, nothing can be sent. May be called again."""
        self._gone = True
        self._finish(PeerClosed(VANISHED))
        if self._handshaking is not None and self._parser is None:
            self._handshaking.cancel(reason="the peer left during the handshake")

    async def send_message(self, data: str | bytes) -> None:
        """Send one message for ASGI. A checkpoint; after the end it does nothing, as ASGI wants it.

        Raises:
          RuntimeError: the wire was taken, so messages go through its owner's queue.
        """
        if self.taken:
            raise RuntimeError("the wire was taken: send through it, not through the websocket")
        if self._parser is None or self._close_sent or self._gone or self._end is not None:
            await trio.lowlevel.checkpoint()
            return
        message = TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data)
        try:
            await self._write(self._parser.send(message))
        except _UNWRITABLE:
            self.abort()

    async def feed(self, data: bytes) -> None:
        """Take what was read. Waits while the application is behind.

        Raises:
          trio.BrokenResourceError: the peer hung up, and the application did not catch up in time.
        """
        self.last_seen = trio.current_time()
        if self._parser is None or self._end is not None:
            return  # RFC 6455 section 5.5.1: after a Close frame nothing counts
        self._parser.receive_data(data)
        if self.detached:
            return  # it was read just before: its owner takes it from there, and this task is being cancelled
        for event in self._parser.events():
            await self._on_event(event)
            if self._end is not None or self.detached:
                return  # detached, the rest is parsed when it is wanted

    async def _read_on(self) -> None:
        """Take the next thing that the peer said, or read more of it. A checkpoint if it reads."""
        if self._end is None and self._parser is not None:
            for event in self._parser.events():
                await self._on_event(event)
                return
        try:
            if self._answer:
                await self._write(b"")
            data = await self._link.stream.receive_some(MAX_RECV)
        except _UNWRITABLE:
            data = b""
        if not data:
            self.hung_up()
        elif self._end is None and self._parser is not None:
            self.last_seen = trio.current_time()
            self._parser.receive_data(bytes(data))

    async def _on_ping(self, payload: bytes) -> None:
        if self.on_ping is not None:
            self.on_ping(payload)
        elif not self._close_sent:
            await self._write(pong(payload).data)

    async def attend(self, work: Awaitable[None]) -> None:
        """See `Wire.attend`. A peer that hangs up meanwhile leaves `ServerConfig.disconnect_grace` seconds."""
        if not self.detached:
            await work
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._limit_after_hangup, nursery.cancel_scope, name=f"hang-up of {self.id}")
            await work
            nursery.cancel_scope.cancel(reason="need not watch any longer")

    async def _limit_after_hangup(self, scope: trio.CancelScope) -> None:
        await self._link.transport.wait_hangup()
        scope.deadline = trio.current_time() + self._config.disconnect_grace

    async def say_goodbye(self, code: int, reason: str = "") -> None:
        """Send the Close frame that is due, if it is: the answer to the peer's, what it did wrong, or *code*.

        A checkpoint if something is sent. Raises nothing for the peer's sake.

        Raises:
          ValueError: *code* is due, and none that may be sent; nothing was.
        """
        if self._close_sent or self._gone or self._parser is None:
            return
        end = self._end
        if end is not None:
            code, reason = end.code, end.reason
        frame = _NO_CODE if end is not None and code == CloseReason.NO_STATUS_RCVD else close(code, reason)
        self._close_sent = True
        try:
            await self._write(frame.data)
            if isinstance(end, PeerMisbehaved):
                # It cannot be understood any more, so its answer cannot be either: ask for its end instead.
                self._link.transport.finish()
        except _UNWRITABLE:
            self.hung_up()

    # --- its state ----------------------------------------------------------------------------------------------

    def _handshake_over(self) -> bool:
        return self._gone or isinstance(self._end, PeerClosed)

    def _check_taken(self) -> None:
        if not self.taken:
            raise RuntimeError("this wire was not taken: get it from open_wire")

    def _write_with_answer(self, data: bytes) -> int:
        """As a `writer`, with the answer to the handshake before it: bytes of *data* that were taken."""
        before = len(self._answer)
        taken = self._link.transport.socket.send(self._answer + data)
        self._answer = self._answer[taken:]
        return max(0, taken - before)

    async def _write(self, data: bytes | bytearray, *, resumes: bool = False) -> None:
        if self._answer:
            self._answer, data = b"", self._answer + data
        try:
            await self._link.write(data, resumes=resumes)
        except trio.ClosedResourceError:
            raise trio.BrokenResourceError("the connection has ended") from None
