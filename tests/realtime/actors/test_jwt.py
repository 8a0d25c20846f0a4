"""JSON Web Tokens, made by PyJWT as an issuer would."""

from __future__ import annotations

import base64
import hmac
import json
import sys
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from realtime.actors import credentials
from realtime.actors.credentials import NotAuthenticated
from realtime.actors.jwt import JsonWebTokens
from realtime.sections import Auth
from realtime.settings import SettingsError

SECRET = "0123456789abcdef0123456789abcdef"
KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())


def public(key) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


def private(key) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def tokens(**options) -> JsonWebTokens:
    wanted = {"issuer": None, "audience": None, "scopes_claim": "scope"} | options
    return JsonWebTokens({"HS256": SECRET, "ES256": public(KEY)}, **wanted)


def made(key=SECRET, algorithm="HS256", **claims) -> str:
    wanted = {"sub": "ann", "exp": time.time() + 60} | claims
    return jwt.encode({k: v for k, v in wanted.items() if v is not None}, key, algorithm)


def refusal(token: str, **options) -> str:
    with pytest.raises(NotAuthenticated) as refused:
        tokens(**options).recognise(token)
    assert token not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    return str(refused.value)


@pytest.mark.parametrize(("key", "algorithm"), [(SECRET, "HS256"), (KEY, "ES256")])
def test_a_token_says_who_with_what_scopes_until_when(key, algorithm):
    until = int(time.time()) + 60
    found = tokens().recognise(made(key, algorithm, exp=until, scope="editors ops"))
    assert (found.name, found.scopes, found.expires_at, found.source) == ("ann", {"editors", "ops"}, until, "jwt")


@pytest.mark.parametrize(
    ("claim", "value", "scopes"),
    [("scope", ["a", "b"], {"a", "b"}), ("scope", "", set()), ("scope", None, set()), ("permissions", ["x"], {"x"})],
)
def test_scopes_stand_in_the_claim_that_is_named(claim, value, scopes):
    found = tokens(scopes_claim=claim).recognise(made(**{claim: value}))
    assert found.scopes == scopes


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": 1}, "the token has expired"),
        ({"exp": None}, "the token has no claim 'exp'"),
        ({"sub": None}, "the token has no claim 'sub'"),
        ({"sub": ""}, "the token's sub must be"),
        ({"sub": "a\nb"}, "the token's sub must be"),
        ({"sub": "a" * 257}, "the token's sub must be"),
        ({"nbf": time.time() + 3600}, "the token is not valid yet"),
        ({"scope": 5}, "the token's scope must be"),
        ({"scope": [5]}, "the token's scope must be"),
    ],
)
def test_a_token_that_does_not_count_is_told_why(claims, why):
    assert refusal(made(**claims)).startswith(why)


def test_issuer_and_audience_are_heeded_where_they_are_named():
    right = {"iss": "https://login.example", "aud": "realtime"}
    asked = {"issuer": "https://login.example", "audience": "realtime"}
    assert tokens(**asked).recognise(made(**right)).name == "ann"
    assert tokens().recognise(made(**right)).name == "ann"
    for wrong in ({"iss": "https://elsewhere.example"}, {"aud": "another"}):
        assert "somebody else" in refusal(made(**(right | wrong)), **asked)
    for missing in ("iss", "aud"):
        assert f"no claim '{missing}'" in refusal(made(**(right | {missing: None})), **asked)


def test_another_key_counts_nothing():
    assert "not signed by" in refusal(made("another-secret-of-the-same-length"))
    assert "not signed by" in refusal(made(STRANGER, "ES256"))


def unsigned(algorithm: str) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({'sub': 'ann', 'exp': time.time() + 60})}."


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "ES256", "", "RS256", 5, None, ["HS256"]])
def test_an_unsigned_token_counts_nothing_whatever_it_says(algorithm):
    refusal(unsigned(algorithm))


def test_an_algorithm_that_is_not_listed_is_refused_even_with_the_right_key():
    assert "not signed by" in refusal(made(SECRET * 2, "HS512"))


def test_the_public_key_is_no_secret_to_sign_with():
    """The confusion of RFC 8725 section 2.1: HMAC under a key that everybody has."""
    header, payload, _ = made(SECRET).split(".")
    forged = hmac.new(public(KEY).strip().encode(), f"{header}.{payload}".encode(), "sha256").digest()
    signature = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
    assert "not signed by" in refusal(f"{header}.{payload}.{signature}")


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,60}\.[A-Za-z0-9_-]{0,60}\.[A-Za-z0-9_-]{0,60}"))
def test_no_text_is_an_error(text):
    with pytest.raises(NotAuthenticated):
        TOKENS.recognise(text)


TOKENS = tokens()
SIGNED = made(exp=4_000_000_000)


@pytest.mark.parametrize("head", ["[" * 3000, '{"alg":' * 1500, '{"alg":"HS256","kid":5}', "\ud83d", "5", "null"])
def test_no_header_is_an_error(head):
    encoded = base64.urlsafe_b64encode(head.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()
    with pytest.raises(NotAuthenticated):
        TOKENS.recognise(f"{encoded}.e30.e30")


@given(st.data())
def test_a_changed_token_counts_nothing(data):
    token = SIGNED
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_."))
    changed = token[:place] + other + token[place + 1 :]
    # The last character of a part has bits that mean nothing.
    if place + 1 < len(token) and token[place + 1] != "." and other != token[place]:
        with pytest.raises(NotAuthenticated):
            TOKENS.recognise(changed)


# --- the settings --------------------------------------------------------------------------------------------------


def settings(tmp_path: Path, text: str, *algorithms: str, key: str = "jwt_public_key_file") -> Auth:
    (tmp_path / "key").write_text(text, encoding="utf-8")
    return Auth(**{key: tmp_path / "key"}, jwt_algorithms=algorithms)


def problem(auth: Auth) -> str:
    with pytest.raises(SettingsError) as caught:
        credentials.load(auth)
    (told,) = caught.value.problems
    return told


def test_a_signed_token_counts_beside_those_of_the_file(tmp_path):
    known = credentials.load(settings(tmp_path, public(KEY), "ES256"))
    found = known.recognise(made(KEY, "ES256"), time.time())
    assert found.name == "ann"
    assert known.still_hold(found)
    assert not credentials.load(settings(tmp_path, public(STRANGER), "ES256")).still_hold(found)
    assert not credentials.Credentials().still_hold(found)


def test_a_secret_that_is_too_short_is_refused(tmp_path):
    auth = settings(tmp_path, "hunter2", "HS256", key="jwt_secret_file")
    assert problem(auth) == "auth.jwt_algorithms: HS256 needs a secret of at least 32 bytes, got 7"


@pytest.mark.parametrize(("text", "algorithm"), [("nonsense", "ES256"), (public(KEY), "RS256"), ("nonsense", "EdDSA")])
def test_a_key_that_does_not_fit_is_refused_and_not_shown(tmp_path, text, algorithm):
    told = problem(settings(tmp_path, text, algorithm))
    assert told.startswith(f"auth.jwt_algorithms: {algorithm} cannot use this key")
    assert text not in told


@pytest.mark.parametrize(
    ("key", "algorithm"), [(KEY, "ES256"), (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256")]
)
def test_a_private_key_has_no_business_here(tmp_path, key, algorithm):
    assert "this is the private key" in problem(settings(tmp_path, private(key), algorithm))


def test_a_public_key_is_no_secret(tmp_path):
    auth = settings(tmp_path, public(KEY), "HS256", key="jwt_secret_file")
    assert "HS256 cannot use this key" in problem(auth)


def test_without_the_library_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jwt", None)
    monkeypatch.delitem(sys.modules, "realtime.actors.jwt")
    assert "pip install 'realtime-supervised[auth]'" in problem(settings(tmp_path, public(KEY), "ES256"))
