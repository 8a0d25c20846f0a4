"""Calls that cannot be answered yet: put aside until there is an answer, or answered by a task."""

import trio

from supervisors import (
    Actor,
    ChildSpec,
    Deferred,
    DynamicSupervisorSpec,
    Ref,
    Request,
    SupervisorSpec,
    TaskSupervisor,
    open_tree,
)


class Price(Request[float]):
    """What does it cost?  Known once somebody has said so."""


class Shop(Actor[float]):
    """Puts the calls aside that come before it knows the price."""

    async def on_start(self) -> None:
        self.price: float | None = None

    async def handle_cast(self, message: float) -> None:
        self.price = message
        self.unstash_all()

    async def handle_call(self, request: Price) -> float | None:
        if self.price is None:
            self.stash(request)
        return self.price


class LookUp(Request[str]):
    """Who is it?  It takes a second to find out."""


class Directory(Actor[str]):
    """Lets tasks find the answers, and takes the next call meanwhile."""

    def __init__(self, tasks: TaskSupervisor) -> None:
        self.tasks = tasks

    async def handle_call(self, request: LookUp) -> None:
        self.tasks.start_task(self.look_up, self.defer())

    async def look_up(self, later: Deferred) -> None:
        await trio.sleep(1)
        later.reply("ada")


async def ask(name: str, ref: Ref[str], began: float) -> None:
    answer = await ref.call(LookUp())
    print(f"{name} has {answer!r} after {trio.current_time() - began:.1f} s")


async def main() -> None:
    shop: Ref[float] = Ref("shop")
    directory: Ref[str] = Ref("directory")
    tasks = TaskSupervisor()
    spec = SupervisorSpec(
        [
            ChildSpec("tasks", DynamicSupervisorSpec(max_children=100), ref=tasks),
            ChildSpec("shop", Shop, ref=shop),
            ChildSpec("directory", Directory, args=(tasks,), ref=directory),
        ]
    )
    async with open_tree(spec), trio.open_nursery() as nursery:
        price = tasks.start_task(shop.call, Price())
        await shop.cast(4.20)
        print(f"it costs {await price.result():.2f}")

        began = trio.current_time()
        nursery.start_soon(ask, "one", directory, began)
        await trio.sleep(0.1)
        nursery.start_soon(ask, "two", directory, began)


if __name__ == "__main__":
    trio.run(main)
