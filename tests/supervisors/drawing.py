"""A tree drawn from nothing but its events, to be held against its snapshot."""

from __future__ import annotations

import attrs

from supervisors import (
    Event,
    Exited,
    GaveUp,
    Ignored,
    Node,
    Removed,
    RestartDelayed,
    Restarting,
    Started,
    StartFailed,
    StateChanged,
)


@attrs.define
class Drawn:
    """What the events have said of one child."""

    id: str
    kind: str
    state: str = "stopped"
    generation: int = 0


class Drawing:
    """Give it to ``open_tree`` as the hook; it follows the rules that ``supervisors.events`` states, and no others."""

    def __init__(self, root_id: str) -> None:
        self.root_id = root_id
        self.nodes: dict[str, Drawn] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Removed):
            gone = [path for path in self.nodes if path == event.path or path.startswith(f"{event.path}/")]
            for path in gone:
                del self.nodes[path]
            return
        name = event.path.rpartition("/")[2] or self.root_id
        kind = getattr(event, "kind", "worker")
        node = self.nodes.setdefault(event.path, Drawn(name, kind))
        match event:
            case Started():
                node.state, node.generation = "running", event.generation
            case Exited() | StartFailed() | Ignored() | Restarting():
                node.state = "stopped"
            case RestartDelayed():
                node.state = "backing_off"
            case GaveUp(report=report) if report is not None and report.offender.path == event.path:
                node.state = "failed"
            case StateChanged():
                node.state, node.generation = event.state, event.generation

    def differences(self, root: Node) -> list[str]:
        """What the drawing shows otherwise than the snapshot of the tree.

        On their way to another state, children are drawn as they last were; what is below a supervisor that has not
        come up for the first time need not be known.
        """
        found = []
        seen = set()
        for node in root.walk():
            seen.add(node.path)
            drawn = self.nodes.get(node.path)
            if drawn is None:
                if not any(node.path.startswith(above) for above in self._starting(root)):
                    found.append(f"{node.path!r} is not drawn")
                continue
            states = {"starting": {"stopped", "backing_off", "failed"}, "stopping": {"running", "stopped", "failed"}}
            states["stopping"].add("backing_off")
            if drawn.state not in states.get(node.state, {node.state}):
                found.append(f"{node.path!r} is {node.state} and drawn as {drawn.state}")
            if (drawn.id, drawn.kind, drawn.generation) != (node.id, node.kind, node.generation):
                found.append(f"{node} is drawn as {drawn}")
        return found + [f"{path!r} is drawn and not there" for path in self.nodes.keys() - seen]

    def _starting(self, root: Node) -> list[str]:
        return [node.path for node in root.walk() if node.state in ("starting", "stopping") and node.generation == 0]
