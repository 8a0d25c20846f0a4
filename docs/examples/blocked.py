"""A child that computes where it should wait, found by the watchdog and seen in a dump."""

import logging
import sys
import time

import trio

from supervisors import ChildSpec, SupervisorSpec, Watchdog, dump, open_tree


def crunch(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))


async def cruncher() -> None:
    await trio.sleep(0.1)
    crunch(0.5)
    await trio.sleep_forever()


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    spec = SupervisorSpec([ChildSpec("cruncher", cruncher)])
    async with open_tree(spec, watchdog=Watchdog(threshold=0.1)) as tree:
        await trio.sleep(1)
        print(tree.find("cruncher").stats["loop_blocked"])
        print(dump(tree))


if __name__ == "__main__":
    trio.run(main)
