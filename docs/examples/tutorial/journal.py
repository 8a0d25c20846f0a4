"""An actor that keeps what others send it and answers what they ask."""

from dataclasses import dataclass

import trio

from supervisors import Actor, ChildSpec, Ref, Request, SupervisorSpec, open_tree


@dataclass(frozen=True)
class Reading:
    """A message: no reply."""

    degrees: float


class Mean(Request[float]):
    """A request: its reply is a float."""


class Journal(Actor[Reading | str]):
    async def on_start(self) -> None:
        self.readings: list[float] = []
        self.every(1.0, "report")

    async def handle_cast(self, message: Reading | str) -> None:
        if message == "report":
            print(f"{len(self.readings)} readings so far")
        elif isinstance(message, Reading):
            self.readings.append(message.degrees)

    async def handle_call(self, request: Mean) -> float:
        return sum(self.readings) / len(self.readings)


async def thermometer(journal: Ref[Reading]) -> None:
    for degrees in (20.5, 20.7, 20.9):
        await journal.cast(Reading(degrees))
        await trio.sleep(0.4)
    await trio.sleep_forever()


async def main() -> None:
    journal: Ref[Reading] = Ref("journal")
    spec = SupervisorSpec(
        [
            ChildSpec("journal", Journal, ref=journal),
            ChildSpec("thermometer", thermometer, args=(journal,)),
        ]
    )
    async with open_tree(spec):
        await trio.sleep(1.5)
        mean = await journal.call(Mean())
        print(f"mean: {mean:.1f} degrees")


if __name__ == "__main__":
    trio.run(main)
