from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.access import ADMIN, ANONYMOUS, ANYONE, SERVER, Principal, decide, is_rule, is_scope, rule_for

NOW = 1000.0

scopes = st.sampled_from(["editors", "readers", "ops:read", "a.b-c"])
rules = st.one_of(scopes, st.sampled_from([ANYONE, SERVER, ADMIN]))
principals = st.one_of(
    st.just(ANONYMOUS),
    st.builds(
        Principal,
        name=st.sampled_from(["ann", "bob"]),
        scopes=st.frozensets(st.one_of(scopes, st.just(ADMIN))),
        expires_at=st.none() | st.floats(0, 2 * NOW),
    ),
)


@given(principals, rules, st.booleans())
def test_a_refusal_sends_to_the_sign_in_only_whom_that_may_help(principal, rule, required):
    told = decide(principal, rule, now=NOW, required=required)
    if told == "not_authenticated":
        assert principal.anonymous or principal.expired(NOW)
        signed_in = Principal("root", {ADMIN})
        assert decide(signed_in, rule, now=NOW, required=required) == "allowed"


@given(principals, st.booleans())
def test_what_is_the_servers_is_nobody_elses(principal, required):
    assert decide(principal, SERVER, now=NOW, required=required) == "not_allowed"


@given(principals, rules, scopes, st.booleans())
def test_a_further_scope_never_takes_anything_away(principal, rule, scope, required):
    if principal.anonymous:
        return
    before = decide(principal, rule, now=NOW, required=required)
    more = Principal(principal.name, principal.scopes | {scope}, principal.expires_at)
    after = decide(more, rule, now=NOW, required=required)
    assert after == before or (before, after, rule) == ("not_allowed", "allowed", scope)


@given(principals, rules, st.booleans())
def test_who_has_expired_may_nothing(principal, rule, required):
    late = decide(principal, rule, now=3 * NOW, required=required)
    if principal.expires_at is not None:
        assert late != "allowed"


@given(principals, rules)
def test_to_demand_a_sign_in_shuts_out_the_anonymous_and_nobody_else(principal, rule):
    free = decide(principal, rule, now=NOW)
    required = decide(principal, rule, now=NOW, required=True)
    assert required == free if not principal.anonymous else required != "allowed"


@given(principals)
def test_anyone_is_anyone_who_has_not_expired(principal):
    assert (decide(principal, ANYONE, now=NOW) == "allowed") is not principal.expired(NOW)


def test_the_moment_of_expiry_is_too_late():
    principal = Principal("ann", expires_at=NOW)
    assert decide(principal, ANYONE, now=NOW - 0.001) == "allowed"
    assert decide(principal, ANYONE, now=NOW) == "not_authenticated"


def test_a_signed_in_principal_without_the_scope_is_not_sent_to_sign_in_again():
    assert decide(Principal("ann"), "editors", now=NOW) == "not_allowed"
    assert decide(ANONYMOUS, "editors", now=NOW) == "not_authenticated"


def test_operating_needs_the_admin_scope_whatever_the_rules_say():
    assert rule_for("operate", {"operate": ANYONE}) == ADMIN
    assert rule_for("emit", {"emit": "editors"}) == "editors"
    assert rule_for("emit", {}) == ANYONE


def test_the_two_words_are_rules_and_no_scopes():
    assert is_rule(ANYONE)
    assert is_rule(SERVER)
    assert is_scope(ADMIN)
    assert not is_scope(ANYONE)
    assert not is_scope(SERVER)
    assert not is_rule("")
    assert not is_rule("two words")


def test_a_mark_does_not_show():
    assert "hidden" not in repr(Principal("ann", mark=b"hidden"))
