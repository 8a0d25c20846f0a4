import hashlib
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy import bearer
from realtime.policy.access import Principal

SECRET = "0123456789abcdef-one"
OTHER = "0123456789abcdef-two"

visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=80)


def tokens_of(text: str) -> tuple[bearer.Token, ...]:
    problems: list[str] = []
    found = bearer.read_tokens(msgspec.toml.decode(text), problems.append)
    assert problems == []
    return found


def problems_of(text: str) -> list[str]:
    problems: list[str] = []
    bearer.read_tokens(msgspec.toml.decode(text), problems.append)
    return problems


# --- where it stands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("BEARER a b", "a b"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_header_holds_a_token_behind_its_scheme(header, token):
    assert bearer.of_header(header) == token


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_token_fits_into_a_subprotocol(token):
    offered = ["realtime", "realtime.bearer." + quote(token, safe="")]
    assert bearer.of_subprotocols(offered) == token
    assert bearer.agreed(offered) == "realtime"


@given(st.lists(st.text(max_size=20)))
def test_the_token_is_never_what_is_agreed_on(offered):
    offered = [*offered, "realtime.bearer.abc"]
    assert bearer.agreed(offered) in (None, "realtime")


def test_an_empty_token_is_none():
    assert bearer.of_subprotocols(["realtime.bearer.", "realtime"]) is None
    assert bearer.of_subprotocols([]) is None
    assert bearer.agreed(["chat"]) is None


# --- whose it is ---------------------------------------------------------------------------------------------------


@given(st.lists(visible, min_size=1, max_size=5, unique=True), visible, st.data())
def test_a_token_finds_its_own_principal_and_nothing_else_does(secrets, other, data):
    tokens = [bearer.Token(bearer.digest(s), Principal(f"p{n}")) for n, s in enumerate(secrets)]
    which = data.draw(st.integers(0, len(secrets) - 1))
    found = bearer.find(tokens, secrets[which])
    assert found is not None
    assert found.name == f"p{which}"
    if other not in secrets:
        assert bearer.find(tokens, other) is None


@pytest.mark.parametrize("guess", ["", "\udc80", "x" * 9000, SECRET[:-1], SECRET + "x", SECRET.upper(), "ä"])
def test_no_guess_is_an_error(guess):
    assert bearer.find([bearer.Token(bearer.digest(SECRET), Principal("ann"))], guess) is None


# --- the file ------------------------------------------------------------------------------------------------------


def test_a_file_names_tokens_with_scopes_and_expiry():
    (token,) = tokens_of(f'[tokens.ann]\ntoken = "{SECRET}"\nscopes = ["editors"]\nexpires = 2030-01-01T00:00:00Z')
    expires = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert token.principal == Principal("ann", {"editors"}, expires, "tokens_file", bearer.digest(SECRET))


def test_the_file_need_not_hold_the_secret():
    (token,) = tokens_of(f'[tokens.ann]\nsha256 = "{hashlib.sha256(SECRET.encode()).hexdigest()}"')
    found = bearer.find([token], SECRET)
    assert found is not None
    assert (found.name, found.scopes, found.expires_at) == ("ann", frozenset(), None)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)), st.integers(-12, 12))
def test_an_expiry_is_the_moment_that_is_written(moment, hours):
    aware = moment.replace(microsecond=0) - timedelta(hours=hours)
    text = moment.replace(microsecond=0).isoformat() + f"{hours:+03d}:00"
    for written in (text, f'"{text}"'):
        (token,) = tokens_of(f'[tokens.a]\ntoken = "{SECRET}"\nexpires = {written}')
        assert token.principal.expires_at == aware.replace(tzinfo=UTC).timestamp()


def test_a_date_is_its_beginning_in_utc():
    (token,) = tokens_of(f'[tokens.a]\ntoken = "{SECRET}"\nexpires = {date(2030, 1, 1)}')
    assert token.principal.expires_at == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def test_an_empty_file_has_no_tokens():
    assert tokens_of("") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[token.a]", "'token' is not known; tokens stand in tables [tokens.<name>]"),
        ("tokens = 5", "tokens must be tables [tokens.<name>]"),
        ("[tokens]\na = 5", "tokens.a must be a table"),
        ('[tokens."a b"]', "tokens.'a b' must be named by 1 to 64 letters"),
        ("[tokens.a]", "tokens.a.token or sha256 must be given, and not both"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nsha256 = "{"0" * 64}"', "tokens.a.token or sha256 must be given, and not"),
        ('[tokens.a]\ntoken = "short"', "tokens.a.token must be 16 to 8192 visible ASCII characters without spaces"),
        ('[tokens.a]\ntoken = "with a space in between"', "tokens.a.token must be 16 to 8192 visible ASCII"),
        ("[tokens.a]\ntoken = 5", "tokens.a.token: expected `str | null`, got `int`"),
        ('[tokens.a]\nsha256 = "abc"', "tokens.a.sha256 must be 64 hexadecimal digits, got 3 characters"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nscopes = ["anyone"]', "tokens.a.scopes must be names of"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nscopes = ["a b"]', "tokens.a.scopes must be names of"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nexpires = 2030-01-01T00:00:00', "tokens.a.expires must be a time with its"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nexpires = "soon"', "tokens.a.expires must be a time with its zone"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nexpires = 12:00:00', "tokens.a.expires must be a time with its zone"),
        (f'[tokens.a]\ntoken = "{SECRET}"\nscope = []', "tokens.a.scope is not known; the nearest is scopes"),
        (
            f'[tokens.a]\ntoken = "{SECRET}"\n[tokens.b]\ntoken = "{SECRET}"',
            "tokens.b has the same token as tokens.a",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place_without_the_token(text, problem):
    (told,) = problems_of(text)
    assert told.startswith(problem)
    assert SECRET not in told


def test_every_mistake_is_told():
    text = f'[tokens.a]\nscopes = ["x y"]\ntoken = "short"\n[tokens.b]\n[tokens.c]\ntoken = "{OTHER}"'
    assert [told.split(" ")[0] for told in problems_of(text)] == ["tokens.a.token", "tokens.a.scopes", "tokens.b.token"]


def test_a_token_does_not_show():
    (token,) = tokens_of(f'[tokens.ann]\ntoken = "{SECRET}"')
    assert SECRET not in repr(token)
    assert token.sha256.hex() not in repr(token)
    assert repr(token.sha256) not in repr(token)
