"""The dice of the actor module, thrown a hundred times in no time."""

import trio

from realtime.testing import running_module
from supervisors.testing import crash, virtual_time


@virtual_time
async def test_a_crash_costs_no_throw() -> None:
    async with running_module("dice", interval=0.5) as module, module.listen("dice") as heard:
        await trio.sleep(24.9)
        await crash(module.tree, module.path, RuntimeError("on purpose"))
        await trio.sleep(24.9)
        throws = heard.data("dice_update")
    assert len(throws) >= 100
    assert all(1 <= throw["eyes"] <= 6 for throw in throws)
