"""Events as classes: what goes out comes back the same, and what does not fit is refused by the name of its field."""

import datetime
import enum

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.fields import BadField
from realtime.policy.typed import EventTypes, GenericEvent, event_type, from_data, to_data, type_of


class Side(enum.Enum):
    LEFT = "left"
    RIGHT = "right"


@attrs.frozen
class Place:
    floor: int
    room: str = ""


@event_type("door_opened", severity="warning")
@attrs.frozen
class DoorOpened:
    door: int = attrs.field(validator=attrs.validators.ge(0))
    by: str | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.max_len(3)))
    places: tuple[Place, ...] = ()
    side: Side = Side.LEFT
    at: datetime.datetime | None = None
    weight: float = 0.0
    _key: str = ""
    seen: int = attrs.field(default=0, init=False)


PLACES = st.builds(Place, floor=st.integers(-5, 5), room=st.text(max_size=3))
DOORS = st.builds(
    DoorOpened,
    door=st.integers(0, 2**53),
    by=st.none() | st.text(max_size=3),
    places=st.lists(PLACES, max_size=3).map(tuple),
    side=st.sampled_from(Side),
    at=st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    key=st.text(alphabet="abc", max_size=3),
)


@given(DOORS)
def test_what_is_written_down_is_read_back_as_the_same(door):
    stored = msgspec.json.decode(msgspec.json.encode(to_data(door)))
    assert from_data(DoorOpened, stored) == door


NAMES = st.sampled_from(["door", "by", "places", "side", "at", "weight", "key", "x"])
VALUES = st.integers() | st.text() | st.none() | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(NAMES, VALUES))
def test_any_data_make_an_event_or_name_the_field_that_does_not_fit(data):
    try:
        made = from_data(DoorOpened, data)
    except BadField as problem:
        found = problem
    else:
        assert set(data) <= set(to_data(made))
        return
    assert found.field is not None
    assert found.field.split("[")[0] in {"data", *(f"data.{name}" for name in [*data, "door"])}
    assert found.message.startswith("data")


@pytest.mark.parametrize(
    ("data", "field", "text"),
    [
        ({}, "data.door", "data.door is missing"),
        ({"door": "3"}, "data.door", "expected `int`, got `str`"),
        ({"door": -1}, "data", "'door' must be >= 0"),
        ({"door": 1, "by": "abcd"}, "data", "Length of 'by' must be <= 3"),
        ({"door": 1, "dor": 2}, "data.dor", "the nearest is door"),
        ({"door": 1, "places": [{"floor": 1}, {}]}, "data.places[1]", "missing required field `floor`"),
        ({"door": 1, "seen": 1}, "data.seen", "not known"),
    ],
)
def test_what_does_not_fit_is_named(data, field, text):
    with pytest.raises(BadField) as caught:
        from_data(DoorOpened, data)
    assert caught.value.field == field
    assert text in caught.value.message


def test_a_field_without_a_form_in_json_is_named():
    @event_type("odd")
    @attrs.frozen
    class Odd:
        thing: object

    with pytest.raises(BadField, match=r"data\.thing has no JSON form"):
        to_data(Odd(object()))


def test_a_stored_event_may_be_older_than_its_class():
    """Fields that came since take their defaults, fields that are gone are left out; a stranger's are refused."""
    types = EventTypes([DoorOpened])
    assert types.decode("door_opened", {"door": 1, "colour": "red"}) == DoorOpened(1)
    with pytest.raises(BadField, match="colour"):
        types.check("door_opened", {"door": 1, "colour": "red"})


def test_an_unknown_type_is_a_generic_event():
    types = EventTypes()
    types.check("anything", {"x": [1]})
    assert types.decode("anything", {"x": [1]}) == GenericEvent("anything", {"x": [1]})


def test_the_mark_says_type_and_severity_and_is_not_inherited():
    @attrs.frozen
    class Derived(DoorOpened):
        pass

    assert (type_of(DoorOpened).name, type_of(DoorOpened(1)).severity) == ("door_opened", "warning")
    assert type_of(Derived) is None


def test_only_marked_attrs_classes_can_be_registered():
    with pytest.raises(TypeError, match=r"goes above @attrs\.frozen"):
        event_type("x")(int)
    with pytest.raises(TypeError, match="says no type"):
        EventTypes([Place])


@pytest.mark.parametrize(("name", "severity", "field"), [("with space", "info", "type"), ("x", "loud", "severity")])
def test_a_mark_is_checked_when_it_is_made(name, severity, field):
    with pytest.raises(BadField) as caught:
        event_type(name, severity=severity)
    assert caught.value.field == field


def test_a_type_belongs_to_one_class_and_a_class_replaces_its_older_self():
    types = EventTypes([DoorOpened])

    @event_type("door_opened")
    @attrs.frozen
    class Other:
        pass

    with pytest.raises(ValueError, match=r"'door_opened' are .*DoorOpened"):
        types.register(Other)
    newer = type("DoorOpened", (), {"__module__": DoorOpened.__module__, "__annotations__": {"door": int}})
    newer = event_type("door_opened")(attrs.frozen(newer))
    types.register(newer)
    assert list(types) == [newer]
    with pytest.raises(TypeError, match="not registered"):
        types.facts(DoorOpened(1))
