"""A `Wire` whose socket takes as many bytes of a write as the test says, and whose peer reads them with wsproto."""

import errno
from itertools import cycle

import msgspec
import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from realtime.delivery import frames

from .memory_wire import MemoryWire


class ByteWire(MemoryWire):
    """Bytes in the order in which they were taken; *takes* are how many each write takes, again and again.

    It fails the test when anything is written into another write, or behind half a frame but its other half.
    """

    def __init__(self, takes, **options):
        super().__init__(**options)
        self.stream = bytearray()
        self.directly = 0
        self.owed = None
        self.cut_off = False
        self._takes = cycle(takes)

    @property
    def events(self):
        """What the peer understood."""
        peer = Connection(ConnectionType.CLIENT)
        peer.receive_data(bytes(self.stream))
        return list(peer.events())

    @property
    def messages(self):
        whole, text = [], ""
        for event in self.events:
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    whole.append(msgspec.json.decode(text))
                    text = ""
            elif isinstance(event, CloseConnection):
                assert event.code != 1002, event.reason
            else:
                assert isinstance(event, Ping | Pong)
        assert not text or self.aborted
        return whole

    def writer(self):
        return None if self.writers or self.owed is not None or self.cut_off else self._write_directly

    def owe(self, rest):
        assert self.owed is None
        self.owed = rest

    def _write_directly(self, data):
        assert self.writers == 0
        assert self.owed is None
        assert not self.cut_off
        assert self.closed_with is None
        if self.aborted:
            raise OSError(errno.EBADF, "closed")
        if self.broken:
            raise OSError(errno.ECONNRESET, "reset")
        taken = 0 if not self._go.is_set() else self._take(data)
        self.directly += taken
        if not taken:
            raise BlockingIOError
        return taken

    def _take(self, data):
        taken = min(next(self._takes), len(data))
        self.stream += data[:taken]
        return taken

    async def send(self, frames_):
        assert self.closed_with is None
        assert self.writers == 0
        assert not self.cut_off
        assert self.owed is None or frames_[0] is self.owed
        assert all(frame.opcode != frames.CONTINUATION for frame in frames_[self.owed is not None :])
        data = b"".join(frame.data for frame in frames_)
        self.cut_off, self.owed = self.owed is not None, None
        self.writers += 1
        try:
            while data:
                await trio.lowlevel.checkpoint()
                await self._go.wait()
                if self.broken:
                    raise trio.BrokenResourceError
                if taken := self._take(data):
                    self.cut_off = True
                    data = data[taken:]
            self.cut_off = False
        finally:
            self.writers -= 1

    async def aclose(self, code, reason=""):
        assert self.writers == self.readers == 0
        assert self.owed is None
        assert not self.cut_off
        self.stream += frames.close(code, reason).data
        self.closed_with = (code, reason)
        await trio.lowlevel.checkpoint()
