"""Ends in an orderly way on SIGTERM and Ctrl-C, within eleven seconds whatever its children do."""

import os
import signal
import threading

import trio

from supervisors import ChildSpec, SupervisorSpec, open_tree

PATIENCE = 10.0  # seconds for the tree; less than whoever sends SIGTERM waits before SIGKILL
STUCK = 70  # exit status: an internal error, after sysexits.h


async def consumer(stopping: trio.Event) -> None:
    while not stopping.is_set():
        print("takes a job", flush=True)
        await trio.sleep(0.1)
    print("finishes the last job", flush=True)


def end_process_after(seconds: float) -> None:
    """From a thread: a loop that is blocked runs no task."""
    timer = threading.Timer(seconds, os._exit, args=(STUCK,))
    timer.daemon = True
    timer.start()


async def main() -> None:
    # Around the tree, so that a signal that comes while it starts is not lost.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_tree(SupervisorSpec([ChildSpec("consumer", consumer, shutdown=5)])) as tree:
            await anext(signals)
            print("stopping", flush=True)
            end_process_after(PATIENCE + 1)
            await tree.stop(deadline=trio.current_time() + PATIENCE)
    print("stopped", flush=True)


if __name__ == "__main__":
    trio.run(main)
