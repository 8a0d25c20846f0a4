"""Actors and children that several tests use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from supervisors import Actor, ChildSpec, Ref, SupervisorSpec


class Crash(Exception):
    """What children of these tests crash with."""


class Echo(Actor[Any]):
    """Replies what it is asked; does what it is told.

    ``("sleep", seconds)`` takes its time, ``("raise", error)`` crashes, ``("call", ref, request)`` asks another.
    """

    def __init__(self, log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log

    async def on_stop(self) -> None:
        self.log.append("on_stop")

    async def handle_call(self, request: Any) -> object:
        self.log.append(request)
        return await self.do(request)

    async def handle_cast(self, message: Any) -> None:
        self.log.append(message)
        await self.do(message)

    async def do(self, what: Any) -> object:
        match what:
            case ("sleep", seconds):
                await trio.sleep(seconds)
                return "slept"
            case ("raise", error):
                raise error
            case ("call", ref, request):
                return await ref.call(request)
        return what

    def statistics(self) -> Mapping[str, object]:
        return {"handled": len(self.log)}


def actor(id: str, log: list[Any] | None = None, **options: Any) -> tuple[ChildSpec, Ref[Any]]:
    """The spec of an :class:`Echo`, and its ref."""
    ref: Ref[Any] = Ref(id)
    return ChildSpec(id, Echo, (log,), ref=ref, **options), ref


def one(spec: ChildSpec, **options: Any) -> SupervisorSpec:
    """A supervisor of one child."""
    return SupervisorSpec([spec], **options)
