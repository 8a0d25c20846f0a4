"""An event feed: each opening of a door is stored, then told to every client of /ws/events."""

import random

import trio

from realtime.actors.broadcaster import RESTART
from realtime.actors.events import EventManager
from realtime.plugins import Services
from supervisors import ChildSpec


async def watch_door(events: EventManager, interval: float) -> None:
    while True:
        await trio.sleep(interval)  # in truth: wait for the sensor
        await events.create_event(type="door_opened", data={"door": random.randint(1, 3)}, source="hall")


def children(services: Services, *, interval: float = 1.0) -> list[ChildSpec]:
    return [ChildSpec("door", watch_door, (services.events, interval), backoff=RESTART)]
