from __future__ import annotations

from pathlib import Path

import pytest

from realtime.actors import credentials
from realtime.actors.credentials import NotAuthenticated
from realtime.policy.access import ADMIN, Principal
from realtime.sections import Auth
from realtime.settings import SettingsError

ADMIN_TOKEN = "correct horse battery staple"
ANN = "ann-0123456789abcdef"


@pytest.fixture
def written(tmp_path: Path):
    def write(**files: str) -> Auth:
        paths = {}
        for key, text in files.items():
            paths[key] = tmp_path / key
            paths[key].write_text(text, encoding="utf-8")
        return Auth(**paths)

    return write


def problems_of(auth: Auth) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        credentials.load(auth)
    return caught.value.problems


def test_without_files_nothing_is_known():
    known = credentials.load(Auth())
    assert known == credentials.Credentials()
    with pytest.raises(NotAuthenticated, match="not known"):
        known.recognise("anything", 0)


def test_the_admin_token_is_an_admins(written):
    known = credentials.load(written(admin_token_file=f"{ADMIN_TOKEN}\n"))
    found = known.recognise(ADMIN_TOKEN, 0)
    assert (found.name, found.scopes, found.expires_at) == ("admin", {ADMIN}, None)


def test_tokens_of_the_file_stand_beside_it(written):
    auth = written(
        admin_token_file=ADMIN_TOKEN,
        tokens_file=f'[tokens.ann]\ntoken = "{ANN}"\nscopes = ["editors"]\nexpires = 1970-01-02',
    )
    known = credentials.load(auth)
    assert known.recognise(ANN, 86_399.9).scopes == {"editors"}
    with pytest.raises(NotAuthenticated, match="expired"):
        known.recognise(ANN, 86_400)
    assert known.recognise(ADMIN_TOKEN, 0).name == "admin"


@pytest.mark.parametrize("guess", ["", "x", ANN[:-1], ANN + " ", "a.b.c", "ü" * 20])
def test_a_wrong_token_is_told_so_without_repeating_it(written, guess):
    known = credentials.load(written(tokens_file=f'[tokens.ann]\ntoken = "{ANN}"'))
    with pytest.raises(NotAuthenticated) as refused:
        known.recognise(guess, 0)
    assert str(refused.value) == "the token is not known"


def test_every_problem_of_every_file_is_named_at_start_and_no_token(tmp_path, written):
    auth = written(admin_token_file="", tokens_file='[tokens.ann]\ntoken = "too short"\n[tokens.bob]\nscopes = ["a b"]')
    told = problems_of(auth)
    assert [problem.split(":")[0] for problem in told] == ["auth.admin_token_file", *["auth.tokens_file"] * 2]
    assert "is empty" in told[0]
    assert "tokens.ann.token must be 16" in told[1]
    assert "tokens.bob.scopes must be" in told[2]
    assert not any("too short" in problem for problem in told)


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("tokens_file", "[tokens.ann\n", "is not TOML"),
        ("admin_token_file", "one\ntwo", "must be one line of text"),
    ],
)
def test_a_file_of_the_wrong_kind_is_named(written, key, text, problem):
    (told,) = problems_of(written(**{key: text}))
    assert problem in told
    assert told.startswith(f"auth.{key}: ")


@pytest.mark.parametrize("key", ["admin_token_file", "tokens_file", "jwt_public_key_file"])
def test_a_file_that_is_not_there_is_named(tmp_path, key):
    more = {"jwt_algorithms": ("ES256",)} if key.startswith("jwt") else {}
    (told,) = problems_of(Auth(**{key: tmp_path / "nowhere"}, **more))
    assert told == f"auth.{key}: {tmp_path / 'nowhere'} cannot be read: No such file or directory"


def test_a_file_that_is_not_text_does_not_show(tmp_path):
    path = tmp_path / "tokens"
    path.write_bytes(b"\xff\xfehidden")
    (told,) = problems_of(Auth(tokens_file=path))
    assert told == f"auth.tokens_file: {path} cannot be read: it is not UTF-8"


def test_one_token_for_two_is_refused(written):
    auth = written(admin_token_file=ANN, tokens_file=f'[tokens.ann]\ntoken = "{ANN}"')
    (told,) = problems_of(auth)
    assert told == "auth.tokens_file: holds the token of auth.admin_token_file again"


def test_an_empty_file_of_tokens_is_fine(written):
    assert credentials.load(written(tokens_file="")).tokens == ()


def test_what_was_taken_back_or_changed_holds_no_more(written):
    both = f'[tokens.ann]\ntoken = "{ANN}"\nscopes = ["editors"]\n[tokens.bob]\ntoken = "bob-{ANN}"\n'
    before = credentials.load(written(tokens_file=both))
    ann, bob = before.recognise(ANN, 0), before.recognise(f"bob-{ANN}", 0)
    assert before.still_hold(ann)
    renewed = credentials.load(written(tokens_file=both.replace(f'"bob-{ANN}"', f'"new-{ANN}"')))
    assert renewed.still_hold(ann)
    assert not renewed.still_hold(bob)
    fewer = credentials.load(written(tokens_file=both.replace('["editors"]', "[]")))
    assert not fewer.still_hold(ann)
    assert fewer.still_hold(bob)
    assert fewer.still_hold(Principal("guest", source="hook"))
