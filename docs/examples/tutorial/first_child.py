"""A thermometer that fails now and then, and is back at once."""

import trio

from supervisors import ChildSpec, SupervisorSpec, open_tree


async def thermometer() -> None:
    print("the thermometer starts")
    for degrees in (20.5, 20.7):
        print(f"{degrees} degrees")
        await trio.sleep(0.4)
    raise OSError("the sensor does not answer")


async def main() -> None:
    spec = SupervisorSpec([ChildSpec("thermometer", thermometer)])
    async with open_tree(spec):
        await trio.sleep(2.2)
    print("the tree is down")


if __name__ == "__main__":
    trio.run(main)
