"""Translates one scenario into specs and calls of this package, and what its event hook says into a trace.

There is no supervision in here: the library decides.  What is translated on purpose (see
``docs/explanation/otp-differences.md``): ``give_up="shutdown"``, pools as ``DynamicSupervisorSpec(concurrent=False)``,
``backing_off`` as OTP's ``restarting``, no ``start_timeout``.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import trio
import trio.testing

import supervisors as s

OFF: Any = s.INFINITY


class Boom(Exception):
    """The crash of a scenario's worker."""


class Scenario:
    """One run: the live tree, what each path's behaviour is, and what has happened."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        self.tree: s.Tree | None = None
        self.events: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()
        self.generations: Counter[str] = Counter()
        self.workers: dict[str, tuple[trio.Event, list[str]]] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        self.pools: set[str] = set()
        self.root: dict[str, Any] = {"alive": False, "reason": "start_failed"}
        self.killed_root = False

    # -------------------------------------------------------------------- specs

    def supervisor_spec(self, spec: dict[str, Any], path: str) -> s.SupervisorSpec | s.DynamicSupervisorSpec:
        common: dict[str, Any] = {
            "max_restarts": spec["intensity"],
            "max_seconds": float(spec["period_s"]),
            "auto_shutdown": spec["auto_shutdown"],
            "give_up": "shutdown",
            "on_start": partial(self.attempt, path, spec["behaviour"]),
        }
        if spec["strategy"] == "simple_one_for_one":
            if len(spec["children"]) != 1:
                raise ValueError("a pool has exactly one template")
            self.pools.add(path)
            self.templates[path] = spec["children"][0]
            dynamic = s.DynamicSupervisorSpec(concurrent=False, **common)
            dynamic.accept(self.child_spec(spec["children"][0], "template", f"{path}/template"))
            return dynamic
        children = [self.lenient_child_spec(child, f"{path}/{child['id']}") for child in spec["children"]]
        return s.SupervisorSpec(children, strategy=spec["strategy"], **common)

    def lenient_child_spec(self, spec: dict[str, Any], path: str) -> s.ChildSpec:
        """A nested supervisor that is specified wrongly is a child that fails to start, not a bad parent."""
        try:
            return self.child_spec(spec, spec["id"], path)
        except ValueError:
            if spec["type"] == "worker" or not self.own_spec_is_fine(spec):
                raise
            return self.options(spec, spec["id"], partial(self.refuse, path, spec))

    def own_spec_is_fine(self, spec: dict[str, Any]) -> bool:
        return not (spec["significant"] and spec["restart"] == "permanent")

    async def refuse(self, path: str, spec: dict[str, Any], task_status: Any) -> None:
        await self.attempt(path, spec["behaviour"])
        self.supervisor_spec(spec, path)

    def child_spec(self, spec: dict[str, Any], name: str, path: str) -> s.ChildSpec:
        if spec["type"] == "supervisor":
            return self.options(spec, name, self.supervisor_spec(spec, path))
        return self.options(spec, name, partial(self.worker, path, spec["behaviour"]))

    def options(self, spec: dict[str, Any], name: str, start: Any) -> s.ChildSpec:
        shutdown = spec["shutdown"]
        times: dict[str, Any] = {"brutal_kill": s.BRUTAL_KILL, "infinity": s.INFINITY}
        return s.ChildSpec(
            name,
            start,
            restart=spec["restart"],
            shutdown=times[shutdown] if isinstance(shutdown, str) else shutdown / 1000,
            significant=spec["significant"],
            start_timeout=s.INFINITY,
        )

    # ---------------------------------------------------------------- behaviour

    async def attempt(self, path: str, behaviour: dict[str, Any]) -> None:
        """Do what this attempt to start does."""
        self.attempts[path] += 1
        what: Any = behaviour["on_start"]
        if isinstance(what, dict) and "script" in what:
            what = what["script"][min(self.attempts[path], len(what["script"])) - 1]
        if isinstance(what, dict) and "fail_after_first" in what:
            what = "ok" if self.attempts[path] <= what["fail_after_first"] else "fail"
        if isinstance(what, dict):
            await trio.sleep(what["after_ms"] / 1000)
            what = what["then"]
        if what == "fail":
            raise Boom(f"{path} fails to start")
        if what == "ignore":
            raise s.Ignore

    async def worker(self, path: str, behaviour: dict[str, Any], task_status: Any, stopping: trio.Event) -> None:
        await self.attempt(path, behaviour)
        told, how = self.workers[path] = trio.Event(), [""]
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.asked, behaviour.get("on_shutdown", "prompt"), stopping, told, how)
            await told.wait()
            nursery.cancel_scope.cancel()
        if how[0] == "shutdown":
            raise s.Shutdown
        if how[0] == "error":
            raise Boom(path)

    async def asked(self, what: Any, stopping: trio.Event, told: trio.Event, how: list[str]) -> None:
        """Do what this worker does when it is asked to stop."""
        await stopping.wait()
        if what == "ignore":
            return
        how[0] = "shutdown"
        if isinstance(what, dict) and "delay_ms" in what:
            await trio.sleep(what["delay_ms"] / 1000)
        elif isinstance(what, dict):
            how[0] = what["exit"]
        told.set()

    # -------------------------------------------------------------------- trace

    def hook(self, event: s.Event) -> None:
        path = f"root/{event.path}" if event.path else "root"
        parts = path.split("/")
        if isinstance(event, s.Started):
            self.generations[path] += 1
            self.events.append({"event": "started", "path": parts, "gen": self.generations[path]})
        elif isinstance(event, s.Exited):
            reason = {"crashed": "error"}.get(event.exit.reason, event.exit.reason)
            self.events.append({"event": "stopped", "path": parts, "gen": self.generations[path], "reason": reason})
            if path == "root":
                self.root = {"alive": False, "reason": reason}
        elif isinstance(event, s.StartFailed):
            self.events.append({"event": "start_failed", "path": parts})
        elif isinstance(event, s.Ignored):
            self.events.append({"event": "ignored", "path": parts})
            if path == "root":
                self.root = {"alive": False, "reason": "ignored"}

    def picture(self, node: s.Node) -> dict[str, Any]:
        path = f"root/{node.path}" if node.path else "root"
        picture: dict[str, Any] = {
            "id": node.id,
            "type": node.kind,
            "state": STATES[node.state],
            "gen": self.generations[path],
        }
        if node.kind == "supervisor" and picture["state"] == "running":
            children = [self.picture(child) for child in node.children or ()]
            picture["children"] = sorted(children, key=lambda c: c["id"]) if path in self.pools else children
        return picture

    # --------------------------------------------------------------- operations

    async def do(self, op: dict[str, Any]) -> Any:
        result = getattr(self, f"do_{op['op']}")
        return await result(op)

    def relative(self, path: list[str]) -> str:
        return "/".join(path[1:])

    def running(self, path: list[str]) -> bool:
        try:
            return (
                self.tree is not None
                and self.root["alive"]
                and self.tree.find(self.relative(path)).state
                in (
                    "running",
                    "stopping",
                )
            )
        except s.NoSuchChild:
            return False

    def sup(self, op: dict[str, Any]) -> s.SupervisorRef:
        assert self.tree is not None
        return self.tree.supervisor(self.relative(op["sup"]))

    def end(self, path: list[str], reason: str) -> None:
        told, how = self.workers["/".join(path)]
        how[0] = reason
        told.set()

    async def do_exit(self, op: dict[str, Any]) -> Any:
        if not self.running(op["path"]):
            return NOPROC
        self.end(op["path"], op["reason"])
        return "ok"

    async def do_exit_together(self, op: dict[str, Any]) -> Any:
        if not all(self.running(path) for path in op["paths"]):
            return NOPROC
        for path in op["paths"]:
            self.end(path, op["reason"])
        return "ok"

    async def do_exit_burst(self, op: dict[str, Any]) -> Any:
        made = 0
        for _ in range(op["times"]):
            if not self.running(op["path"]):
                break
            self.end(op["path"], op["reason"])
            made += 1
            await self.settle()
        return {"exits": made}

    async def do_kill(self, op: dict[str, Any]) -> Any:
        if not self.running(op["path"]):
            return NOPROC
        assert self.tree is not None
        self.tree.kill(self.relative(op["path"]))
        return "ok"

    async def do_terminate_child(self, op: dict[str, Any]) -> Any:
        if not self.running(op["sup"]):
            return NOPROC
        if "/".join(op["sup"]) in self.pools and "id" in op:
            return SIMPLE
        return await self.administer(self.sup(op).terminate_child(op.get("id", op.get("instance"))))

    async def do_restart_child(self, op: dict[str, Any]) -> Any:
        if not self.running(op["sup"]):
            return NOPROC
        path = "/".join([*op["sup"], op["id"]])
        return await self.administer(self.sup(op).restart_child(op["id"]), path)

    async def do_delete_child(self, op: dict[str, Any]) -> Any:
        if not self.running(op["sup"]):
            return NOPROC
        return await self.administer(self.sup(op).delete_child(op["id"]))

    async def do_start_child(self, op: dict[str, Any]) -> Any:
        if not self.running(op["sup"]):
            return NOPROC
        pool = "/".join(op["sup"])
        name = op["instance"] if "instance" in op else op["spec"]["id"]
        try:
            if "instance" in op:
                template = self.templates[pool]
                behaviour = {**template["behaviour"], **op.get("behaviour", {})}
                spec = self.child_spec({**template, "behaviour": behaviour}, name, f"{pool}/{name}")
            else:
                spec = self.lenient_child_spec(op["spec"], f"{pool}/{name}")
        except ValueError:
            return {"error": "bad_spec"}
        return await self.administer(self.sup(op).start_child(spec), f"{pool}/{name}", adding=True)

    async def administer(self, request: Any, path: str = "", *, adding: bool = False) -> Any:
        """The outcome of an administrative call, as the atom that OTP answers with."""
        before = len(self.events)
        try:
            await request
        except s.SupervisorError as error:
            if isinstance(error, s.ChildRunning):
                return {"error": "already_started" if adding else "running"}
            return {"error": ATOMS[type(error)]}
        except ValueError:
            return {"error": "bad_spec"}
        declined = {"event": "ignored", "path": path.split("/")}
        return "ignored" if declined in self.events[before:] else "ok"

    async def do_count_children(self, op: dict[str, Any]) -> Any:
        if not self.running(op["sup"]):
            return NOPROC
        # OTP answers in turn, when what came before is done; our own queries answer at any moment.
        ref = self.sup(op)
        count = await ref.in_turn(ref.count_children)
        pool = "/".join(op["sup"]) in self.pools
        return {
            "specs": 1 if pool else count.specs,
            "active": count.active,
            "supervisors": count.supervisors,
            "workers": count.workers,
        }

    async def do_which_children(self, op: dict[str, Any]) -> Any:
        if not self.running(op["sup"]):
            return NOPROC
        ref = self.sup(op)
        rows = [
            {"id": child.id, "state": STATES[child.state], "type": child.kind}
            for child in await ref.in_turn(ref.which_children)
        ]
        return sorted(rows, key=lambda row: row["id"]) if "/".join(op["sup"]) in self.pools else rows

    async def do_stop(self, op: dict[str, Any]) -> Any:
        if not self.root["alive"]:
            return NOPROC
        assert self.tree is not None
        await self.tree.stop()
        return "ok"

    async def do_wait(self, op: dict[str, Any]) -> Any:
        await trio.sleep(op["ms"] / 1000)
        return "ok"

    # ---------------------------------------------------------------------- run

    async def settle(self) -> None:
        await trio.sleep(self.scenario["settle_ms"] / 1000)

    async def run(self) -> list[dict[str, Any]]:
        trace: list[dict[str, Any]] = []
        async with trio.open_nursery() as nursery:
            result = await nursery.start(self.keep_root)
            await self.settle()
            trace.append(self.step(result, look=True))
            for op in self.scenario["ops"]:
                if "settle" in op:
                    outcome = await self.for_a_while(op, nursery)
                else:
                    outcome = await self.do(op)
                    await self.settle()
                trace.append(self.step(outcome, look="settle" not in op))
            nursery.cancel_scope.cancel()
        return trace

    async def for_a_while(self, op: dict[str, Any], nursery: trio.Nursery) -> Any:
        began = trio.current_time()
        result = await self.do(op)
        await trio.sleep_until(began + op["settle"]["ms"] / 1000)
        return result

    async def keep_root(self, task_status: Any) -> None:
        """Run the root until the scenario is over; its end does not end the scenario."""
        try:
            spec = self.supervisor_spec(self.scenario["tree"], "root")
        except ValueError:
            task_status.started({"error": "bad_spec"})
            return
        try:
            async with s.open_tree(spec, on_event=self.hook) as self.tree:
                self.root = {"alive": True}
                task_status.started("ok")
                await trio.sleep_forever()
        except s.Ignore:
            task_status.started("ignored")
        except (s.StartError, Boom):
            task_status.started({"error": "start_failed"})

    def step(self, result: Any, *, look: bool) -> dict[str, Any]:
        tree = None
        if look and self.root["alive"] and self.tree is not None:
            tree = self.picture(self.tree.snapshot())
        events, self.events = self.events, []
        return {"result": result, "events": events, "tree": tree, "root": dict(self.root)}


NOPROC = {"error": "noproc"}
SIMPLE = {"error": "simple_one_for_one"}
STATES = {
    "starting": "running",
    "running": "running",
    "stopping": "running",
    "stopped": "stopped",
    "failed": "stopped",
    "backing_off": "restarting",
}
ATOMS = {
    s.NoSuchChild: "not_found",
    s.ChildRestarting: "restarting",
    s.ChildPresent: "already_present",
    s.StartError: "start_failed",
    s.WrongKind: "simple_one_for_one",
    s.SupervisorNotRunning: "noproc",
}


def run_scenario(scenario: dict[str, Any]) -> dict[str, Any]:
    """The result of *scenario*, on a virtual clock."""
    run = Scenario(scenario)
    clock = trio.testing.MockClock(autojump_threshold=0)
    return {"scenario": scenario["name"], "trace": trio.run(run.run, clock=clock)}
