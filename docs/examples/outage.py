"""A shop whose database goes away for half a minute: the page stays up, and the rest heals."""

import trio

from supervisors import Backoff, ChildSpec, SupervisorSpec, open_tree, render


class Database:
    """Stands for a server elsewhere."""

    def __init__(self) -> None:
        self.reachable = True

    async def connect(self) -> None:
        await trio.sleep(0.1)
        if not self.reachable:
            raise OSError("the database does not answer")


OUTSIDE = Backoff(first=0.5, maximum=5.0)


async def orders(database: Database, task_status: trio.TaskStatus[None]) -> None:
    """Needs the database, so every failure of it is one of ours."""
    await database.connect()
    task_status.started()
    while True:
        await trio.sleep(1)
        await database.connect()


async def page(task_status: trio.TaskStatus[None]) -> None:
    """Needs nobody."""
    task_status.started()
    await trio.sleep_forever()


def shop(database: Database) -> SupervisorSpec:
    return SupervisorSpec(
        [
            ChildSpec("page", page),
            ChildSpec("orders", orders, args=(database,), backoff=OUTSIDE),
        ]
    )


async def main() -> None:
    database = Database()
    async with open_tree(shop(database), id="shop") as tree:
        database.reachable = False
        await trio.sleep(30)
        print(render(tree.snapshot()))
        database.reachable = True
        await trio.sleep(15)
        print(render(tree.snapshot()))


if __name__ == "__main__":
    trio.run(main)
