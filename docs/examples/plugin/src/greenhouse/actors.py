"""A greenhouse: its climate as a topic, its window by HTTP, watering as a task, and advice over the WebSocket."""

from collections.abc import Mapping
from typing import Any

import attrs
import trio
from quart import Blueprint, request

from realtime.actors.broadcaster import RESTART, PeriodicBroadcaster
from realtime.actors.methods import Caller, Method
from realtime.actors.progress import ProgressEmitter
from realtime.actors.tasks import Job
from realtime.fields import BadField, decode_object, greater_than
from realtime.plugins import Services
from supervisors import ChildSpec

TOPIC = "greenhouse"


@attrs.frozen
class Settings:
    """What may stand in ``[actors.greenhouse]``."""

    interval: float = attrs.field(default=1.0, validator=greater_than(0))
    target: float = 21.0
    beds: tuple[str, ...] = ("tomatoes", "basil")


@attrs.frozen
class Climate:
    """The data of ``climate_update``."""

    temperature: float = 20.0
    window_open: bool = False

    def later(self) -> "Climate":
        """A moment later: it warms up behind a closed window, and cools down to 15 degrees with an open one."""
        change = max(-0.5, 15 - self.temperature) if self.window_open else 0.5
        return attrs.evolve(self, temperature=self.temperature + change)


message_types = {"climate_update": Climate}


@attrs.define
class House:
    """The one greenhouse that all of the hooks below are about."""

    climate: Climate = Climate()


HOUSE = House()


class Thermometer(PeriodicBroadcaster):
    """Publishes the climate whenever it has changed."""

    only_if_changed = True

    async def sample(self) -> Climate:
        HOUSE.climate = HOUSE.climate.later()
        return HOUSE.climate


def children(services: Services, settings: Settings) -> list[ChildSpec]:
    services.hub.declare(TOPIC, retain=True)
    thermometer = Thermometer(services.hub, topic=TOPIC, type="climate_update", interval=settings.interval)
    return [ChildSpec("thermometer", thermometer.run, backoff=RESTART)]


@attrs.frozen
class Window:
    """The body of ``POST /greenhouse/window``."""

    open: bool


def routes(services: Services) -> Blueprint:
    blueprint = Blueprint("greenhouse", __name__)

    @blueprint.get("/greenhouse")
    async def climate() -> dict[str, Any]:
        return attrs.asdict(HOUSE.climate)

    @blueprint.post("/greenhouse/window")
    async def window() -> dict[str, Any]:
        wanted = decode_object(await request.get_data(), Window)  # a wrong body is answered with 400, and why
        HOUSE.climate = attrs.evolve(HOUSE.climate, window_open=wanted.open)
        services.hub.publish_nowait(TOPIC, "climate_update", HOUSE.climate)
        return attrs.asdict(HOUSE.climate)

    return blueprint


def jobs(services: Services, settings: Settings) -> list[Job]:
    async def water(progress: ProgressEmitter, *, bed: str, litres: int = 5) -> dict[str, int]:
        for poured in range(1, litres + 1):
            await trio.sleep(0.1)
            progress.update("watering", 100 * poured / litres, f"{poured} of {litres} l on the {bed}")
        return {"litres": litres}

    def check(params: Mapping[str, Any]) -> None:
        if params["bed"] not in settings.beds:
            raise BadField("params.bed", f"params.bed must be one of {', '.join(settings.beds)}")

    return [Job("water", water, timeout=60.0, check=check)]


def methods(services: Services, settings: Settings) -> list[Method]:
    async def advice(caller: Caller) -> dict[str, str]:
        too_warm = HOUSE.climate.temperature > settings.target
        return {"window": "open" if too_warm else "close"}

    return [Method("greenhouse.advice", advice)]
