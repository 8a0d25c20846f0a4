"""Keeps a flaky worker alive, in any Trio program."""

import random

import trio

from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree, render


async def flaky(task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await trio.sleep(random.uniform(0.1, 1.0))
    raise RuntimeError("it happens")


async def steady() -> None:
    await trio.sleep_forever()


async def main() -> None:
    spec = SupervisorSpec(
        [
            ChildSpec("steady", steady),
            ChildSpec("flaky", flaky, backoff=Backoff(first=0.1, maximum=1.0)),
        ]
    )
    async with open_tree(spec, on_event=print) as tree:
        await trio.sleep(3)
        print(render(tree.snapshot()))


if __name__ == "__main__":
    trio.run(main)
