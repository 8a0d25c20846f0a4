import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy import signatures
from realtime.policy.signatures import BadSecrets, Scheme, read_secrets, verify

SECRET = b"a secret of 24 bytes....."
PLAIN = Scheme()
TIMED = Scheme(timestamp_header="X-Timestamp")
NOW = 1_767_225_600.0


def test_it_is_what_others_compute():
    """As in GitHub's own documentation of validating webhook deliveries."""
    headers = PLAIN.sign(b"It's a Secret to Everybody", b"Hello, World!", NOW)
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert headers == {"X-Hub-Signature-256": expected}


def test_with_a_time_the_time_is_signed_too():
    headers = TIMED.sign(SECRET, b"{}", NOW)
    digest = hmac.new(SECRET, b"1767225600.{}", hashlib.sha256).hexdigest()
    assert headers == {"X-Hub-Signature-256": f"sha256={digest}", "X-Timestamp": "1767225600"}


@given(st.binary(), st.sampled_from([PLAIN, TIMED]), st.floats(-300, 300))
def test_what_is_signed_is_accepted_in_any_spelling(body, scheme, late):
    headers = scheme.sign(SECRET, body, NOW)
    assert verify(scheme, [b"another secret...", SECRET], headers, body, int(NOW) + late) is None
    for spelling in (str.upper, lambda value: value.removeprefix("sha256="), lambda value: f" {value} "):
        other = headers | {scheme.header: spelling(headers[scheme.header])}
        assert verify(scheme, [SECRET], other, body, NOW) is None


@given(st.binary(), st.binary(), st.text())
def test_anything_else_is_refused(body, other, signature):
    headers = PLAIN.sign(SECRET, body, NOW)
    if other != body:
        assert verify(PLAIN, [SECRET], headers, other, NOW).reason == "wrong"
    assert verify(PLAIN, [b"another secret..."], headers, body, NOW).reason == "wrong"
    refused = verify(PLAIN, [SECRET], {PLAIN.header: signature}, body, NOW)
    assert refused.reason == ("wrong" if signature else "missing")
    assert "sha256=" + "0" * 64 not in refused.message


@pytest.mark.parametrize("gone", ["X-Hub-Signature-256", "X-Timestamp"])
def test_a_missing_header_is_named(gone):
    headers = TIMED.sign(SECRET, b"{}", NOW)
    del headers[gone]
    refused = verify(TIMED, [SECRET], headers, b"{}", NOW)
    assert (refused.reason, gone in refused.message) == ("missing", True)


@pytest.mark.parametrize("late", [-301, 301, 10**9])
def test_an_old_message_or_one_from_the_future_is_refused(late):
    headers = TIMED.sign(SECRET, b"{}", NOW)
    assert verify(TIMED, [SECRET], headers, b"{}", NOW + late).reason == "stale"


def test_a_time_that_was_changed_is_a_wrong_signature():
    headers = TIMED.sign(SECRET, b"{}", NOW - 1000) | {"X-Timestamp": str(int(NOW))}
    assert verify(TIMED, [SECRET], headers, b"{}", NOW).reason == "wrong"


@pytest.mark.parametrize("time", ["-5", "1e9", "1" * 13, "٣", "now"])
def test_a_signed_time_that_is_none_is_stale(time):
    digest = hmac.new(SECRET, time.encode() + b".{}", hashlib.sha256).hexdigest()
    assert verify(TIMED, [SECRET], {TIMED.header: digest, "X-Timestamp": time}, b"{}", NOW).reason == "stale"


def test_every_signature_is_compared_in_constant_time_with_every_secret(monkeypatch):
    compared = []

    def compare(given, wanted):
        compared.append((len(given), len(wanted)))
        return given == wanted

    monkeypatch.setattr(signatures.hmac, "compare_digest", compare)
    headers = PLAIN.sign(SECRET, b"x", NOW)
    assert verify(PLAIN, [SECRET, b"another secret..."], headers, b"x", NOW) is None
    assert compared == [(64, 64), (64, 64)]


def test_secrets_stand_one_to_a_line():
    assert read_secrets(b"  0123456789abcdef \r\n\n 0123456789ABCDEF") == (b"0123456789abcdef", b"0123456789ABCDEF")


@pytest.mark.parametrize(
    ("raw", "problem"), [(b"", "no secret"), (b"\n \n", "no secret"), (b"0123456789abcde", "less than 16")]
)
def test_a_file_without_secrets_or_with_a_short_one_is_refused(raw, problem):
    with pytest.raises(BadSecrets, match=problem):
        read_secrets(raw)
