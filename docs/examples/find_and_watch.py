"""An actor that finds another by its name, and is told when that one's life ends."""

import trio

from supervisors import Actor, ChildSpec, Down, Registry, SupervisorSpec, open_tree


class Printer(Actor[str]):
    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def on_start(self) -> None:
        self.registry.register("printer", self.context.ref)

    async def handle_cast(self, message: str) -> None:
        print(f"printed: {message}")


class Office(Actor[Down]):
    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def on_continue(self) -> None:
        printer = await self.registry.wait_for("printer")
        self.monitor(printer)
        await printer.cast("good morning")

    async def handle_cast(self, message: Down) -> None:
        ended = "was not running" if message.exit is None else message.exit.reason
        print(f"{message.path}, generation {message.generation}: {ended}")


async def main() -> None:
    registry = Registry()
    spec = SupervisorSpec(
        [
            ChildSpec("office", Office, args=(registry,)),
            ChildSpec("printer", Printer, args=(registry,)),
        ]
    )
    async with open_tree(spec) as tree:
        await trio.sleep(1)
        tree.crash("printer", RuntimeError("out of paper"))
        await trio.sleep(1)
        print(f"{registry.whereis('printer')} is on generation {tree.find('printer').generation}")


if __name__ == "__main__":
    trio.run(main)
