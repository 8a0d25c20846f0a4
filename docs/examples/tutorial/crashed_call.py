"""What a caller learns when the actor crashes over its request."""

import trio
from journal import Journal, Mean, Reading

from supervisors import ActorCrashed, ChildSpec, Ref, SupervisorSpec, open_tree


async def main() -> None:
    journal: Ref[Reading] = Ref("journal")
    async with open_tree(SupervisorSpec([ChildSpec("journal", Journal, ref=journal)])):
        try:
            await journal.call(Mean())
        except ActorCrashed as crashed:
            print(f"{crashed}: {crashed.__cause__!r}")
        await journal.cast(Reading(21.5))
        mean = await journal.call(Mean())
        print(f"mean: {mean:.1f} degrees")


if __name__ == "__main__":
    trio.run(main)
