"""Workers that are found by name, and so can be given new code; the module is run anew for each."""

from __future__ import annotations

from typing import Any

from .plans import Garden, Plant, WorkerPlan


async def event(garden: Garden, path: str, plan: WorkerPlan, *, task_status: Any, stopping: Any) -> None:
    await garden.asked_by_event(path, plan, task_status=task_status, stopping=stopping)


async def cleanup(garden: Garden, path: str, plan: WorkerPlan, *, task_status: Any) -> None:
    await garden.asked_by_cancelling(path, plan, task_status=task_status)


class actor(Plant):  # noqa: N801 - its name is that of the way
    """Hands over who it was; what takes over must be of the same path."""

    async def export_state(self) -> str:
        return self.path

    async def on_upgrade(self, state: str) -> None:
        if state != self.path:
            self.garden.faults.append(f"{self.path} was given the state of {state}")
