"""A `Wire` without a socket: the test plays the peer."""

from collections import deque
from collections.abc import Sequence

import msgspec
import trio

from realtime.delivery import frames
from realtime.delivery.frames import Frame
from realtime.delivery.wire import PeerClosed, PeerMisbehaved, Wire, WriteStalled


class MemoryWire(Wire):
    """Keeps what was sent; a stalled one takes nothing until it is released."""

    def __init__(
        self, *, address="192.0.2.1", write_timeout=10.0, supports_frames=True, answers=True, close_seconds=0.0
    ):
        self.address = address
        self.last_seen = trio.current_time()
        self.rtt = None
        self.supports_frames = supports_frames
        self.sent: list[Frame] = []
        self.batches: list[int] = []
        self.closed_with: tuple[int, str] | None = None
        self.aborted = False
        self.broken = False
        self.writers = self.readers = 0
        self._write_timeout = write_timeout
        self._answers = answers
        self._close_seconds = close_seconds
        self._go = trio.Event()
        self._go.set()
        self._inbound: deque[str | bytes | Exception] = deque()
        self._arrived = trio.Event()

    # --- what the test does ---

    def stall(self):
        if self._go.is_set():
            self._go = trio.Event()

    def release(self):
        self._go.set()

    def peer_sends(self, message):
        self.last_seen = trio.current_time()
        self._inbound.append(message)
        self._arrived.set()

    def peer_closes(self, code=1001, reason=""):
        self._end(PeerClosed(code, reason))

    def peer_misbehaves(self, code, reason=""):
        self._end(PeerMisbehaved(code, reason))

    def _end(self, error):
        self._inbound.append(error)
        self._arrived.set()

    @property
    def messages(self):
        """The text messages that were sent, decoded."""
        return [msgspec.json.decode(frame.payload) for frame in self.sent if frame.opcode == frames.TEXT]

    def types(self):
        return [message["type"] for message in self.messages]

    def offsets(self, topic=None):
        """What was received, as offsets; a gap as a (first, last) pair."""
        found = []
        for message in self.messages:
            if message["type"] in ("subscribed", "unsubscribed") or topic not in (None, message.get("topic")):
                continue
            last = message["offset"]
            found.append((last - message["missed"] + 1, last) if message["type"] == "gap" else last)
        return found

    # --- Wire ---

    async def send(self, frames_: Sequence[Frame]):
        assert self.closed_with is None
        assert not self.aborted
        assert frames_
        self.writers += 1
        assert self.writers == 1
        try:
            await trio.lowlevel.checkpoint()
            if not self.broken:
                with trio.move_on_after(self._write_timeout):
                    await self._go.wait()
            if self.broken:
                raise trio.BrokenResourceError
            if not self._go.is_set():
                raise WriteStalled(self._write_timeout)
            self.sent.extend(frames_)
            self.batches.append(len(frames_))
            if self._answers and any(frame.opcode == frames.PING for frame in frames_):
                self.last_seen = trio.current_time()
        finally:
            self.writers -= 1

    async def receive(self):
        self.readers += 1
        assert self.readers == 1
        try:
            await trio.lowlevel.checkpoint()
            while not self._inbound:
                self._arrived = trio.Event()
                await self._arrived.wait()
            if isinstance(self._inbound[0], Exception):
                raise self._inbound[0]
            return self._inbound.popleft()
        finally:
            self.readers -= 1

    async def aclose(self, code, reason=""):
        assert self.writers == self.readers == 0
        self.sent.append(frames.close(code, reason))
        self.closed_with = (code, reason)
        await trio.sleep(self._close_seconds)

    def abort(self):
        self.aborted = True
