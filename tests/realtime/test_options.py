"""Options by keyword parameters of several hooks, and by an attrs class of the module's own."""

import types
from pathlib import Path

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime import options
from realtime.fields import greater_than
from realtime.options import PluginError

FOLDER = Path("/etc/realtime")
SERVICES = object()


def module(**found):
    """A module with these names in it."""
    made = types.ModuleType("made")
    vars(made).update(found)
    return made


@attrs.frozen
class Settings:
    interval: float = attrs.field(default=1.0, validator=greater_than(0))
    names: tuple[str, ...] = ()
    file: Path = Path("unset")
    pin: int = attrs.field(kw_only=True)


Settings.__module__ = "made"


def children(services, settings): ...


# --- a class -------------------------------------------------------------------------------------------------------


def read(given, **hooks):
    return options.read(module(Settings=Settings), hooks or {"children": children}, given, FOLDER)


def test_a_class_is_built_and_given_to_the_hooks_that_have_room_for_it():
    found = read({"interval": 2, "names": ["a"], "file": "log", "pin": 1})
    assert found.settings == Settings(interval=2.0, names=("a",), file=FOLDER / "log", pin=1)
    assert found.names == ("interval", "names", "file", "pin")
    assert found.call("children", lambda services, settings: settings, SERVICES) is found.settings
    assert found.call("routes", lambda services: services, SERVICES) is SERVICES


def test_all_that_is_wrong_with_a_class_is_named_and_no_value_of_it():
    with pytest.raises(PluginError) as refused:
        read({"interval": 0, "names": "secret", "intervall": 3})
    told = str(refused.value).split("; option ")
    assert told == [
        "option intervall is not known; the nearest is interval",
        "interval must be greater than 0, got 0.0",
        "names: expected `array`, got `str`",
        "pin is missing",
    ]
    assert "secret" not in str(refused.value)


def test_what_holds_between_fields_is_told_too():
    @attrs.frozen
    class Settings:
        least: int = 0
        most: int = 0

        def __attrs_post_init__(self):
            if self.least > self.most:
                raise ValueError("least must not be greater than most")

    Settings.__module__ = "made"
    with pytest.raises(PluginError, match="option least must not be greater than most"):
        options.read(module(Settings=Settings), {"children": children}, {"least": 1}, FOLDER)


def test_the_settings_of_somebody_else_are_no_options():
    """As where a module imports `realtime.settings.Settings` for its annotations."""
    from realtime.settings import Settings as Others

    assert options.own_settings(module(Settings=Others)) is None
    found = options.read(module(Settings=Others), {"children": lambda services, *, pin=1: pin}, {"pin": 2}, FOLDER)
    assert found.names == ("pin",)


def test_a_class_that_cannot_be_read_is_the_module_s_fault():
    @attrs.frozen
    class Settings:
        pin: "NoSuchType" = None  # noqa: F821

    Settings.__module__ = "made"
    with pytest.raises(PluginError, match="its class Settings cannot be used: name 'NoSuchType'"):
        options.read(module(Settings=Settings), {"children": children}, {"pin": 1}, FOLDER)


# --- keyword parameters of several hooks ---------------------------------------------------------------------------


def test_each_hook_is_given_the_options_that_it_declares():
    hooks = {
        "children": lambda services, *, interval=1.0, root="/": (interval, root),
        "jobs": lambda services, *, root="/": root,
        "routes": lambda services: services,
    }
    found = options.read(module(), hooks, {"root": "data", "interval": 2.0}, FOLDER)
    assert found.names == ("interval", "root")
    assert found.call("children", hooks["children"], SERVICES) == (2.0, "data")
    assert found.call("jobs", hooks["jobs"], SERVICES) == "data"
    assert found.call("routes", hooks["routes"], SERVICES) is SERVICES


def test_one_option_is_what_each_hook_wants_it_to_be():
    def jobs(services, *, root: Path):
        return root

    def routes(services, *, root: str = "x"):
        return root

    found = options.read(module(), {"jobs": jobs, "routes": routes}, {"root": "data"}, FOLDER)
    assert found.call("jobs", jobs, SERVICES) == FOLDER / "data"
    assert found.call("routes", routes, SERVICES) == "data"


def test_all_that_is_wrong_is_named_once():
    def jobs(services, *, root: int, pin: int): ...

    def routes(services, *, root: int, pin: int): ...

    with pytest.raises(PluginError) as refused:
        options.read(module(), {"jobs": jobs, "routes": routes}, {"root": "x", "rot": 1}, FOLDER)
    assert str(refused.value) == (
        "option 'rot' is not known; the nearest is root; option 'root': expected `int`, got `str`;"
        " option 'pin' is missing"
    )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["interval", "names", "file", "pin", "other"]), PLAIN))
def test_whatever_is_given_is_taken_as_it_is_declared_or_refused_by_name(values):
    refusals = []
    try:
        found = read(values)
    except PluginError as refusal:
        refusals.append(str(refusal))
    if refusals:
        assert refusals[0].startswith("option ")
    else:
        assert set(values) <= set(found.names)
        assert found.settings.interval > 0
        assert found.settings.pin == values["pin"]
        msgspec.convert(list(found.settings.names), list[str])
