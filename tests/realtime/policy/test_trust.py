import ssl

import pytest

from realtime.policy.trust import ADVICE, unverified


def refused(code, message):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize("code", [18, 19, 20])
def test_who_is_not_trusted_can_be(code):
    said = unverified("example.org:8443", refused(code, "nobody vouches for it"))
    assert said == f"the certificate of example.org:8443 cannot be verified: nobody vouches for it; {ADVICE}"


def test_to_trust_what_is_not_valid_would_not_help():
    """10 is an expired certificate, 62 one of another host."""
    for code in (10, 62):
        said = unverified("example.org", refused(code, "It is not valid for 'example.org'."))
        assert said == "the certificate of example.org cannot be verified: It is not valid for 'example.org'"
