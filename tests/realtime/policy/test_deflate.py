"""The negotiation of RFC 7692 section 7.1, with the header's grammar of RFC 6455 section 9.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.policy.deflate import ANSWER, WINDOW_BITS, MalformedExtensions, Offer, negotiate, parse

TOKENS = st.text("abcxyz-_.!#$%&'*+^`|~019", min_size=1, max_size=8)
SPACE = st.text(" \t", max_size=2)


@st.composite
def lists(draw):
    """Offers, and one of the many headers that say them."""
    offers, items = [], []
    for name in draw(st.lists(TOKENS, max_size=4)):
        parameters, said = [], name
        for parameter, value in draw(st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=4)):
            parameters.append((parameter, value))
            said += draw(SPACE) + ";" + draw(SPACE) + parameter
            if value is not None:
                spelled = draw(
                    st.sampled_from([value, f'"{value}"', '"' + "".join("\\" + char for char in value) + '"'])
                )
                said += draw(SPACE) + "=" + draw(SPACE) + spelled
        offers.append(Offer(name, tuple(parameters)))
        items.append(draw(SPACE) + said + draw(SPACE))
        items += draw(st.lists(SPACE, max_size=1))
    return offers, ",".join(items)


def answer_to(header):
    return negotiate([header])


# --- offers that are accepted ---


@pytest.mark.parametrize(
    "header",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",  # Chromium's
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",  # of Python's `websockets`
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=15",
        'permessage-deflate; server_max_window_bits="12"',
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=15",
        " permessage-deflate ;\tclient_max_window_bits , ",
    ],
)
def test_a_valid_offer_is_accepted(header):
    assert answer_to(header) == ANSWER


def test_the_answer_leaves_nothing_to_be_kept_for_a_connection():
    (agreed,) = parse(ANSWER)
    assert agreed == Offer(
        "permessage-deflate",
        (
            ("server_no_context_takeover", None),
            ("client_no_context_takeover", None),
            ("server_max_window_bits", "12"),
        ),
    )


def test_the_answer_limits_no_client_that_has_not_offered_it():
    """Section 7.1.2.2: without ``client_max_window_bits`` in the offer it must not be in the answer."""
    assert "client_max_window_bits" not in ANSWER


# --- offers that are declined ---


@pytest.mark.parametrize(
    "parameters",
    [
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=12; server_max_window_bits=12",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",  # section 7.1.2.1: in an offer it has a value
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=012",
        "server_max_window_bits=1e1",
        "server_max_window_bits=-12",
        "server_max_window_bits=+12",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=true",
        "level=9",
        "Server_No_Context_Takeover",
        "client_max_window_bits; level",
    ],
)
def test_an_offer_with_a_parameter_that_is_unknown_doubled_or_wrong_is_declined(parameters):
    assert answer_to(f"permessage-deflate; {parameters}") is None


@pytest.mark.parametrize("bits", range(8, WINDOW_BITS))
def test_an_offer_to_keep_less_than_the_window_is_declined(bits):
    assert answer_to(f"permessage-deflate; server_max_window_bits={bits}") is None


@pytest.mark.parametrize("header", ["", ",", "x-webkit-deflate-frame", "permessage-bzip2", "Permessage-Deflate"])
def test_another_extension_or_none_is_declined(header):
    assert answer_to(header) is None


def test_no_header_is_no_offer():
    assert negotiate([]) is None


# --- several offers ---


def test_the_next_offer_of_the_same_header_is_fallen_back_to():
    """Section 5.2.3: a client may offer again with what it can do without."""
    assert answer_to("permessage-deflate; server_max_window_bits=10, permessage-deflate") == ANSWER


def test_the_offer_of_another_header_is_fallen_back_to():
    assert negotiate(["permessage-deflate; level=9", "x-other; a=b", "permessage-deflate"]) == ANSWER


def test_several_offers_of_which_none_suits_are_all_declined():
    declined = "permessage-deflate; server_max_window_bits=9, permessage-deflate; level=9"
    assert negotiate([declined, "permessage-deflate; server_no_context_takeover=1"]) is None


# --- the grammar ---


@given(lists())
def test_every_spelling_of_a_list_is_read_as_that_list(said):
    offers, header = said
    assert parse(header) == offers


@pytest.mark.parametrize(
    "header",
    [
        "a b",
        "a;",
        "a;;b",
        ";a",
        "a=b",
        "a;b=",
        'a;b="',
        'a;b="c',
        'a;b=""',
        'a;b="c d"',
        'a;b="c\\"',
        'a;b="c"d',
        "a;b=c d",
        "a;b=c=d",
        "a/b",
        "permessage-deflate, \xe4",
        "permessage-deflate\n",
    ],
)
def test_what_is_no_list_of_extensions_fails_the_handshake(header):
    with pytest.raises(MalformedExtensions, match=r"expected at character \d+ of "):
        parse(header)
    with pytest.raises(MalformedExtensions):
        negotiate(["permessage-deflate", header])


@given(st.text(st.characters(max_codepoint=255)) | st.text(' \t,;="\\ab1', max_size=30))
def test_any_header_is_read_or_refused(header):
    try:
        offers = parse(header)
    except MalformedExtensions:
        return
    said = ",".join(
        ";".join([offer.name, *(name if value is None else f"{name}={value}" for name, value in offer.parameters)])
        for offer in offers
    )
    assert parse(said) == offers


BITS = st.none() | st.integers(0, 20).map(str) | st.sampled_from(["08", "", "x", "12 ", "\uff11\uff12"])
PARAMETERS = st.tuples(
    st.sampled_from(
        [
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
            "level",
        ]
    ),
    BITS,
)


def suits(name, value):
    """Section 7.1 once more, said as a list of what is allowed."""
    allowed = {
        "server_no_context_takeover": [None],
        "client_no_context_takeover": [None],
        "server_max_window_bits": ["12", "13", "14", "15"],
        "client_max_window_bits": [None, "8", "9", "10", "11", "12", "13", "14", "15"],
    }
    return value in allowed.get(name, [])


@given(st.lists(st.lists(PARAMETERS, max_size=4), max_size=3))
def test_an_offer_is_accepted_if_and_only_if_all_of_it_is_valid(offers):
    said = [
        "; ".join(["permessage-deflate", *(name if value is None else f'{name}="{value}"' for name, value in offer)])
        for offer in offers
    ]
    good = any(
        all(suits(*parameter) for parameter in offer) and len({name for name, _ in offer}) == len(offer)
        for offer in offers
    )
    try:
        answer = negotiate(said)
    except MalformedExtensions:
        assert any(value in ("", "12 ", "\uff11\uff12") for offer in offers for _, value in offer)
    else:
        assert answer == (ANSWER if good else None)
