"""Waiting for what tells nobody: files, threads, and the state of what is tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What *condition* returns, once that is true; it is asked again and again for *seconds*."""
    with trio.fail_after(seconds):
        while not (found := condition()):  # noqa: ASYNC110
            await trio.sleep(0.005)
    return found
