"""Actors and children that several tests use."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import trio

from supervisors import Actor, ChildSpec, Ref, SupervisorSpec


class Crash(Exception):
    """What children of these tests crash with."""


async def fails_in_cleanup() -> None:
    """Runs until it is cancelled, and crashes then."""
    try:
        await trio.sleep_forever()
    finally:
        raise Crash


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


class Lives:
    """Children as plain functions, and a diary of what they do: ``(id, what, seconds since the beginning)``."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str, float]] = []
        self.began = trio.current_time()

    def note(self, id: str, what: str) -> None:
        self.log.append((id, what, trio.current_time() - self.began))

    def of(self, what: str, id: str | None = None) -> list[float]:
        """When *what* happened, to *id* or to anyone."""
        return [at for name, happened, at in self.log if happened == what and id in (None, name)]

    def spec(
        self, id: str, *, start: float = 0.0, stop: float = 0.0, fails: Any = (), asked: bool = False, **options: Any
    ) -> ChildSpec:
        """A child that takes *start* seconds to come up and *stop* seconds to end once it is told to.

        The attempts whose numbers are in *fails* fail to start.  *asked*: it is told by the event, not by cancelling.
        """
        attempts = count(1)

        async def live(*, task_status: Any, stopping: trio.Event) -> None:
            self.note(id, "begin")
            await trio.sleep(start)
            if next(attempts) in fails:
                raise Crash(f"{id} fails to start")
            self.note(id, "up")
            task_status.started(id)
            try:
                await stopping.wait()
                self.note(id, "asked")
                await trio.sleep(stop)
            finally:
                self.note(id, "end")

        async def live_until_cancelled(*, task_status: Any) -> None:
            try:
                await live(task_status=task_status, stopping=trio.Event())
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(stop)
                raise

        return ChildSpec(id, live if asked else live_until_cancelled, **options)
