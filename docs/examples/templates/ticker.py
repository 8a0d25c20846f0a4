"""A clock: the time of the server's own zone, each second, and at once to whoever subscribes."""

from datetime import datetime

from realtime.actors.declared import periodic


@periodic(every=1.0, topic="ticker", type="time_update")
async def ticker() -> dict[str, str]:
    return {"local_time": datetime.now().astimezone().isoformat(timespec="seconds")}
