import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.fields import BadField
from realtime.policy.checks import SEVERITIES
from realtime.policy.selection import Selection

TYPES = st.sampled_from(["a", "ab", "b", "b.c"])
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2)


WANTED = st.lists(TYPES | TYPES.map("{}*".format), max_size=2)
SEVERITY = st.sampled_from(SEVERITIES)


@given(WANTED, SEVERITY, TAGS, TYPES, SEVERITY, TAGS)
def test_an_event_is_wanted_if_it_fits_everything_that_is_said(types, severity, tags, type, rated, tagged):
    fits_type = not types or any(type.startswith(t[:-1]) if t.endswith("*") else type == t for t in types)
    severe = SEVERITIES.index(rated) >= SEVERITIES.index(severity)
    fits_tag = not tags or bool(set(tags) & set(tagged))
    assert Selection(types, severity, tags).wants(type, rated, tagged) is (fits_type and severe and fits_tag)


def test_nothing_said_is_everything():
    assert Selection().wants("a", "debug", ())
    assert Selection(types=("*",)).wants("a", "debug", ())


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"types": ["a b"]}, "types"),
        ({"types": ["a*b"]}, "types"),
        ({"severity": "loud"}, "severity"),
        ({"tags": [""]}, "tags[0]"),
    ],
)
def test_what_cannot_fit_anything_is_refused(fields, field):
    with pytest.raises(BadField) as caught:
        Selection(**fields)
    assert caught.value.field == field
