"""Two workers at the same moment: which of them is first must not matter."""

import trio

from supervisors import Actor, ChildSpec, Ref, SupervisorSpec
from supervisors.testing import running, virtual_time


class Highest(Actor[int]):
    """Keeps the highest number that it was told."""

    def __init__(self) -> None:
        self.highest = 0

    async def handle_cast(self, message: int) -> None:
        self.highest = max(self.highest, message)  # "= message" would do for one order in five

    async def handle_call(self, request: object) -> int:
        return self.highest


async def tell_after_a_second(highest: Ref[int], number: int) -> None:
    await trio.sleep(1)
    await highest.cast(number)


@virtual_time(schedules=50)
async def test_the_last_word_is_not_the_highest() -> None:
    highest: Ref[int] = Ref("highest")
    tellers = [
        ChildSpec(f"teller-{number}", tell_after_a_second, (highest, number), restart="transient")
        for number in range(5)
    ]
    async with running(SupervisorSpec([ChildSpec("highest", Highest, ref=highest), *tellers])):
        await trio.sleep(2)
        assert await highest.call(0) == 4
