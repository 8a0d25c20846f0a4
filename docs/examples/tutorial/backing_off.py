"""A thermometer whose sensor is unplugged for a while: tried again, less and less often."""

import trio

from supervisors import Backoff, ChildSpec, Event, RestartDelayed, SupervisorSpec, open_tree

PLUGGED_IN_AGAIN = 8.0  # seconds from the start


async def thermometer(began: float) -> None:
    if trio.current_time() < began + PLUGGED_IN_AGAIN:
        raise OSError("the sensor does not answer")
    print("20.5 degrees")
    await trio.sleep_forever()


def tell(event: Event) -> None:
    if isinstance(event, RestartDelayed):
        print(f"failure {event.failures} in a row, next attempt in {event.delay:.1f} s")


async def main() -> None:
    backoff = Backoff(first=0.5, maximum=5.0)
    child = ChildSpec("thermometer", thermometer, args=(trio.current_time(),), backoff=backoff)
    async with open_tree(SupervisorSpec([child]), on_event=tell):
        await trio.sleep(15)


if __name__ == "__main__":
    trio.run(main)
