"""The answer to a connection that is not let in: 503, in the protocol that its client speaks."""

from __future__ import annotations

from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import trio

from realtime.delivery.wire import WriteStalled

from .errors import body_headers, error_body
from .tcp import Stream, transport_of

# Seconds after which a refused client may try again.
_RETRY_AFTER: Final = 5
# Seconds for a refusal, TLS handshake included.
_REFUSAL_SECONDS: Final = 2.0
# Bytes in which HTTP/2 has to bring its first request: room for headers of the length agreed on, 64 KiB, and for what
# a client says of itself before.
_MAX_ASKED: Final = 2**17


async def refuse(stream: Stream, code: str, message: str) -> None:
    """Answer 503 to whatever *stream* is about to ask, and close it; within a deadline.

    In HTTP/1.1 the request is read only after the answer, and thrown away: closing with some of it unread would reset
    the connection, which can cost the client the answer. In HTTP/2, which only TLS tells beforehand, an answer needs
    its request.
    """
    transport = transport_of(stream)
    body = error_body(code, message)
    try:
        with trio.move_on_after(_REFUSAL_SECONDS):
            if isinstance(stream, trio.SSLStream):
                await stream.do_handshake()
            if isinstance(stream, trio.SSLStream) and stream.selected_alpn_protocol() == "h2":
                await _answer_http2(stream, body)
            else:
                await stream.send_all(_unavailable(body))
            transport.finish()
            while await stream.receive_some():
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError, WriteStalled):
        pass  # it left before it was told
    finally:
        transport.close()


def _unavailable(body: bytes) -> bytes:
    headers = [*body_headers(body), (b"connection", b"close"), (b"retry-after", b"%d" % _RETRY_AFTER)]
    lines = [b"HTTP/1.1 503 Service Unavailable", *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join([*lines, b"", body])


async def _answer_http2(stream: Stream, body: bytes) -> None:
    refusal = HTTP2Refusal(body)
    asked = 0
    await stream.send_all(refusal.data_to_send())
    while not refusal.over and asked < _MAX_ASKED and (data := await stream.receive_some()):
        asked += len(data)
        refusal.receive_data(data)
        await stream.send_all(refusal.data_to_send())


class HTTP2Refusal:
    """What is said to a client of HTTP/2 that is not let in: 503 to its first requests, then goodbye (GOAWAY).

    Requests that come later are none of those that the goodbye counts as taken, so a client may send them elsewhere.

    Attributes:
      over: whether all has been said.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        # As where it is let in, or a WebSocket would not be asked for: its client would go by what it is told here.
        self._connection.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
        )
        self._connection.initiate_connection()
        self.over = False

    def data_to_send(self) -> bytes:
        """What there is to be said now."""
        return self._connection.data_to_send()

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take what the client says."""
        try:
            events = self._connection.receive_data(bytes(data))
        except h2.exceptions.ProtocolError:  # of which h2 tells the client
            self.over = True
            return
        asked = [event for event in events if isinstance(event, h2.events.RequestReceived)]
        for request in asked:
            self._answer(request)
        if asked:
            self._connection.close_connection()
        self.over = bool(asked) or any(isinstance(event, h2.events.ConnectionTerminated) for event in events)

    def _answer(self, request: h2.events.RequestReceived) -> None:
        assert request.stream_id is not None
        assert request.headers is not None
        headers = [(b":status", b"503"), (b"retry-after", b"%d" % _RETRY_AFTER)]
        try:
            room = self._connection.local_flow_control_window(request.stream_id) >= len(self._body)
            if room and (b":method", b"HEAD") not in request.headers:
                self._connection.send_headers(request.stream_id, [*headers, *body_headers(self._body)])
                self._connection.send_data(request.stream_id, self._body, end_stream=True)
            else:  # which is not waited for
                self._connection.send_headers(request.stream_id, headers, end_stream=True)
        except h2.exceptions.ProtocolError:  # taken back at once
            pass
