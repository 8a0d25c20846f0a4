"""The greenhouse in a whole system, on a clock that jumps."""

import json

from greenhouse.actors import Climate

from realtime.testing import running_module
from supervisors.testing import virtual_time


@virtual_time
async def test_an_open_window_is_told_at_once() -> None:
    async with running_module("greenhouse.actors", interval=60.0) as module, module.listen("greenhouse") as heard:
        first = Climate(**(await heard.next("climate_update"))["data"])
        assert not first.window_open
        answer = await module.client.post("/greenhouse/window", data=json.dumps({"open": True}))
        assert answer.status_code == 200
        then = Climate(**(await heard.next("climate_update"))["data"])
        assert then == Climate(first.temperature, window_open=True)


@virtual_time
async def test_only_beds_that_are_there_are_watered() -> None:
    async with running_module("greenhouse.actors", beds=["basil"]) as module:
        tasks = module.services.tasks
        task = await tasks.start("water", {"bed": "basil", "litres": 3})
        assert (await tasks.wait(task.task_id)).result == {"litres": 3}
        answer = await module.client.post("/api/tasks", json={"job": "water", "params": {"bed": "roses"}})
        assert answer.status_code == 400
