from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import structlog
import trio

from realtime.actors.access import HOOK_SECONDS, Access, SignInUnavailable
from realtime.actors.credentials import NotAuthenticated
from realtime.policy.access import ANONYMOUS, Principal
from realtime.sections import Auth, TopicRule
from realtime.settings import Settings, SettingsError

ANN = "ann-0123456789abcdef"
BOB = "bob-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {ANN}"}
TOKENS = f'[tokens.ann]\ntoken = "{ANN}"\nscopes = ["editors"]\n[tokens.bob]\ntoken = "{BOB}"\nexpires = 1970-01-02\n'


def made(tmp_path: Path, *, topics=None, text: str = TOKENS, **auth) -> Access:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    settings = Settings(auth=Auth(tokens_file=path, **auth), topics=topics or {})
    return Access.from_settings(settings)


def at(access: Access, seconds: float) -> Access:
    """Let *access* believe that it is *seconds* since 1970 now, and go on with Trio's clock."""
    begin = trio.current_time()
    access._now = lambda: seconds + trio.current_time() - begin
    return access


def written(path: Path, text: str) -> None:
    """Replace a file in one step, with another time of change whatever the clock's grain."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (path.stat().st_mtime + 5,) * 2)
    new.replace(path)


# --- who -----------------------------------------------------------------------------------------------------------


async def test_with_nothing_set_everybody_is_anonymous_whatever_they_send():
    access = Access.from_settings(Settings())
    assert not access.recognises
    assert await access.identify(BEARER, [f"realtime.bearer.{ANN}"]) is ANONYMOUS
    assert access.may(ANONYMOUS, "create_event")
    assert not access.may(ANONYMOUS, "operate")


async def test_a_token_counts_in_the_header_and_as_a_subprotocol(tmp_path):
    access = at(made(tmp_path), 0)
    assert (await access.identify({"authorization": f"bearer {ANN}"})).name == "ann"
    assert (await access.identify({}, ["realtime", f"realtime.bearer.{BOB}"])).name == "bob"
    assert await access.identify({"Authorization": "Basic YTpi"}, ["chat"]) is ANONYMOUS
    assert await access.identify({}) is ANONYMOUS


async def test_a_token_that_does_not_count_is_no_way_to_be_anonymous(tmp_path):
    access = at(made(tmp_path), 2 * 86_400)
    with pytest.raises(NotAuthenticated, match="not known"):
        await access.identify({"Authorization": "Bearer wrong"})
    with pytest.raises(NotAuthenticated, match="expired"):
        await access.identify({"Authorization": f"Bearer {BOB}"})
    assert access.statistics().refused == 2


@pytest.mark.parametrize(
    ("headers", "offered"),
    [
        ({}, []),
        ({"authorization": f"bearer {ANN}"}, []),
        ({}, ["realtime", f"realtime.bearer.{BOB}"]),
        ({"authorization": "Basic YTpi"}, ["chat"]),
    ],
)
async def test_without_a_hook_who_is_not_refused_is_recognised_at_once(tmp_path, headers, offered):
    access = at(made(tmp_path), 0)
    assert access.identify_at_once(headers, offered) == await access.identify(headers, offered)


async def test_who_is_refused_or_for_the_hook_to_judge_is_not_recognised_at_once(tmp_path):
    async def hook(headers):
        raise AssertionError("nobody waits for it")

    access = at(made(tmp_path), 2 * 86_400)
    assert access.identify_at_once({"authorization": "Bearer wrong"}) is None
    assert access.identify_at_once({"authorization": f"Bearer {BOB}"}) is None  # expired
    assert access.statistics().refused == 0  # that is for `identify` to count
    assert Access(Settings(), hook=hook).identify_at_once({}) is None


# --- a hook --------------------------------------------------------------------------------------------------------


async def of_cookie(headers):
    user = headers.get("cookie", "").removeprefix("user=")
    return Principal(user, {"editors"}) if user else None


async def test_a_hook_recognises_whom_no_token_does(tmp_path):
    access = made(tmp_path, use=f"{__name__}:of_cookie")
    found = await access.identify({"Cookie": "user=cleo"})
    assert (found.name, found.source) == ("cleo", "hook")
    assert (await access.identify({"Cookie": "user=cleo", **BEARER})).name == "ann"
    assert await access.identify({}) is ANONYMOUS
    with pytest.raises(NotAuthenticated):
        await access.identify({"Authorization": "Bearer wrong"})


async def test_a_hook_sees_a_token_that_came_as_a_subprotocol():
    seen = []

    async def hook(headers):
        seen.append(dict(headers))
        return Principal("cleo")

    access = Access(Settings(), hook=hook)
    assert (await access.identify({"X-Other": "1"}, ["realtime.bearer.abc"])).name == "cleo"
    assert seen == [{"x-other": "1", "authorization": "Bearer abc"}]


async def test_a_hook_that_does_not_answer_is_given_up(autojump_clock):
    async def hook(headers):
        await trio.sleep_forever()

    access = Access(Settings(), hook=hook)
    with pytest.raises(SignInUnavailable):
        await access.identify({})
    assert trio.current_time() == HOOK_SECONDS


async def test_a_hook_that_returns_something_else_has_failed():
    async def hook(headers):
        return "ann"

    with pytest.raises(TypeError, match="must return a Principal or None, not str"):
        await Access(Settings(), hook=hook).identify({})


async def test_a_hook_s_principal_that_has_expired_is_nobody():
    async def hook(headers):
        return Principal("ann", expires_at=5)

    assert await Access(Settings(), hook=hook).identify({}) is ANONYMOUS


def plain(headers):
    return None


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        ("no_such_module:hook", "cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:nothing", "cannot be imported: AttributeError"),
        (f"{__name__}:plain", "must be an async function"),
    ],
)
def test_a_hook_that_cannot_be_used_is_named_with_all_else_that_is_wrong(tmp_path, use, problem):
    auth = Auth(use=use, admin_token_file=tmp_path / "nowhere")
    with pytest.raises(SettingsError) as caught:
        Access.from_settings(Settings(auth=auth))
    first, second = caught.value.problems
    assert first.startswith("auth.admin_token_file: ")
    assert second.startswith(f"auth.use: {use} {problem}")


# --- what ----------------------------------------------------------------------------------------------------------

TOPICS = {
    "room/*": TopicRule(publish="editors"),
    "wall": TopicRule(publish="anyone"),
    "board": TopicRule(subscribe="editors"),
    "hidden": TopicRule(subscribe="server"),
}


@pytest.mark.parametrize(
    ("who", "action", "topic", "decision"),
    [
        ("nobody", "publish", "wall", "allowed"),
        ("nobody", "publish", "room/1", "not_authenticated"),
        ("bob", "publish", "room/1", "not_allowed"),
        ("ann", "publish", "room/1", "allowed"),
        ("admin", "publish", "room/1", "allowed"),
        ("admin", "publish", "clock", "not_allowed"),
        ("nobody", "subscribe", "clock", "allowed"),
        ("nobody", "subscribe", "board", "not_authenticated"),
        ("bob", "subscribe", "board", "not_allowed"),
        ("ann", "subscribe", "board", "allowed"),
        ("admin", "subscribe", "hidden", "not_allowed"),
        ("nobody", "read", None, "allowed"),
        ("nobody", "emit", None, "not_authenticated"),
        ("bob", "emit", None, "not_allowed"),
        ("ann", "emit", None, "allowed"),
        ("ann", "operate", None, "not_allowed"),
        ("admin", "operate", None, "allowed"),
    ],
)
def test_each_action_has_its_rule(tmp_path, who, action, topic, decision):
    people = {
        "nobody": ANONYMOUS,
        "bob": Principal("bob"),
        "ann": Principal("ann", {"editors"}),
        "admin": Principal("admin", {"admin"}),
    }
    access = made(tmp_path, topics=TOPICS, may_emit="editors")
    assert access.decide(people[who], action, topic) == decision
    assert access.may(people[who], action, topic) == (decision == "allowed")
    assert access.explain(people[who], action, topic)


def test_a_refusal_says_what_is_needed(tmp_path):
    access = made(tmp_path, topics=TOPICS)
    said = access.explain(Principal("bob"), "publish", "room/1")
    assert said == "publishing to 'room/1' needs the scope 'editors', which 'bob' does not have"
    assert "send 'Authorization: Bearer <token>'" in access.explain(ANONYMOUS, "publish", "room/1")
    assert access.explain(ANONYMOUS, "publish", "clock") == "publishing to 'clock' is the server's alone"
    assert "expired" in access.explain(Principal("bob", expires_at=1), "read")
    unset = Access(Settings(topics=TOPICS))
    assert "set auth.tokens_file" in unset.explain(ANONYMOUS, "publish", "room/1")
    assert "set auth.admin_token_file" in unset.explain(ANONYMOUS, "operate")


def test_where_signing_in_is_required_the_anonymous_may_nothing(tmp_path):
    access = made(tmp_path, required=True)
    assert access.decide(ANONYMOUS, "subscribe", "clock") == "not_authenticated"
    assert access.explain(ANONYMOUS, "read") == "reading needs that you sign in: send 'Authorization: Bearer <token>'"
    assert access.may(Principal("bob"), "subscribe", "clock")


async def test_a_principal_s_connections_share_one_rate(tmp_path, mock_clock):
    access = made(tmp_path, max_inbound_per_second=3)
    ann, bob = Principal("ann"), Principal("bob")
    assert [access.within_rate(ann) for _ in range(4)] == [True, True, True, False]
    assert access.within_rate(Principal("ann", source="jwt"))
    assert access.within_rate(bob)
    assert all(access.within_rate(ANONYMOUS) for _ in range(100))
    mock_clock.jump(1)
    assert access.within_rate(ann)


# --- for how long --------------------------------------------------------------------------------------------------


# No deadline of their own in the next two: virtual time would jump to it while a thread looks at the files.


async def test_what_is_open_ends_when_its_token_expires(tmp_path, autojump_clock, nursery):
    access = at(made(tmp_path), 86_400 - 10)
    ended, ends = trio.Event(), []

    def end(name, why):
        ends.append((name, why, trio.current_time()))
        ended.set()

    for token in (ANN, BOB):
        principal = await access.identify({"Authorization": f"Bearer {token}"})
        access.admit(token, principal, partial(end, principal.name))
    await nursery.start(access.run)
    await ended.wait()
    ((name, why, when),) = ends
    assert (name, why) == ("bob", "the token has expired")
    assert 10 <= when <= 11
    assert access.statistics().connections == 1


async def test_what_is_open_ends_when_its_token_is_taken_back(tmp_path, autojump_clock, nursery):
    access = at(made(tmp_path), 0)
    ended, ends = trio.Event(), []

    def end(name, why):
        ends.append((name, why))
        ended.set()

    for token in (ANN, BOB):
        principal = await access.identify({"Authorization": f"Bearer {token}"})
        access.admit(token, principal, partial(end, principal.name))
    await nursery.start(access.run)
    written(tmp_path / "tokens.toml", TOKENS.replace(ANN, "new-0123456789abcdef"))
    await ended.wait()
    assert ends == [("ann", "the token was taken back")]
    with pytest.raises(NotAuthenticated):
        await access.identify(BEARER)
    assert (await access.identify({"Authorization": "Bearer new-0123456789abcdef"})).name == "ann"


@pytest.mark.parametrize("text", ["not toml", "[tokens.ann]", None])
async def test_a_file_that_got_worse_changes_nothing(tmp_path, text):
    access = at(made(tmp_path), 0)
    principal = await access.identify(BEARER)
    access.admit("open", principal, lambda why: pytest.fail(why))
    if text is None:
        (tmp_path / "tokens.toml").unlink()
    else:
        written(tmp_path / "tokens.toml", text)
    with structlog.testing.capture_logs() as logs:
        await access.look_at_files()
    assert [(line["log_level"], line["event"]) for line in logs] == [("error", "credentials_kept")]
    access.look()
    assert await access.identify(BEARER) == principal


async def test_who_has_left_is_not_told(tmp_path):
    access = at(made(tmp_path), 0)
    access.admit("open", await access.identify({"Authorization": f"Bearer {BOB}"}), lambda why: pytest.fail(why))
    access.release("open")
    access.release("open")
    at(access, 2 * 86_400).look()
    assert access.statistics().principals == 0


def test_the_anonymous_are_not_kept():
    access = Access(Settings())
    access.admit("open", ANONYMOUS, lambda why: pytest.fail(why))
    assert access.statistics().connections == 0
