"""Throws a die each second, for everybody who subscribes to the topic "dice"."""

import random

from realtime.actors.declared import periodic


@periodic(every=1.0, topic="dice", type="dice_update")
async def dice() -> dict[str, int]:
    return {"eyes": random.randint(1, 6)}
