"""The actor module of the benchmark: publishes to the topic ``load`` what a datagram asks for.

Nothing that a user's own module could not do, and nothing else than ``hub.publish_nowait``.
"""

from __future__ import annotations

import time

import trio

from realtime.actors.broadcaster import RESTART
from realtime.plugins import Services
from supervisors import ChildSpec

ENVELOPE = len('{"type":"load","topic":"load","offset":12345,"data":{"at":,"pad":""}}')
"""Bytes around the two values of a message; its offset may have some digits more or less."""


class Load:
    """Publishes at commands ``PER SIZE``: so many messages, of about so many bytes each, in one go."""

    def __init__(self, services: Services, port: int) -> None:
        self.hub = services.hub
        self.port = port

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Obey for ever: the supervised child."""
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as commands:
            await commands.bind(("127.0.0.1", self.port))
            task_status.started()
            while True:
                per, size = map(int, (await commands.recv(64)).split())
                for _ in range(per):
                    self.publish(size)

    def publish(self, size: int) -> None:
        at = time.monotonic_ns()
        pad = "x" * (size - ENVELOPE - len(str(at)))
        self.hub.publish_nowait("load", "load", {"at": at, "pad": pad})


def children(services: Services, *, port: int) -> list[ChildSpec]:
    """The actor module's entry point; *port* is the UDP port of the commands."""
    services.hub.declare("load")
    return [ChildSpec("load", Load(services, port).run, backoff=RESTART)]
