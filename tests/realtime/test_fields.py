"""Plain values into attrs classes: each problem is named by its field."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.fields import (
    LONGEST_SHOWN,
    MAX_DEPTH,
    BadField,
    at_least,
    build,
    build_first,
    decode_object,
    each,
    greater_than,
    positive_seconds,
    shown,
)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


def not_even(item: str) -> str | None:
    return "must be odd" if len(item) % 2 == 0 else None


@attrs.frozen
class Sample:
    name: str
    seconds: float = attrs.field(default=1.0, validator=greater_than(0))
    count: int = attrs.field(default=1, validator=at_least(1))
    mode: Literal["on", "off"] | None = None
    colour: Colour = Colour.RED
    tags: tuple[str, ...] = attrs.field(default=(), validator=each(not_even))
    short: Annotated[str, msgspec.Meta(max_length=3)] = ""
    low: int = 0
    high: int = 10

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must be at most high")


def first(values: Mapping[str, object]) -> BadField:
    with pytest.raises(BadField) as caught:
        build_first(Sample, values)
    return caught.value


def test_values_of_the_right_types_make_an_instance() -> None:
    values = {"name": "x", "seconds": 2, "mode": "on", "colour": "blue", "tags": ["a"]}
    assert build_first(Sample, values) == Sample("x", 2.0, 1, "on", Colour.BLUE, ("a",))


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({}, "name", "name is missing"),
        ({"name": 3}, "name", "name: expected `str`, got `int`"),
        ({"name": None}, "name", "name: expected `str`, got `null`"),
        ({"nam": "x"}, "nam", "nam is not known; the nearest is name"),
        ({"name": "x", "seconds": -1}, "seconds", "seconds must be greater than 0, got -1.0"),
        ({"name": "x", "seconds": float("nan")}, "seconds", "seconds must be greater than 0, got nan"),
        ({"name": "x", "seconds": float("inf")}, "seconds", "seconds must be greater than 0, got inf"),
        ({"name": "x", "count": 0}, "count", "count must be at least 1, got 0"),
        ({"name": "x", "count": True}, "count", "count: expected `int`, got `bool`"),
        ({"name": "x", "mode": "up"}, "mode", "mode must be one of on, off, got 'up'"),
        ({"name": "x", "mode": 1}, "mode", "mode must be one of on, off, got 1"),
        ({"name": "x", "colour": "green"}, "colour", "colour must be one of red, blue, got 'green'"),
        ({"name": "x", "tags": ["a", 2]}, "tags[1]", "tags[1]: expected `str`, got `int`"),
        ({"name": "x", "tags": ["a", "bb"]}, "tags", "tags must be odd, got 'bb'"),
        ({"name": "x", "short": "long"}, "short", "short: expected `str` of length <= 3"),
        ({"name": "x", "low": 11}, None, "low must be at most high"),
    ],
)
def test_a_problem_is_named_by_its_field(values: dict[str, object], field: str | None, message: str) -> None:
    problem = first(values)
    assert (problem.field, problem.message, str(problem)) == (field, message, message)


def test_all_problems_can_be_collected() -> None:
    problems: list[BadField] = []
    values = {"seconds": 0, "count": "x", "colour": "green", "size": 1}
    assert build(Sample, values, problems.append) is None
    assert sorted(str(problem.field) for problem in problems) == ["colour", "count", "name", "seconds", "size"]


def test_a_bad_field_raised_by_the_class_itself_keeps_its_field() -> None:
    @attrs.frozen
    class Picky:
        a: int = 0

        def __attrs_post_init__(self) -> None:
            raise BadField("a.b", "a.b is wrong")

    with pytest.raises(BadField) as caught:
        build_first(Picky, {})
    assert caught.value.field == "a.b"


def test_types_that_msgspec_does_not_know_are_made_by_the_hook() -> None:
    @attrs.frozen
    class Located:
        path: Path | None = None

    def hook(wanted: type, value: Any) -> Any:
        return wanted(value)

    problems: list[BadField] = []
    assert build(Located, {"path": "a/b"}, problems.append, dec_hook=hook) == Located(Path("a/b"))
    assert build(Located, {"path": 3}, problems.append, dec_hook=hook) is None
    assert [problem.field for problem in problems] == ["path"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "cannot be read as JSON: input data was truncated"),
        (b'{"name":NaN}', "cannot be read as JSON: invalid character (byte 8)"),
        (b'{"name":1e999}', "cannot be read as JSON: number out of range - at `$[...]`"),
        (b'{"name":"\xff"}', "not UTF-8: invalid start byte"),
        ('{"name":"\ud800"}', "not UTF-8: surrogates not allowed"),
        (b"[1]", "must be a JSON object, got an array"),
        (b'"x"', "must be a JSON object, got a string"),
        (b"null", "must be a JSON object, got null"),
        (b"true", "must be a JSON object, got a boolean"),
        (b"1.5", "must be a JSON object, got a number"),
        (b'{"a":' * 100_000, "nested more than 64 levels deep"),
    ],
)
def test_what_is_no_json_object_is_refused_as_a_whole(raw: bytes | str, message: str) -> None:
    with pytest.raises(BadField) as caught:
        decode_object(raw, Sample)
    assert (caught.value.field, caught.value.message) == (None, message)


@attrs.frozen
class Anything:
    data: object = None


@pytest.mark.parametrize("leaf", ["", "1"])
def test_nesting_is_bounded(leaf: str) -> None:
    def nested(levels: int) -> str:
        return '{"data":' + "[" * (levels - 1) + leaf + "]" * (levels - 1) + "}"

    assert decode_object(nested(MAX_DEPTH), Anything).data
    with pytest.raises(BadField, match="nested more than 64 levels deep"):
        decode_object(nested(MAX_DEPTH + 1), Anything)


@pytest.mark.parametrize("value", ["x" * 10_000, b"x" * 10_000, list(range(1_000)), {"a": "\n" * 500}])
def test_a_foreign_value_is_shown_in_a_few_characters(value: object) -> None:
    assert len(shown(value)) <= LONGEST_SHOWN


def test_a_short_value_is_shown_whole() -> None:
    assert shown("a b") == "'a b'"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_positive_seconds_are_returned() -> None:
    assert positive_seconds("every", 0.5) == 0.5


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_seconds_that_are_not_positive_are_named(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^every must be a number of seconds greater than 0, got"):
        positive_seconds("every", bad)


@given(st.dictionaries(st.sampled_from([*attrs.fields_dict(Sample), "other"]) | st.text(), json_values))
def test_any_values_make_an_instance_or_bad_fields_that_are_no_essays(values: dict[str, object]) -> None:
    problems: list[BadField] = []
    made = build(Sample, values, problems.append)
    assert (made is None) == bool(problems)
    assert all(len(problem.message) < 250 for problem in problems)


@given(st.binary() | st.text(st.characters()))
def test_any_bytes_or_text_decode_or_are_a_bad_field(raw: bytes | str) -> None:
    outcome: object
    try:
        outcome = decode_object(raw, Sample)
    except BadField as problem:
        outcome = problem
    assert isinstance(outcome, Sample | BadField)
