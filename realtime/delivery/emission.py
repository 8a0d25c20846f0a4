"""A message that belongs to no topic, on its way to the connections for which it is meant.

It is encoded once for all of them, and written at once to each socket that has nothing waiting; for who lags it waits
in the outbox, as a message of the session's own topic under `drop_oldest`. So a loss is no secret: it is told as a gap
of ``session/<id>``, whose numbers it does not touch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from realtime.delivery import frames
from realtime.delivery.batch import Batch
from realtime.delivery.connection import Connection
from realtime.delivery.message import Message
from realtime.delivery.wire import DIRECT_BYTES
from realtime.messages import CloseCode


def topic_of(session: str) -> str:
    """The topic of a session, to which each of its connections subscribes from the start."""
    return f"session/{session}"


class Emission:
    """One message for *receivers*, connections of sessions; carried out by `hand_over`, in one go or in several.

    Args:
      offset_of: the present offset of a topic, for the gap that may have to tell of it.
    """

    def __init__(self, payload: bytes, receivers: Sequence[Connection], offset_of: Callable[[str], int]) -> None:
        frame = frames.text(payload)
        self._batch = Batch((Message(frame, "", 0),))
        self._due: Iterator[Connection] = iter(receivers)
        self._offset_of = offset_of
        self._sessions: set[str | None] = set()
        #: Connections that have it: in their socket, or waiting in their outbox.
        self.connections = 0

    @property
    def sessions(self) -> int:
        """How many sessions have it, on one connection at least."""
        return len(self._sessions)

    def hand_over(self, count: int) -> int:
        """Serve the next receivers, *count* at most, and tell how many there were; fewer are the last of them.

        Raises:
          Exception: an outbox failed; its connection is being closed with 1011. The next call serves the others.
        """
        served = 0
        while served < count and (connection := next(self._due, None)) is not None:
            served += 1
            if self._hand(connection):
                self.connections += 1
                self._sessions.add(connection.session)
        return served

    def _hand(self, connection: Connection) -> bool:
        """Write it or queue it; False if it is lost, or the connection is closing."""
        try:
            return self._write(connection) or self._offer(connection)
        except Exception:
            connection.close(CloseCode.HANDLER_FAILED, "internal error")
            raise

    def _write(self, connection: Connection) -> bool:
        """Write it to the socket, if this is its place in the order and the socket takes some of it."""
        if self._batch.largest > DIRECT_BYTES:
            return False
        write, deflated = connection.direct, False
        if write is None:
            write, deflated = connection.direct_deflated, True
        if write is None:
            return False
        data = self._batch.deflated if deflated else self._batch.data
        try:
            taken = write(data)
        except OSError:  # it takes nothing now, or never again: the send actor will find out
            return False
        if connection.counts is not None:
            connection.counts.written_bytes += taken
        rest, _ = self._batch.left(taken, deflated=deflated)
        if rest is not None:
            connection.owe(rest)
        return taken > 0

    def _offer(self, connection: Connection) -> bool:
        topic = topic_of(str(connection.session))
        verdict = connection.outbox.offer(Message(self._batch.messages[0].frame, topic, self._offset_of(topic)))
        return verdict is not None and verdict.queue
