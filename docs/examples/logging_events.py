"""Events as log lines, and figures that are asked for."""

import logging

import trio

from supervisors import (
    Backoff,
    ChildSpec,
    Event,
    GaveUp,
    RestartDelayed,
    Stuck,
    SupervisorSpec,
    Tree,
    open_tree,
)

logger = logging.getLogger("tree")


def log(event: Event) -> None:
    level = logging.WARNING if isinstance(event, GaveUp | Stuck | RestartDelayed) else logging.INFO
    error = getattr(event, "error", None)
    logger.log(level, "%s: %s", type(event).__name__, event.path or "root", exc_info=error)


def waiting(tree: Tree) -> dict[str, int]:
    """How many messages wait for each actor."""
    return {node.path: node.mailbox.depth for node in tree.snapshot().walk() if node.mailbox}


async def worker() -> None:
    raise RuntimeError("it happens")


async def main() -> None:
    logging.basicConfig(level=logging.INFO)
    spec = SupervisorSpec([ChildSpec("worker", worker, backoff=Backoff())])
    async with open_tree(spec, on_event=log) as tree:
        await trio.sleep(1)
        print(waiting(tree))


if __name__ == "__main__":
    trio.run(main)
