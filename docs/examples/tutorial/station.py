"""A weather station: the whole tree on one screen."""

import trio
from journal import Journal, Mean, Reading

from supervisors import (
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    Event,
    Exited,
    Ref,
    Started,
    SupervisorRef,
    SupervisorSpec,
    open_tree,
    render,
)


async def bus(task_status: trio.TaskStatus[None]) -> None:
    """Holds the connection that all sensors share."""
    task_status.started()
    await trio.sleep_forever()


async def thermometer(journal: Ref[Reading], interval: float) -> None:
    while True:
        await journal.cast(Reading(20.5))
        await trio.sleep(interval)


async def visitor(name: str, journal: Ref[Reading]) -> None:
    """Looks at the mean for a while and leaves."""
    for _ in range(2):
        await trio.sleep(0.5)
        mean = await journal.call(Mean())
        print(f"{name} reads {mean:.1f} degrees")


class Station:
    """The refs that the parts share, and the tree that is made of them."""

    def __init__(self, interval: float = 0.4) -> None:
        self.interval = interval
        self.journal: Ref[Reading] = Ref("journal")
        self.visitors = SupervisorRef("visitors")

    def spec(self) -> SupervisorSpec:
        retry = Backoff(first=0.5, maximum=5.0)
        sensors = SupervisorSpec(
            [
                ChildSpec("bus", bus, backoff=retry),
                ChildSpec("thermometer", thermometer, args=(self.journal, self.interval), backoff=retry),
            ],
            strategy="rest_for_one",
        )
        return SupervisorSpec(
            [
                ChildSpec("journal", Journal, ref=self.journal),
                ChildSpec("sensors", sensors),
                ChildSpec("visitors", DynamicSupervisorSpec(max_children=100), ref=self.visitors),
            ]
        )

    async def welcome(self, name: str) -> None:
        """Start a visitor; it is forgotten when it has left."""
        spec = ChildSpec(name, visitor, args=(name, self.journal), restart="temporary")
        await self.visitors.start_child(spec)


def tell(event: Event) -> None:
    if isinstance(event, Started | Exited):
        print(f"{type(event).__name__.lower()}: {event.path or 'root'}")


async def main() -> None:
    station = Station()
    async with open_tree(station.spec(), id="station", on_event=tell) as tree:
        await trio.sleep(1.1)
        print(render(tree.snapshot()))
        tree.crash("sensors/bus", OSError("the plug was pulled"))
        await trio.sleep(0.1)
        print(render(tree.snapshot()))
        await station.welcome("ada")
        await trio.sleep(1.4)


if __name__ == "__main__":
    trio.run(main)
