import re

import trio

from realtime.actors import clock
from realtime.actors.broadcaster import RESTART
from realtime.tree import build

from ..in_process import CLOCK, make_settings, receive, running
from .listeners import a_hub

WIRE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def services():
    system = build(make_settings())
    return system.services


async def test_the_time_is_that_of_this_moment_in_the_form_of_the_wire():
    (first, second) = [await clock.Clock(a_hub()).sample() for _ in range(2)]
    assert list(first) == ["date"]
    assert WIRE_TIME.fullmatch(first["date"])
    assert first["date"] <= second["date"]


def test_it_ticks_each_second_unless_it_is_told_otherwise():
    assert clock.Clock(a_hub()).interval == 1.0
    (spec,) = clock.children(services(), interval=0.25)
    assert spec.start.__self__.interval == 0.25


def test_its_crash_costs_nobody_else_anything():
    (spec,) = clock.children(services())
    assert (spec.id, spec.restart, spec.backoff) == ("clock", "permanent", RESTART)


async def test_who_connects_is_told_the_last_time_at_once_and_then_each_second(autojump_clock):
    async with running(make_settings(actors={"clock": CLOCK})) as system:
        await trio.sleep(10.5)
        began = trio.current_time()
        async with system.websocket("/ws/mine") as socket:
            subscribed, last, _, *ticks = await receive(socket, 6)
            assert trio.current_time() - began < 3.1
    assert (subscribed["type"], subscribed["topic"], subscribed["conflate"]) == ("subscribed", "clock", True)
    assert [message["type"] for message in (last, *ticks)] == ["time_update"] * 4
    assert [message["offset"] for message in ticks] == [last["offset"] + n for n in (1, 2, 3)]
