"""The cases of :mod:`tests.bench.supervisors` that Pykka has; its actors are threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

import pykka

from tests.bench.supervisors import CALLS, CASTS


class Echo(pykka.ThreadingActor):
    """Answers what it is asked."""

    def on_receive(self, message: object) -> object:
        return message


async def call() -> float:
    echo = Echo.start()
    began = perf_counter()
    for number in range(CALLS):
        echo.ask(number)
    rate = CALLS / (perf_counter() - began)
    echo.stop()
    return rate


async def cast() -> float:
    echo = Echo.start()
    began = perf_counter()
    for number in range(CASTS):
        echo.tell(number)
    echo.ask(0)
    rate = CASTS / (perf_counter() - began)
    echo.stop()
    return rate


CASES: dict[str, Callable[[], Awaitable[float]]] = {"call, one caller": call, "cast": cast}
