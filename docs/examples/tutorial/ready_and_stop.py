"""Children that say when they are up, and that are asked before they are stopped."""

import trio

from supervisors import ChildSpec, SupervisorSpec, open_tree


async def database(task_status: trio.TaskStatus[None], stopping: trio.Event) -> None:
    print("database: opening")
    await trio.sleep(1)
    task_status.started()
    print("database: up")
    await stopping.wait()
    print("database: writing what is left")
    await trio.sleep(0.5)


async def thermometer(task_status: trio.TaskStatus[None]) -> None:
    print("thermometer: up")
    task_status.started()
    try:
        await trio.sleep_forever()
    finally:
        print("thermometer: down")


async def main() -> None:
    spec = SupervisorSpec([ChildSpec("database", database), ChildSpec("thermometer", thermometer)])
    async with open_tree(spec):
        print("the tree is up")
        await trio.sleep(1)
    print("the tree is down")


if __name__ == "__main__":
    trio.run(main)
