"""What a tree of plans is to do, written down a second time: no Trio, no tasks, a clock that is a number.

It follows OTP's rules one thing after the other, and so holds for trees that are left alone until they are quiet after
each thing that happens to them.  Nothing of the package's own policies is used.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from supervisors import BRUTAL_KILL

from .plans import Plan, SupervisorPlan, WorkerPlan


@attrs.define(eq=False)
class Record:
    """A child as its supervisor knows it."""

    plan: Plan
    path: str
    parent: Record | None
    state: str = "stopped"
    generation: int = 0
    started_at: float = 0.0
    failures: int = 0
    children: list[Record] = attrs.field(factory=list)
    planned: list[Record] = attrs.field(factory=list)
    charged: list[float] = attrs.field(factory=list)

    @property
    def up(self) -> bool:
        return self.state == "running"

    def child(self, id: str) -> Record | None:
        return next((child for child in self.children if child.plan.id == id), None)

    def walk(self) -> list[Record]:
        return [self, *(below for child in self.children for below in child.walk())]


class Model:
    """The expected tree: its records, the time, and what has happened since it was last asked."""

    def __init__(self, plan: SupervisorPlan, now: float) -> None:
        self.now = now
        self.attempts: Counter[str] = Counter()
        self.events: list[tuple[str, str, int, float]] = []
        self.root = self.record(plan, None)
        self.started = self.start(self.root)

    def record(self, plan: Plan, parent: Record | None) -> Record:
        path = "" if parent is None else f"{parent.path}/{plan.id}" if parent.path else plan.id
        record = Record(plan, path, parent)
        if isinstance(plan, SupervisorPlan):
            record.planned = [self.record(child, record) for child in plan.children]
        return record

    def note(self, what: str, record: Record) -> None:
        self.events.append((what, record.path, record.generation, self.now))

    # -------------------------------------------------------------------- start

    def start(self, record: Record) -> bool:
        """Start *record* and what is below; False, with everything down again, if it fails."""
        plan = record.plan
        if isinstance(plan, WorkerPlan):
            self.attempts[record.path] += 1
            self.now += min(plan.start, plan.start_timeout)
            if plan.start > plan.start_timeout or self.attempts[record.path] in plan.fails:
                record.state = "stopped"
                return False
        else:
            record.charged = []
            record.children = list(record.planned)
            for child in list(record.children):
                if not self.start(child):
                    self.stop_children(record)
                    return False
        record.state = "running"
        record.generation += 1
        record.started_at = self.now
        self.note("started", record)
        return True

    # --------------------------------------------------------------------- stop

    def stop(self, record: Record) -> None:
        """Bring *record* down in an orderly way; it rests, and is forgotten if it is temporary."""
        if record.up:
            if isinstance(record.plan, WorkerPlan):
                self.now += asked_takes(record.plan)
            else:
                self.stop_children(record)
            record.state = "stopped"
            self.note("exited", record)
        self.rest(record)

    def stop_children(self, record: Record) -> None:
        assert isinstance(record.plan, SupervisorPlan)
        if record.plan.dynamic:
            self.together([(self.stop, child) for child in record.children])
        else:
            for child in reversed(list(record.children)):
                self.stop(child)

    def together(self, actions: list[Any]) -> None:
        """Things that happen at the same time; it is over when the last of them is."""
        began, ends = self.now, [self.now]
        for action, record in actions:
            self.now = began
            action(record)
            ends.append(self.now)
        self.now = max(ends)

    def cut(self, record: Record) -> None:
        """Everything at and below *record* is cancelled at once."""
        if record.up:
            if isinstance(record.plan, WorkerPlan):
                self.now += cancelled_takes(record.plan)
            else:
                self.together([(self.cut, child) for child in list(record.children)])
            record.state = "stopped"
            self.note("exited", record)
        self.rest(record)

    def rest(self, record: Record) -> None:
        """*record* is down and stays down."""
        record.state = "stopped"
        record.failures = 0
        parent = record.parent
        if parent is None or record not in parent.children:
            return
        if record.plan.restart == "temporary" or parent.plan.dynamic:  # type: ignore[union-attr]
            parent.children.remove(record)

    # --------------------------------------------------------------------- ends

    def ends(self, record: Record, reason: str) -> None:
        """*record*, which was up, has ended by itself."""
        uptime = self.now - record.started_at
        record.state = "stopped"
        self.note("exited", record)
        parent = record.parent
        if parent is None:
            return
        restart = record.plan.restart
        if restart == "permanent" or (restart == "transient" and reason in ("crashed", "killed")):
            self.failed(parent, record, uptime)
            return
        self.rest(record)
        plan = parent.plan
        assert isinstance(plan, SupervisorPlan)
        others = [
            child for child in parent.children if child.plan.significant and child.state in ("running", "backing_off")
        ]
        if record.plan.significant and (plan.auto_shutdown == "any_significant" or not others):
            self.gives_up(parent, "shutdown")

    def failed(self, parent: Record, record: Record, uptime: float | None) -> None:
        """*record* is to run and does not: it ended after *uptime* seconds, or its restart failed (None)."""
        plan, backoff = parent.plan, record.plan.backoff
        assert isinstance(plan, SupervisorPlan)
        if backoff is None:
            parent.charged = [at for at in parent.charged if self.now - at <= plan.max_seconds]
            if len(parent.charged) >= plan.max_restarts:
                self.gives_up(parent, "crashed")
                return
            parent.charged.append(self.now)
        else:
            healthy = uptime is not None and uptime >= backoff.healthy_uptime
            record.failures = 1 if healthy else record.failures + 1
            if backoff.max_failures is not None and record.failures >= backoff.max_failures:
                self.stop_group(parent, record)
                record.state = "failed"
                return
            if record.failures > 1:
                self.stop_group(parent, record)
                self.now += 0.5 * min(backoff.maximum, backoff.first * 2 ** (record.failures - 2))
        self.stop_group(parent, record)
        self.start_group(parent, record)

    def group(self, parent: Record, record: Record) -> list[Record]:
        plan = parent.plan
        assert isinstance(plan, SupervisorPlan)
        if plan.dynamic or plan.strategy == "one_for_one":
            return [record]
        place = parent.children.index(record) if plan.strategy == "rest_for_one" else 0
        return parent.children[place:]

    def stop_group(self, parent: Record, record: Record) -> None:
        for other in reversed(self.group(parent, record)):
            if other is not record:
                self.stop(other)

    def start_group(self, parent: Record, record: Record) -> None:
        for member in self.group(parent, record):
            if not member.up and not self.start(member):
                self.failed(parent, member, None)
                return

    def gives_up(self, record: Record, reason: str) -> None:
        self.stop_children(record)
        self.ends(record, reason)

    # --------------------------------------------------------------- operations

    def exit(self, record: Record, how: str) -> None:
        plan = record.plan
        assert isinstance(plan, WorkerPlan)
        self.ends(record, {"crash": "crashed", "shutdown": "shutdown", "return": "normal"}[how])

    def kill(self, record: Record) -> None:
        """The workers of a killed supervisor go with it; the supervisors below it stop in an orderly way."""
        if isinstance(record.plan, WorkerPlan):
            self.now += cancelled_takes(record.plan)
        else:
            supervisors = [child for child in record.children if isinstance(child.plan, SupervisorPlan)]
            workers = [child for child in record.children if isinstance(child.plan, WorkerPlan)]
            self.together([*((self.cut, child) for child in workers), *((self.stop, child) for child in supervisors)])
        self.ends(record, "killed")

    def crash(self, record: Record) -> None:
        if isinstance(record.plan, WorkerPlan):
            self.now += cancelled_takes(record.plan)
        else:
            self.together([(self.cut, child) for child in list(record.children)])
        self.ends(record, "crashed")

    def terminate_child(self, parent: Record, id: str) -> str:
        child = parent.child(id)
        if child is None:
            return "NoSuchChild"
        self.stop(child)
        return "ok"

    def restart_child(self, parent: Record, id: str) -> str:
        """Start a child that is down."""
        if parent.plan.dynamic:  # type: ignore[union-attr]
            return "WrongKind"
        child = parent.child(id)
        if child is None:
            return "NoSuchChild"
        return "ChildRunning" if child.up else self.start_by_hand(parent, child)

    def stop_and_start(self, parent: Record, id: str) -> str:
        """What the tree's own ``restart_child`` does."""
        child = parent.child(id)
        if child is None:
            return "NoSuchChild"
        if parent.plan.dynamic or child.plan.restart == "temporary":  # type: ignore[union-attr]
            return "WrongKind"
        given_up = child.state == "failed"
        self.stop(child)
        child.state = "failed" if given_up else "stopped"
        return self.start_by_hand(parent, child)

    def start_by_hand(self, parent: Record, child: Record) -> str:
        given_up = child.state == "failed"
        child.failures = 0
        if not self.start(child):
            return "StartError"
        if given_up:
            self.start_group(parent, child)
        return "ok"

    def delete_child(self, parent: Record, id: str) -> str:
        if parent.plan.dynamic:  # type: ignore[union-attr]
            return "WrongKind"
        child = parent.child(id)
        if child is None:
            return "NoSuchChild"
        if child.up:
            return "ChildRunning"
        parent.children.remove(child)
        return "ok"

    def start_child(self, parent: Record, plan: WorkerPlan) -> str:
        known = parent.child(plan.id)
        if known is not None:
            return "ChildRunning" if known.up or parent.plan.dynamic else "ChildPresent"  # type: ignore[union-attr]
        child = self.record(plan, parent)
        parent.children.append(child)
        if self.start(child):
            return "ok"
        parent.children.remove(child)
        return "StartError"


def asked_takes(plan: WorkerPlan) -> float:
    """Seconds from asking the worker to its end."""
    if plan.way == "cleanup":
        return plan.stop
    allowed = 0.0 if plan.shutdown is BRUTAL_KILL else plan.shutdown
    return min(plan.stop, allowed)


def cancelled_takes(plan: WorkerPlan) -> float:
    """Seconds from cancelling the worker, once it is up, to its end."""
    return plan.stop if plan.way == "cleanup" else 0.0
