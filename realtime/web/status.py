"""The tree and its health over HTTP, and an operator's hand on it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

import structlog
from quart import Blueprint, Response, request

from realtime.fields import shown
from realtime.policy.verdict import Verdict, health_verdict
from realtime.web import shapes
from realtime.web.access import demand, may, needs, open_to_all, principal
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import SOON, ApiError, json_response
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.nodes import node_to_wire
from realtime.web.stream_shapes import NODE
from supervisors import (
    ChildNotRunning,
    ChildRestarting,
    ChildRunning,
    Node,
    NoSuchChild,
    SupervisorNotRunning,
    Tree,
    WrongKind,
)

blueprint = Blueprint("status", __name__)
logger = structlog.get_logger("realtime.operator")

EXAMPLE: Final = {**NODE, "stats": {"interval_s": 1.0}, "restart": "permanent", "uptime_s": 12.5}
_PATH: Final = {"path": ("its path in the tree, without the root's id; slashes as they are", "broadcasters/clock")}
_OPERATED: Final = Answer(
    shapes.Operation, {"path": "broadcasters/clock", "action": "restart"}, "It is about to be done."
)
_WELL: Final = {"status": "ok", "reasons": []}
_ILL: Final = Answer(shapes.Health, {"status": "failing", "reasons": ["the process is draining"]}, "It is not.")


class CrashRequested(Exception):
    """Somebody pressed a crash button."""


def running_tree() -> Tree:
    """The tree.

    Raises:
      ApiError: 503, it is still being started.
    """
    tree = backend().tree
    if tree is None:
        raise ApiError(503, "the server is starting; try again in a moment", headers=SOON)
    return tree


@blueprint.get("/api/supervisors")
@described(answers={200: Answer(shapes.TreeNode, EXAMPLE)}, errors=(503,))
async def root() -> Response:
    """The whole tree."""
    demand("subscribe", SUPERVISORS)
    return _node(running_tree().snapshot())


@blueprint.get("/api/supervisors/<path:path>")
@described(path=_PATH, answers={200: Answer(shapes.TreeNode, EXAMPLE)}, errors=(404, 503))
async def node(path: str) -> Response:
    """One node with what is below it."""
    demand("subscribe", SUPERVISORS)
    return _node(_find(running_tree(), path))


def _node(node: Node) -> Response:
    return json_response(node_to_wire(node, tracebacks=_may_see_tracebacks()))


def _may_see_tracebacks() -> bool:
    return backend().settings.server.debug or may("operate")


def _find(tree: Tree, path: str) -> Node:
    try:
        return tree.find(path)
    except NoSuchChild as error:
        raise _nothing_at(path) from error


def _nothing_at(path: str) -> ApiError:
    return ApiError(404, f"there is no child at {shown(path)}")


# --- an operator's hand --------------------------------------------------------------------------------------------


@blueprint.post("/api/supervisors/<path:path>/crash")
@described(path=_PATH, answers={202: _OPERATED}, errors=(404, 409, 503))
async def crash(path: str) -> Response:
    """Make a worker crash, to watch it come back.  With ``debug`` only, and from this machine only."""
    if not backend().settings.server.debug:
        raise ApiError(403, "crashing is for debugging: set server.debug = true")
    if not _from_loopback(request.remote_addr):
        raise ApiError(403, "crashing is allowed from the machine itself only")
    tree = running_tree()
    if _find(tree, path).kind == "supervisor":
        raise ApiError(409, f"{path!r} is a supervisor; crash one of its workers")
    return _operate("crash", path, lambda: tree.crash(path, CrashRequested(f"{path} was told to crash")))


WAY_IN: Final = ("server", "connections")
"""What an operator's own requests come through."""


@blueprint.post("/api/supervisors/<path:path>/<any(restart, stop, start, reload):action>")
@described(
    path=_PATH | {"action": ("what to do", "restart")},
    answers={202: _OPERATED},
    errors=(404, 409, 503),
    admin=True,
)
@needs("operate")
async def operate(path: str, action: str) -> Response:
    """Restart, stop or start a child, or give it the code that its module has now; costs no budget."""
    tree = running_tree()
    if action == "stop" and path in WAY_IN:
        raise ApiError(409, f"{path!r} is how this request came: without it nobody could start it again; restart it")
    actions = {
        "restart": tree.restart_child_soon,
        "stop": tree.stop_child_soon,
        "start": tree.start_again_soon,
        "reload": tree.reload_child_soon,
    }
    return _operate(action, path, lambda: actions[action](path))


def _operate(action: str, path: str, act: Callable[[], None]) -> Response:
    try:
        act()
    except NoSuchChild as error:
        raise _nothing_at(path) from error
    except (ChildNotRunning, ChildRunning, ChildRestarting, WrongKind, SupervisorNotRunning) as error:
        raise ApiError(409, str(error)) from error
    logger.info("operator_action", action=action, path=path, address=request.remote_addr, principal=principal().name)
    return json_response({"path": path, "action": action}, 202)


def _from_loopback(address: str | None) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    # A socket that listens on both families shows IPv4 addresses as ::ffff:127.0.0.1, which is_loopback denies.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


# --- health --------------------------------------------------------------------------------------------------------


def verdict() -> Verdict:
    """How the process fares, derived from its tree."""
    tree = backend().tree
    root = None if tree is None else tree.snapshot()
    return health_verdict(
        phase=backend().phase,
        root_failing=root is not None and (root.health == "failing" or root.state not in ("running", "stopping")),
        troubled={} if root is None else {n.path or n.id: "; ".join(n.reasons) for n in _sources_of_trouble(root)},
    )


def _sources_of_trouble(root: Node) -> list[Node]:
    """The nodes that are not ok by themselves; a supervisor that is so for its children's sake is not among them."""
    return [n for n in root.walk() if n.health != "ok" and all(child.health == "ok" for child in n.children or ())]


@blueprint.get("/api/health")
@described(answers={200: Answer(shapes.Health, _WELL), 503: _ILL})
@open_to_all
async def health() -> Response:
    """``ok`` and ``degraded`` are 200, ``failing`` is 503."""
    found = verdict()
    status = 503 if found.status == "failing" else 200
    return json_response({"status": found.status, "reasons": found.reasons}, status)


@blueprint.get("/api/health/live")
@described(answers={200: Answer(shapes.Health, _WELL), 503: _ILL})
@open_to_all
async def live() -> Response:
    """503 only when the root is failing: then a restart of the process is what helps."""
    found = verdict()
    return _passed(found.live, found)


@blueprint.get("/api/health/ready")
@described(answers={200: Answer(shapes.Health, _WELL), 503: _ILL})
@open_to_all
async def ready() -> Response:
    """503 while the process starts or drains: then clients are to be sent elsewhere."""
    found = verdict()
    return _passed(found.ready, found)


def _passed(passed: bool, found: Verdict) -> Response:
    if passed:
        return json_response({"status": "ok", "reasons": []})
    return json_response({"status": "failing", "reasons": found.reasons}, 503)
