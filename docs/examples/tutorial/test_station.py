"""Tests of the weather station, under virtual time."""

from journal import Mean
from station import Station

from supervisors.testing import running, virtual_time


@virtual_time
async def test_the_thermometer_is_restarted_with_the_bus() -> None:
    async with running(Station().spec()) as tree:
        await tree.crash_and_wait("sensors/bus", OSError("the plug was pulled"))
        await tree.wait_for_generation("sensors/thermometer", 2)
        tree.assert_sequence(
            "exited sensors/bus crashed",
            "exited sensors/thermometer shutdown",
            "started sensors/bus",
            "started sensors/thermometer",
        )


@virtual_time
async def test_a_crash_of_the_sensors_leaves_the_journal_alone() -> None:
    station = Station()
    async with running(station.spec()) as tree:
        await tree.crash_and_wait("sensors/bus", OSError("the plug was pulled"))
        await tree.wait_for_health("", "ok")
        assert tree.find("journal").generation == 1
        assert await station.journal.call(Mean()) == 20.5


@virtual_time
async def test_a_visitor_is_forgotten_when_it_has_left() -> None:
    station = Station()
    async with running(station.spec()) as tree:
        await station.welcome("ada")
        await tree.wait_until(lambda: tree.find("visitors").children == ())
        assert tree.find("visitors").restarts == 0
