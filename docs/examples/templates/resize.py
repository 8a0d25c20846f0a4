"""Task progress: a job that a client starts by POST /api/tasks and watches at /ws/tasks/<id>."""

import trio

from realtime.actors.progress import ProgressEmitter
from realtime.actors.tasks import job


@job("resize", timeout=60.0)
async def resize(progress: ProgressEmitter, *, pictures: int = 5) -> dict[str, int]:
    for number in range(1, pictures + 1):
        await trio.sleep(0.1)  # in truth: the work
        progress.update("resizing", 100 * number / pictures, f"picture {number} of {pictures}")
    return {"resized": pictures}
