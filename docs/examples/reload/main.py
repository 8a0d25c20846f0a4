"""Counts clicks; on SIGHUP it goes on counting with the code that ``counter.py`` has now."""

import signal

import trio
from messages import Click

from supervisors import ChildSpec, Ref, ReloadFailed, SupervisorSpec, open_tree


async def user(counter: Ref[Click]) -> None:
    while True:
        await counter.cast(Click("the door"))
        await trio.sleep(0.1)


async def main() -> None:
    counter: Ref[Click] = Ref("counter")
    spec = SupervisorSpec(
        [
            ChildSpec("counter", "counter:Counter", ref=counter),
            ChildSpec("user", user, args=(counter,)),
        ]
    )
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        async with open_tree(spec) as tree:
            async for _ in hangups:
                try:
                    await tree.reload_child("counter")
                    print("reloaded", flush=True)
                except ReloadFailed as failed:
                    print(failed, flush=True)


if __name__ == "__main__":
    trio.run(main)
