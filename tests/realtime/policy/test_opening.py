"""What counts as a plain opening handshake, and that it is read as h11 reads it."""

from __future__ import annotations

from urllib.parse import parse_qsl

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.handshake import read_handshake, wants_websocket
from realtime.policy.opening import MAX_BYTES, read_opening

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LINES = [
    "GET /ws/mine HTTP/1.1",
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
]


def request(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin1")


def test_the_example_of_the_standard() -> None:
    opening = read_opening(request(*LINES))
    assert opening is not None
    assert opening.path == "/ws/mine"
    assert opening.headers["host"] == "localhost"
    assert opening.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
    assert opening.subprotocols == []
    assert opening.parameters == {}


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("epoch=e.1&offset=3", {"epoch": "e.1", "offset": "3"}),
        ("a=&b=c=d", {"a": "", "b": "c=d"}),
        ("a=1&a=2", None),
        ("a", None),
        ("a=1&", None),
    ],
)
def test_a_query_has_parameters_or_is_for_the_general_parsers(query: str, parameters: dict[str, str] | None) -> None:
    opening = read_opening(request(f"GET /ws/mine?{query} HTTP/1.1", *LINES[1:]))
    assert opening is not None
    assert (opening.path, opening.query, opening.parameters) == ("/ws/mine", query, parameters)


@pytest.mark.parametrize("missing", range(1, len(LINES)))
def test_without_any_of_its_lines_it_is_none(missing: int) -> None:
    assert read_opening(request(*LINES[:missing], *LINES[missing + 1 :])) is None


@pytest.mark.parametrize("twice", range(1, len(LINES)))
def test_with_any_of_its_lines_twice_it_is_none(twice: int) -> None:
    assert read_opening(request(*LINES, LINES[twice])) is None


@pytest.mark.parametrize(
    "line",
    [
        *("Content-Length: 0", "Transfer-Encoding: chunked", "Expect: 100-continue", "HTTP2-Settings: AAMAAABk"),
        *(
            "Sec-WebSocket-Protocol: a,b",
            "Sec-WebSocket-Protocol: a b",
            "Sec-WebSocket-Protocol: a, ",
            "X: a\tb",
            "X: ",
            "X:a",
            "X : a",
            " X: a",
            "X: \xe4",
            ": a",
        ),
    ],
)
def test_what_changes_how_it_is_read_or_answered_is_not_plain(line: str) -> None:
    assert read_opening(request(*LINES, line)) is None


@pytest.mark.parametrize(
    "first",
    [
        *("GET /ws/mine HTTP/1.0", "POST /ws/mine HTTP/1.1", "GET /ws/m%69ne HTTP/1.1", "GET /ws/mine?%61 HTTP/1.1"),
        *("GET http://a/ws/mine HTTP/1.1", "GET  /ws/mine HTTP/1.1", "GET /ws/mine HTTP/1.1 ", "get /ws/mine HTTP/1.1"),
        *(
            "GET /ws/mine?a?b HTTP/1.1",
            "GET /ws/mine?a+b HTTP/1.1",
            "GET * HTTP/1.1",
            "GET ws HTTP/1.1",
            "GET /ws/\xe4 HTTP/1.1",
        ),
    ],
)
def test_another_first_line_is_not_plain(first: str) -> None:
    assert read_opening(request(first, *LINES[1:])) is None


def test_a_part_of_it_and_more_than_it_are_not_plain() -> None:
    whole = request(*LINES)
    assert [size for size in range(len(whole)) if read_opening(whole[:size])] == []
    assert read_opening(whole + b"\x81\x80abcd") is None
    assert read_opening(whole + whole) is None


def test_it_is_bounded() -> None:
    room = MAX_BYTES - len(request(*LINES, "X: "))
    assert read_opening(request(*LINES, f"X: {'x' * room}")) is not None
    assert read_opening(request(*LINES, f"X: {'x' * (room + 1)}")) is None


names = st.text("abcXYZ019-_!~", min_size=1, max_size=8)
values = st.text('aB1 ,;="/\t:\xe4', max_size=12)


@given(
    order=st.permutations(LINES[1:]),
    more=st.lists(st.tuples(names, values), max_size=4),
    path=st.text("/abz09._~-%?#&=\\", max_size=10),
    offered=st.none() | st.lists(st.text("ab,. ", max_size=4), min_size=1, max_size=3),
    end=st.sampled_from(["", "\r\n", "x"]),
)
def test_what_is_plain_h11_reads_alike(
    order: list[str], more: list[tuple[str, str]], path: str, offered: list[str] | None, end: str
) -> None:
    if offered is not None:
        more = [*more, ("Sec-WebSocket-Protocol", ", ".join(offered))]
    lines = [f"GET /{path} HTTP/1.1", *order, *(f"{name}: {value}" for name, value in more)]
    data = request(*lines) + end.encode()
    opening = read_opening(data)
    if opening is None:
        return
    general = h11.Connection(h11.SERVER)
    general.receive_data(data)
    event = general.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.http_version) == (b"GET", b"1.1")
    path, _, query = event.target.decode().partition("?")
    assert (path, query) == (opening.path, opening.query)
    if opening.parameters is not None:
        assert opening.parameters == dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    assert [(name.decode(), value.decode()) for name, value in event.headers] == list(opening.headers.items())
    assert wants_websocket(event.method, event.headers)
    general_handshake = read_handshake(event.headers)
    assert general_handshake.fault is None
    assert list(general_handshake.subprotocols) == opening.subprotocols
    assert isinstance(general.next_event(), h11.EndOfMessage)
    assert general.next_event() is h11.PAUSED
    assert general.trailing_data == (b"", False)
