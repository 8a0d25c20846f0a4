"""What is no request is told why, in a sentence."""

import pytest

from realtime.policy.bad_requests import sentence


@pytest.mark.parametrize(
    ("said", "unread", "told"),
    [
        ("Missing mandatory Host: header", b"", "no Host header"),
        ("Found multiple Host: headers", b"", "more than one Host header"),
        ("illegal request line", b"", "no request line"),
        ("illegal request line", b"\x16\x03\x01\x02\x00", "TLS"),
        ("illegal header line: bytearray(b'A b')", b"", "no header"),
        ("bad Content-Length", b"", "bad Content-Length"),
        ("illegal chunk header: bytearray(b'zz')", b"", "illegal chunk header"),
    ],
)
def test_the_sentence_names_what_was_wrong_and_repeats_no_bytes(said, unread, told):
    found = sentence(said, unread)
    assert told in found
    assert "bytearray" not in found
