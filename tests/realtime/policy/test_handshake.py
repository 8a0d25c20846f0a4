"""What a client's opening handshake has to say."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.handshake import read_handshake, wants_websocket

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")


def test_one_in_order():
    handshake = read_handshake([(b"host", b"localhost"), KEY, VERSION])
    assert handshake.fault is None
    assert (handshake.key, handshake.versions) == (KEY[1], (b"13",))
    assert (handshake.subprotocols, handshake.offers) == ((), ())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([VERSION], 400),
        ([KEY], 400),
        ([KEY, KEY, VERSION], 400),
        ([(KEY[0], b""), VERSION], 400),
        ([(KEY[0], KEY[1] + b"\n"), VERSION], 400),
        ([KEY, (VERSION[0], b"8")], 426),
        ([KEY, VERSION, VERSION], 426),
        ([KEY, (VERSION[0], b"13, 8")], 426),
        ([(VERSION[0], b"8")], 400),
    ],
)
def test_one_that_is_not(headers, status):
    fault = read_handshake(headers).fault
    assert fault is not None
    assert fault.status == status
    assert fault.message


@given(st.binary(max_size=40))
def test_a_key_is_sixteen_bytes_in_base64(nonce):
    encoded = base64.b64encode(nonce)
    assert (read_handshake([(KEY[0], encoded), VERSION]).fault is None) == (len(nonce) == 16)


def test_lists_may_come_in_several_lines_and_names_in_any_case():
    headers = [(b"Sec-WebSocket-Protocol", b"a, b,"), (b"SEC-WEBSOCKET-PROTOCOL", b" ,c")]
    assert read_handshake(headers).subprotocols == ("a", "b", "c")
    offers = [(b"Sec-WebSocket-Extensions", b"x; y=1"), (b"sec-websocket-extensions", b"z")]
    assert read_handshake(offers).offers == ("x; y=1", "z")


@pytest.mark.parametrize("name", [b"sec-websocket-protocol", b"sec-websocket-extensions"])
def test_what_has_to_be_ascii_is(name):
    with pytest.raises(UnicodeDecodeError):
        read_handshake([(name, b"\xff")])


UPGRADE, CONNECTION = (b"upgrade", b"websocket"), (b"connection", b"Upgrade")


@pytest.mark.parametrize(
    ("method", "headers", "wanted"),
    [
        (b"GET", [UPGRADE, CONNECTION], True),
        (b"GET", [(b"Upgrade", b"other, WebSocket"), (b"Connection", b"keep-alive,UPGRADE")], True),
        (b"GET", [UPGRADE, CONNECTION, (b"connection", b"keep-alive"), (b"upgrade", b"other")], True),
        (b"POST", [UPGRADE, CONNECTION], False),
        (b"get", [UPGRADE, CONNECTION], False),
        (b"GET", [UPGRADE], False),
        (b"GET", [CONNECTION], False),
        (b"GET", [(b"upgrade", b"websockets"), CONNECTION], False),
        (b"GET", [UPGRADE, (b"connection", b"upgrades")], False),
    ],
)
def test_what_asks_for_a_websocket(method, headers, wanted):
    assert wants_websocket(method, headers) is wanted
