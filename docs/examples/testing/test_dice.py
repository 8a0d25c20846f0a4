"""The dice of the actor module, thrown a hundred times in no time."""

import trio
from dice import Dice

from realtime.actors.broadcaster import RESTART
from realtime.delivery.hub import Hub
from realtime.settings import TopicSettings
from supervisors import ChildSpec, SupervisorSpec
from supervisors.testing import running, virtual_time


@virtual_time
async def test_a_crash_costs_no_throw_but_its_own() -> None:
    hub = Hub(lambda topic: TopicSettings())
    hub.declare("dice", retain=True)
    dice = Dice(hub, topic="dice", type="dice_update", interval=0.5)
    async with running(SupervisorSpec([ChildSpec("dice", dice.run, backoff=RESTART)])) as tree:
        await trio.sleep(24.9)
        await tree.crash_and_wait("dice", RuntimeError("on purpose"))
        await tree.wait_for_generation("dice", 2)
        await trio.sleep(24.9)
        assert tree.find("dice").stats["published"] == 100
