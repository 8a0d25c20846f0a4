"""A thermometer that fails too often: its supervisor gives up, and says why."""

import trio

from supervisors import ChildSpec, RestartIntensityExceeded, SupervisorSpec, open_tree


async def thermometer() -> None:
    await trio.sleep(0.4)
    raise OSError("the sensor does not answer")


async def main() -> None:
    spec = SupervisorSpec([ChildSpec("thermometer", thermometer)], max_restarts=3, max_seconds=5)
    try:
        async with open_tree(spec):
            await trio.sleep_forever()
    except RestartIntensityExceeded as gave_up:
        print(gave_up)
        for failure in gave_up.exceptions:
            print(f"- {failure!r}: {'; '.join(failure.__notes__)}")


if __name__ == "__main__":
    trio.run(main)
