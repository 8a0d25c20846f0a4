import sys
import threading
import types

import pytest
import trio
import trio.testing

from realtime.actors.declared import children_of, conditional, declared_in, event_driven, hybrid, periodic
from realtime.plugins import PluginError
from realtime.policy.significance import changed_by
from realtime.settings import ActorSettings
from realtime.tree import build
from supervisors import SupervisorSpec, open_tree

from ..in_process import make_settings
from .listeners import Listeners, a_hub


@pytest.fixture
async def listeners(nursery):
    hub = a_hub()
    await nursery.start(hub.run)
    return Listeners(hub)


async def heard_within(seconds, listeners, *declared, topic="t"):
    """What a listener hears, as (type, data)."""
    specs = [each.child(listeners.hub) for each in declared]
    with listeners.one(topic) as heard:
        async with open_tree(SupervisorSpec(specs)):
            await trio.sleep(seconds)
            return heard()


async def test_an_async_function_is_called_at_each_interval(listeners, autojump_clock):
    calls = []

    @periodic(every=2.0, topic="t", type="count_update")
    async def count():
        calls.append(1)
        return len(calls)

    listeners.hub.declare("t")
    assert await heard_within(5, listeners, count) == [("count_update", 1), ("count_update", 2), ("count_update", 3)]


async def test_a_plain_function_may_block_and_is_called_in_a_thread(listeners):
    threads = []

    @periodic(every=60, topic="t")
    def blocking():
        threads.append(threading.current_thread())
        return "read"

    broadcaster = blocking.broadcaster(listeners.hub)
    with listeners.one("t") as heard:
        assert await broadcaster.tick(trio.current_time()) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert heard() == [("snapshot", "read")]
    assert threads != [threading.main_thread()]


def test_the_function_itself_stays_what_it_was():
    @periodic(every=1, topic="t")
    def seven() -> int:
        return 7

    assert seven() == 7
    assert seven.name == "seven"


async def test_a_conditional_one_is_quiet_until_somebody_listens_and_something_changes(listeners, autojump_clock):
    values = [100, 104, 111, 112]
    calls = []

    @conditional(every=1.0, topic="t", significant=changed_by(0.10))
    async def level():
        calls.append(trio.current_time())
        return values.pop(0) if len(values) > 1 else values[0]

    async with open_tree(SupervisorSpec([level.child(listeners.hub)])):
        await trio.sleep(100)
        assert calls == []
        with listeners.one("t") as heard:
            await trio.sleep(10)
            assert [value for _, value in heard()] == [100, 111]


async def test_an_event_driven_one_publishes_when_it_says_so(listeners, autojump_clock):
    @event_driven(topic="t", type="door_update")
    async def doors(publish):
        for name in ("front", "back"):
            await trio.sleep(3)
            publish({"opened": name}, key=name)
        await trio.sleep_forever()

    listeners.hub.declare("t")
    assert await heard_within(4, listeners, doors) == [("door_update", {"opened": "front"})]


async def test_a_hybrid_one_looks_when_it_is_notified(listeners, autojump_clock):
    shelf = ["empty"]

    @hybrid(topic="t", every=60)
    async def content():
        return shelf[0]

    content.notify()  # before it runs: it will look anyway
    listeners.hub.declare("t")
    with listeners.one("t") as heard:
        async with open_tree(SupervisorSpec([content.child(listeners.hub)])):
            await trio.sleep(1)
            shelf[0] = "full"
            content.notify()
            await trio.sleep(1)
            assert [value for _, value in heard()] == ["empty", "full"]


async def test_one_that_raises_is_restarted(listeners, autojump_clock):
    calls = []

    @periodic(every=60, topic="t")
    async def fails_once():
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("on purpose")
        return len(calls)

    listeners.hub.declare("t")
    assert await heard_within(1, listeners, fails_once) == [("snapshot", 2)]


def test_only_a_hybrid_one_can_be_notified():
    @periodic(every=1, topic="t")
    def steady():
        return 1

    with pytest.raises(TypeError, match="steady is not hybrid"):
        steady.notify()


@pytest.mark.parametrize(
    ("decorate", "error"),
    [
        (lambda: periodic(every=0, topic="t"), "every must be a number of seconds greater than 0"),
        (lambda: hybrid(every=-1, topic="t"), "every must be a number of seconds greater than 0"),
        (lambda: periodic(every=1, topic="no topic"), "topic must be"),
        (lambda: event_driven(topic=""), "topic must be"),
        (lambda: periodic(every=1, topic="t")(lambda wanted: wanted), "must take no arguments"),
        (lambda: event_driven(topic="t")(lambda: None), "must take one argument"),
        (lambda: event_driven(topic="t")(lambda publish: None), "must be an async function"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(decorate, error):
    with pytest.raises((ValueError, TypeError), match=error):
        decorate()


# --- as actor modules ----------------------------------------------------------------------------------------------


def a_module(name, source):
    module = types.ModuleType(name)
    exec(f"from realtime.actors.declared import periodic\n{source}", vars(module))
    return module


ONE = "@periodic(every=1.0, topic='a')\nasync def first(): return 1\n"
TWO = ONE + "@periodic(every=2.0, topic='b')\nasync def second(): return 2\n"


@pytest.fixture
def load(monkeypatch):
    """The children that the settings of one actor module with this source make."""

    def load(source, **options):
        monkeypatch.setitem(sys.modules, "made", a_module("made", source))
        settings = make_settings(actors={"mine": ActorSettings(use="made", options=options)})
        return build(settings).actors

    return load


def test_a_module_that_only_declares_is_an_actor_module(load):
    assert [spec.id for spec in load(ONE)] == ["mine"]


def test_its_interval_can_be_set(load):
    (spec,) = load(ONE, interval=0.5)
    assert spec.start.__self__.interval == 0.5


def test_several_functions_are_several_children_and_have_no_interval_in_common(load):
    (spec,) = load(TWO)
    assert [child.id for child in spec.start.children] == ["first", "second"]
    with pytest.raises(PluginError, match="option 'interval' is not known"):
        load(TWO, interval=0.5)


def test_what_a_module_only_imports_is_not_its_own():
    there = a_module("there", ONE)
    here = types.ModuleType("here")
    here.first = there.first
    assert declared_in(there) == [there.first]
    assert declared_in(here) == []
    assert children_of(here) is None
