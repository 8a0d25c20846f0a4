"""What a client of HTTP/2 is told that is not let in; values in, values out."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from realtime.transport.errors import error_body
from realtime.transport.refusal import HTTP2Refusal

BODY = error_body("too_many_connections", "there are already 1 connections; try again later")


class Client:
    """One that is refused, with what it was told: status and body of each answer by stream."""

    def __init__(self) -> None:
        self.refusal = HTTP2Refusal(BODY)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.listen()

    def listen(self) -> None:
        self.events += self.h2.receive_data(self.refusal.data_to_send())

    def ask(self, method: str = "GET", *more: tuple[str, str]) -> int:
        id: int = self.h2.get_next_available_stream_id()
        headers = [(":method", method), (":path", "/"), (":scheme", "https"), (":authority", "localhost"), *more]
        self.h2.send_headers(id, headers, end_stream=method != "CONNECT")
        return id

    def say(self) -> None:
        self.refusal.receive_data(self.h2.data_to_send())
        self.listen()

    def told(self, kind: type[h2.events.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def test_it_waits_for_the_first_request() -> None:
    client = Client()
    client.say()
    assert not client.refusal.over
    client.ask()
    client.say()
    (response,) = client.told(h2.events.ResponseReceived)
    assert dict(response.headers)[":status"] == "503"
    assert b"".join(event.data for event in client.told(h2.events.DataReceived)) == BODY
    assert client.refusal.over


def test_all_that_come_at_once_are_answered_and_counted_as_taken() -> None:
    client = Client()
    ids = [client.ask() for _ in range(3)]
    client.say()
    assert [event.stream_id for event in client.told(h2.events.StreamEnded)] == ids
    (goodbye,) = client.told(h2.events.ConnectionTerminated)
    assert (goodbye.error_code, goodbye.last_stream_id) == (0, ids[-1])


def test_a_websocket_can_be_asked_for_and_is_refused() -> None:
    client = Client()
    client.say()
    assert client.h2.remote_settings.enable_connect_protocol == 1
    client.ask("CONNECT", (":protocol", "websocket"), ("sec-websocket-version", "13"))
    client.say()
    assert dict(client.told(h2.events.ResponseReceived)[0].headers)[":status"] == "503"


@pytest.mark.parametrize(("method", "window"), [("HEAD", 2**16), ("GET", 0)])
def test_what_takes_no_body_has_the_headers_alone(method: str, window: int) -> None:
    client = Client()
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    id = client.ask(method)
    client.say()
    assert client.told(h2.events.DataReceived) == []
    assert [event.stream_id for event in client.told(h2.events.StreamEnded)] == [id]


def test_a_request_taken_back_at_once_needs_no_answer() -> None:
    client = Client()
    client.h2.reset_stream(client.ask())
    client.say()
    assert client.told(h2.events.ResponseReceived) == []
    assert client.refusal.over


def test_a_client_that_says_goodbye_first_is_let_go() -> None:
    client = Client()
    client.h2.close_connection()
    client.say()
    assert client.refusal.over


def test_nonsense_is_answered_with_an_error_alone() -> None:
    client = Client()
    client.refusal.receive_data(b"nonsense" * 10)
    assert client.refusal.over
