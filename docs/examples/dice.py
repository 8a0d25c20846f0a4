"""Throws a die each second, for everybody who subscribes to the topic "dice"."""

import random

from realtime.actors.broadcaster import RESTART, PeriodicBroadcaster
from realtime.plugins import Services
from supervisors import ChildSpec


class Dice(PeriodicBroadcaster):
    async def sample(self) -> dict[str, int]:
        return {"eyes": random.randint(1, 6)}


def children(services: Services, *, interval: float = 1.0) -> list[ChildSpec]:
    services.hub.declare("dice", retain=True)
    dice = Dice(services.hub, topic="dice", type="dice_update", interval=interval)
    return [ChildSpec("dice", dice.run, backoff=RESTART)]
