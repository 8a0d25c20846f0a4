"""Rules that hold whatever happens and however it overlaps, checked from the events and the looks of a tree.

The auditor knows the plan and the events; it asks the package for nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque

import attrs

from supervisors import (
    Event,
    Exited,
    HealthChanged,
    Ignored,
    Node,
    Removed,
    RestartDelayed,
    Restarting,
    Started,
    StartFailed,
    Stuck,
)

from .plans import Garden, Plan, SupervisorPlan, WorkerPlan


@attrs.define
class Seen:
    """What the events have said of one path so far."""

    generation: int = 0
    up_since: float | None = None
    removed: bool = False


def parent_of(path: str) -> str:
    return path.rpartition("/")[0]


class Auditor:
    """Give it to ``open_tree`` as the hook; it collects faults, since a hook must not raise."""

    def __init__(self, root: SupervisorPlan, garden: Garden) -> None:
        self.garden = garden
        self.plans: dict[str, Plan] = {}
        self.learn(root, "")
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)
        self.charged: defaultdict[str, deque[float]] = defaultdict(deque)
        self.last = 0.0
        self.faults: list[str] = []
        self.over = False

    def learn(self, plan: Plan, path: str) -> None:
        """A child of this plan may come to be at *path*."""
        self.plans[path] = plan
        if isinstance(plan, SupervisorPlan):
            for child in plan.children:
                self.learn(child, f"{path}/{child.id}" if path else child.id)

    def longest(self) -> float:
        """Seconds in which all that is known is stopped and started one after the other, with a delay between."""
        workers = [plan for plan in self.plans.values() if isinstance(plan, WorkerPlan)]
        return 16.0 + sum(plan.start + plan.stop for plan in workers)  # 8 s for a delay, 5 s until all count as healthy

    def planned_failures(self) -> int:
        """The attempts that are to fail."""
        return sum(len(plan.fails) for plan in self.plans.values() if isinstance(plan, WorkerPlan))

    def expect(self, condition: bool, fault: str) -> None:
        if not condition:
            self.faults.append(fault)

    # ------------------------------------------------------------------- events

    def __call__(self, event: Event) -> None:
        self.expect(not self.over, f"{event} after the end")
        self.expect(event.at >= self.last, f"{event} before {self.last}")
        self.last = event.at
        seen, plan = self.seen[event.path], self.plans[event.path]
        if isinstance(event, Started):
            self.started(event, seen, plan)
        elif isinstance(event, Exited):
            self.exited(event, seen, plan)
        elif isinstance(event, Restarting):
            self.restarting(event, seen, plan)
        elif isinstance(event, Removed):
            self.expect(seen.up_since is None, f"{event} while it is up")
            seen.removed = True
        elif isinstance(event, RestartDelayed):
            backoff = plan.backoff
            assert backoff is not None
            ceiling = min(backoff.maximum, backoff.first * 2 ** (event.failures - 2))
            self.expect(0 <= event.delay <= ceiling, f"{event} over {ceiling}")
            self.expect(event.failures < (backoff.max_failures or 10**9), f"{event} and not given up")
            self.expect(seen.up_since is None, f"{event} while it is up")
        elif isinstance(event, StartFailed | Ignored):
            self.expect(seen.up_since is None, f"{event} while it is up")
        elif isinstance(event, Stuck):
            self.expect(isinstance(plan, WorkerPlan) and plan.way == "cleanup" and plan.stop >= 1, f"{event}: not deaf")
        elif isinstance(event, HealthChanged):
            self.expect(seen.up_since is not None, f"{event} while it is down")
            healthy = 5.0 if plan.backoff is None else plan.backoff.healthy_uptime
            # As the supervisor adds it up: a difference of large times would be off by their rounding.
            self.expect(event.at >= (seen.up_since or 0) + healthy, f"{event} too early")
        if event.path == "" and isinstance(event, Exited | StartFailed):
            self.over = True

    def started(self, event: Started, seen: Seen, plan: Plan) -> None:
        self.expect(seen.up_since is None, f"{event} while it is up")
        fresh = seen.removed and event.generation == 1
        self.expect(fresh or event.generation == seen.generation + 1, f"{event} after generation {seen.generation}")
        if plan.restart == "temporary" and event.path:
            again = seen.generation > 0 and not seen.removed
            self.expect(not again, f"{event}: a temporary child came back")
        if isinstance(plan, SupervisorPlan):
            self.charged[event.path].clear()
            # Those that ended by themselves meanwhile have said so; none can have been skipped.
            for child in plan.children:
                path = f"{event.path}/{child.id}" if event.path else child.id
                self.expect(self.seen[path].generation > 0, f"{event} before {path}")
        seen.generation, seen.up_since, seen.removed = event.generation, event.at, False

    def exited(self, event: Exited, seen: Seen, plan: Plan) -> None:
        self.expect(seen.up_since is not None, f"{event} while it is down")
        self.expect(event.generation == seen.generation, f"{event} of generation {seen.generation}")
        self.expect(event.uptime == event.at - (seen.up_since or 0), f"{event} since {seen.up_since}")
        seen.up_since = None
        if isinstance(plan, SupervisorPlan):
            left = [path for path in self.up() if is_below(path, event.path)]
            self.expect(not left, f"{event} with {left} left up")
            alive = [path for path in self.garden.alive() if is_below(path, event.path)]
            self.expect(not alive, f"{event} with {alive} left alive")

    def restarting(self, event: Restarting, seen: Seen, plan: Plan) -> None:
        self.expect(seen.up_since is None, f"{event} while it is up")
        self.expect(plan.restart != "temporary", f"{event}: it is temporary")
        self.expect((event.left is None) == (plan.backoff is not None), f"{event}: who pays?")
        if event.left is None:
            return
        parent = self.plans[parent_of(event.path)]
        assert isinstance(parent, SupervisorPlan)
        window = self.charged[parent_of(event.path)]
        window.append(event.at)
        while event.at - window[0] > parent.max_seconds:
            window.popleft()
        self.expect(len(window) <= parent.max_restarts, f"{event} is number {len(window)} of {parent.max_restarts}")
        self.expect(event.left == parent.max_restarts - len(window), f"{event} with {len(window)} in the window")

    def up(self) -> set[str]:
        """The paths of all that is up, by what the events have said."""
        return {path for path, seen in self.seen.items() if seen.up_since is not None}

    # -------------------------------------------------------------------- looks

    def look(self, root: Node) -> None:
        """Compare a snapshot, taken when no task had anything to do, with the events and the tasks there are."""
        nodes = {node.path: node for node in root.walk()}
        shown = {path for path, node in nodes.items() if node.uptime is not None}
        self.expect(shown == self.up(), f"shown up: {sorted(shown)}, said up: {sorted(self.up())}")
        busy = {p for p, n in nodes.items() if n.kind == "worker" and n.state in ("starting", "running", "stopping")}
        self.expect(busy == self.garden.alive(), f"shown {sorted(busy)}, alive {sorted(self.garden.alive())}")
        for node in nodes.values():
            self.look_at(node)

    def look_at(self, node: Node) -> None:
        plan = self.plans[node.path]
        self.expect((node.uptime is not None) <= (node.state in ("running", "stopping")), f"{node.path}: {node.state}")
        self.expect((node.state == "running") <= (node.uptime is not None), f"{node.path} runs and is not up")
        self.expect((node.state == "failed") == (node.health == "failing"), f"{node.path}: {node.state}, {node.health}")
        self.expect((node.health != "ok") == bool(node.reasons), f"{node.path}: {node.health} for {node.reasons}")
        if node.children is None:
            return
        assert isinstance(plan, SupervisorPlan)
        states = [child.state for child in node.children]
        if node.state not in ("starting", "running", "stopping"):
            active = [state for state in states if state not in ("stopped", "failed")]
            self.expect(not active, f"{node.path} is {node.state} with children {states}")
        self.expect(node.budget is not None and node.budget.left >= 0, f"{node.path}: {node.budget}")
        troubled = any(child.health != "ok" for child in node.children)
        self.expect(not troubled or node.health != "ok", f"{node.path} is ok and its children are not")
        if plan.dynamic:
            return
        self.expect(states.count("starting") <= 1, f"{node.path} starts two at once: {states}")
        if node.state == "starting" and "starting" in states:
            later = states[states.index("starting") + 1 :]
            self.expect(set(later) <= {"stopped"}, f"{node.path} did not start in order: {states}")


def is_below(path: str, above: str) -> bool:
    return path != above and (not above or path.startswith(f"{above}/"))
