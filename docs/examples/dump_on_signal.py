"""A program that writes a dump of its tree to the standard error output on SIGUSR1."""

import trio

from supervisors import ChildSpec, SupervisorSpec, Tree, dump_on_signal, open_tree


async def worker() -> None:
    await trio.sleep_forever()


async def main() -> None:
    def this_tree() -> Tree:  # which does not exist yet
        return tree

    spec = SupervisorSpec(
        [
            ChildSpec("worker", worker),
            ChildSpec("dump", dump_on_signal, args=(this_tree,)),
        ]
    )
    async with open_tree(spec) as tree:
        print("up", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
