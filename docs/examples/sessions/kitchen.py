"""Clients call `order`; all connections of their session are told what the kitchen does, and the call is answered."""

import time

import trio

from realtime.actors.methods import Caller, CallRefused, Method, method
from realtime.plugins import Services

MENU = ("omelette", "soup")


def methods(services: Services) -> list[Method]:
    def cook(session: str | None, meal: str) -> str:  # in a thread: it may block
        for step in ("chopping", "frying", "serving"):
            time.sleep(0.2)
            services.emit("kitchen", {"meal": meal, "step": step}, to=f"session/{session}")
        return f"one {meal}, hot"

    @method("order", timeout=30)
    async def order(caller: Caller, meal: str) -> dict[str, str]:
        if meal not in MENU:
            raise CallRefused("not_on_the_menu", f"there is {' and '.join(MENU)} today")
        return {"served": await trio.to_thread.run_sync(cook, caller.session, meal, abandon_on_cancel=True)}

    return [order]
