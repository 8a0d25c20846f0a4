"""Keyword parameters that a stranger gives: each checked against its annotation."""

from typing import Annotated, Literal

import msgspec
import pytest

from realtime.actors.parameters import arguments
from realtime.fields import BadField


def paint(_caller, colour: Literal["red", "blue"], *, times: Annotated[int, msgspec.Meta(ge=1)] = 1, where=None):
    """What is called."""


def test_what_fits_is_converted():
    assert arguments("paint", paint, {"colour": "red", "times": 3, "where": [1]}) == {
        "colour": "red",
        "times": 3,
        "where": [1],
    }


def test_what_has_a_default_may_be_left_out():
    assert arguments("paint", paint, {"colour": "blue"}) == {"colour": "blue"}


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({}, "params.colour", "params.colour is missing; paint needs it"),
        ({"color": "red"}, "params.color", "params.color is not known to paint; the nearest is colour"),
        ({"_caller": 1, "colour": "red"}, "params._caller", "params._caller is not known to paint"),
        ({"colour": "green"}, "params.colour", "params.colour: invalid enum value 'green'"),
        ({"colour": "red", "times": 0}, "params.times", "params.times: expected `int` >= 1"),
        ({"colour": "red", "times": "2"}, "params.times", "params.times: expected `int`, got `str`"),
    ],
)
def test_what_does_not_fit_is_named(given, field, said):
    with pytest.raises(BadField) as refused:
        arguments("paint", paint, given)
    assert refused.value.field == field
    assert str(refused.value).startswith(said)


def test_a_long_name_is_not_repeated_in_full():
    with pytest.raises(BadField) as refused:
        arguments("paint", paint, {"x" * 10_000: 1})
    assert len(str(refused.value)) < 200
