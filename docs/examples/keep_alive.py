"""Keeps a flaky worker and an external program alive until Ctrl-C or SIGTERM.

``python keep_alive.py`` runs a little program of its own; with arguments, as in
``python keep_alive.py redis-server --port 0``, it runs that.  Kill it and watch it come back.
"""

import logging
import random
import signal
import sys

import trio

from supervisors import (
    Backoff,
    ChildSpec,
    Command,
    Event,
    Exited,
    Line,
    RestartDelayed,
    Restarting,
    Started,
    SupervisorSpec,
    open_tree,
    render,
)

TICKER = """
import os, time
print("ready as process", os.getpid(), flush=True)
while True:
    time.sleep(1)
    print("tick", flush=True)
"""


async def flaky() -> None:
    """Works for a while, then fails."""
    await trio.sleep(random.uniform(0.1, 1.0))
    raise RuntimeError("it happens")


def tell(event: Event) -> None:
    who = event.path or "the tree"
    if isinstance(event, Started):
        print(f"{who} is up, generation {event.generation}", flush=True)
    elif isinstance(event, Exited):
        print(f"{who} has ended after {event.uptime:.1f} s: {event.exit.reason}", flush=True)
    elif isinstance(event, Restarting):
        print(f"{who} is restarted at once", flush=True)
    elif isinstance(event, RestartDelayed):
        print(f"{who} is restarted in {event.delay:.1f} s", flush=True)


def spec(argv: list[str]) -> SupervisorSpec:
    """The worker, and the program of *argv* or our own."""
    ticker = Command([sys.executable, "-c", TICKER], ready=Line(rb"^ready"))
    program = Command(argv) if argv else ticker
    retry = Backoff(first=0.2, maximum=2.0)
    return SupervisorSpec(
        [
            ChildSpec("flaky", flaky, backoff=retry),
            ChildSpec("program", program, backoff=retry),
        ]
    )


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_tree(spec(sys.argv[1:]), id="keep_alive", on_event=tell) as tree:
            await anext(signals)
            print(render(tree.snapshot()), flush=True)
            await tree.stop(deadline=trio.current_time() + 10)


if __name__ == "__main__":
    trio.run(main)
