"""Each row of the section on HTTP."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from realtime.policy.signatures import Scheme
from realtime.sections import Auth
from tests.realtime.end_to_end.clients import listening, many_listening
from tests.realtime.event_source import EventSource
from tests.realtime.in_process import CLOCK, error_of, make_settings, running
from tests.realtime.server_process import PATIENCE, Answer, ServerProcess, eventually

from .conftest import ADMIN, SECRET
from .rows import HTTP, Checks, has

checks = Checks(HTTP)

EVENT = ("event_id", "type", "timestamp", "severity", "source", "tags", "data")
TASK = ("task_id", "job", "state", "stage", "percent", "message", "created_at")
NODE = ("id", "path", "kind", "state", "health", "reasons", "generation", "restarts", "stats")
NODE_OPTIONAL = (
    *("strategy", "restart", "budget", "uptime_s", "mailbox", "next_retry_s", "last_exit", "children"),
    "children_total",
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def error(answer: Answer, status: int, code: str | None = None) -> dict[str, Any]:
    """The error in *answer*, in its one form."""
    assert answer.status == status, answer
    body = answer.json()
    has(body, ["error"])
    has(body["error"], ["code", "message", "details"])
    assert code is None or body["error"]["code"] == code
    found: dict[str, Any] = body["error"]
    return found


def start_task(server: ServerProcess, job: str) -> dict[str, Any]:
    answer = server.request("POST", "/api/tasks", {"job": job})
    assert answer.status == 201, answer
    task: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/tasks/{task['task_id']}"
    return task


# --- pages, health, figures ----------------------------------------------------------------------------------------


@checks("GET /")
async def dashboard(server: ServerProcess) -> None:
    answer = server.request("GET", "/")
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/html")


@checks("GET /static/...")
async def static(server: ServerProcess) -> None:
    page = server.request("GET", "/").body.decode()
    paths = re.findall(r'(?:src|href)="/?(static/[^"]+)"', page)
    assert paths
    assert {server.request("GET", f"/{path}").status for path in paths} == {200}


async def well(server: ServerProcess, path: str) -> None:
    answer = server.request("GET", path)
    assert answer.status == 200
    has(answer.json(), ["status", "reasons"])


for each in ("/api/health", "/api/health/live", "/api/health/ready"):
    checks(f"GET {each}")(partial(well, path=each))


@checks("GET /api/metrics")
async def metrics(server: ServerProcess) -> None:
    parts = {"process", "connections", "messages", "topics", "store", "supervisors", "loop"}
    found = server.get("/api/metrics")
    assert parts <= set(found)
    assert all(isinstance(found[part], dict) for part in parts)


@checks("GET /metrics")
async def prometheus(server: ServerProcess) -> None:
    answer = server.request("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"\n# TYPE " in answer.body


# --- events, emit, tasks -------------------------------------------------------------------------------------------


@checks("POST /api/events")
async def post_event(server: ServerProcess) -> None:
    body = {"type": "paid", "data": {"n": 1}, "severity": "warning", "source": "till", "tags": ["a"]}
    answer = server.request("POST", "/api/events", body)
    stored = answer.json()
    assert (answer.status, answer.headers["location"]) == (201, f"/api/events/{stored['event_id']}")
    has(stored, EVENT)
    assert {key: stored[key] for key in body} == body
    assert TIME.fullmatch(stored["timestamp"])
    least = server.post_event("least")
    assert (least["severity"], least["source"], least["tags"], least["data"]) == ("info", None, [], {})


@checks("GET /api/events")
async def list_events(server: ServerProcess) -> None:
    stored = [server.post_event("listed", tags=["t"], source="here", data={"word": "heron"}) for _ in range(3)]
    page = server.get("/api/events?type=listed&limit=2")
    has(page, ["events", "next"])
    assert page["events"] == stored[:2]  # the oldest first
    rest = server.get(f"/api/events?type=listed&after={page['next']}")
    assert (rest["events"], rest["next"]) == (stored[2:], None)
    assert server.get(f"/api/events?type=listed&after={stored[1]['event_id']}")["events"] == stored[2:]
    since, until = stored[0]["timestamp"], "2999-01-01T00:00:00.000Z"
    query = f"type=listed&since={since}&until={until}&severity=info&tag=t&q=heron"
    assert server.get(f"/api/events?{query}")["events"] == stored
    for limit in ("0", "1001"):
        assert error(server.request("GET", f"/api/events?limit={limit}"), 400)["details"]["field"] == "limit"


@checks("GET /api/events/<event_id>")
async def get_event(server: ServerProcess) -> None:
    stored = server.post_event()
    assert server.get(f"/api/events/{stored['event_id']}") == stored
    error(server.request("GET", "/api/events/01JGFJJZ00D3C5Q9Z8Y7X6W5V4"), 404)


@checks("POST /api/emit")
async def emit(server: ServerProcess) -> None:
    for to in ({"session": "nobody"}, {"topic": "room/empty"}, None):
        body = {"event": "news", "data": 1} | ({} if to is None else {"to": to})
        answer = server.request("POST", "/api/emit", body)
        assert (answer.status, set(answer.json())) == (202, {"sessions", "connections"}), answer
    async with listening(server, "/ws/emitted"):
        answer = server.request("POST", "/api/emit", {"event": "news", "data": 1, "to": {"session": "emitted"}})
        assert answer.json() == {"sessions": 1, "connections": 1}


@checks("POST /api/tasks")
async def post_task(server: ServerProcess) -> None:
    has(start_task(server, "done"), TASK, ["ended_at", "error", "result"])
    unknown = error(server.request("POST", "/api/tasks", {"job": "nothing"}), 400)
    assert unknown["details"]["field"] == "job"


@checks("GET /api/tasks")
async def list_tasks(server: ServerProcess) -> None:
    started = start_task(server, "done")
    found = server.get("/api/tasks")
    has(found, ["tasks"])
    assert found["tasks"][0]["task_id"] == started["task_id"]  # the newest first
    for task in found["tasks"]:
        has(task, TASK, ["ended_at", "error", "result"])


@checks("GET /api/tasks/<id>")
async def get_task(server: ServerProcess) -> None:
    path = f"/api/tasks/{start_task(server, 'fail')['task_id']}"

    def ended() -> dict[str, Any] | None:
        task: dict[str, Any] = server.get(path)
        return task if "ended_at" in task else None

    task = eventually(ended)
    has(task, [*TASK, "ended_at", "error"])
    has(task["error"], ["code", "message"])
    assert (task["job"], task["state"]) == ("fail", "failed")
    assert TIME.fullmatch(task["created_at"])
    assert TIME.fullmatch(task["ended_at"])
    error(server.request("GET", "/api/tasks/nothing"), 404)


@checks("DELETE /api/tasks/<id>")
async def delete_task(server: ServerProcess) -> None:
    path = f"/api/tasks/{start_task(server, 'wait')['task_id']}"
    assert server.request("DELETE", path).status == 202
    eventually(lambda: server.get(path)["state"] == "cancelled")
    error(server.request("DELETE", path), 409)
    error(server.request("DELETE", "/api/tasks/nothing"), 404)


# --- who is there, topics ------------------------------------------------------------------------------------------


@checks("GET /api/connections")
async def connections(server: ServerProcess) -> None:
    async with listening(server, "/ws/shown"), listening(server, "/ws/events"):
        page = server.get("/api/connections?limit=1")
        has(page, ["connections", "next", "total"])
        assert (len(page["connections"]), page["total"]) == (1, 2)
        rest = server.get(f"/api/connections?after={page['next']}")
        assert (len(rest["connections"]), rest["next"]) == (1, None)
        always = ("id", "address", "topics", "queued_messages", "queued_bytes", "dropped", "connected_s")
        for connection in page["connections"] + rest["connections"]:
            has(connection, always, ["session", "rtt_s"])
        assert page["connections"][0]["session"] == "shown"
        assert page["connections"][0]["topics"] == ["clock", "session/shown"]


@checks("GET /api/topics")
async def topics(server: ServerProcess) -> None:
    found = server.get("/api/topics")
    has(found, ["topics"])
    for topic in found["topics"]:
        has(topic, ["topic", "subscribers", "published", "dropped", "epoch", "offset", "overflow"])
    assert {"clock", "system", "events", "supervisors"} <= {topic["topic"] for topic in found["topics"]}


@checks("GET /api/presence/<topic>")
async def presence(server: ServerProcess) -> None:
    async with listening(server, "/ws/ann") as client:
        await client.ask({"type": "subscribe", "topic": "room/shown"}, "subscribed", topic="room/shown")
        found = server.get("/api/presence/room/shown")
        assert found == {"topic": "room/shown", "members": [{"session": "ann", "connections": 1}]}
    error(server.request("GET", "/api/presence/clock"), 404)


# --- the tree, modules, webhooks -----------------------------------------------------------------------------------


def is_node(node: dict[str, Any]) -> None:
    has(node, NODE, NODE_OPTIONAL)
    for child in node.get("children", []):
        is_node(child)


@checks("GET /api/supervisors")
async def tree(server: ServerProcess) -> None:
    root = server.get("/api/supervisors")
    is_node(root)
    assert (root["path"], root["kind"]) == ("", "supervisor")


@checks("GET /api/supervisors/<path>")
async def node(server: ServerProcess) -> None:
    found = server.get("/api/supervisors/broadcasters/clock")
    is_node(found)
    assert (found["id"], found["path"], found["kind"]) == ("clock", "broadcasters/clock", "worker")
    error(server.request("GET", "/api/supervisors/broadcasters/nothing"), 404)


SOLD = "/api/supervisors/broadcasters/shop"


def operated(server: ServerProcess, action: str, path: str = SOLD) -> None:
    error(server.request("POST", f"{path}/{action}"), 403, "not_allowed")
    error(server.request("POST", f"/api/supervisors/broadcasters/nothing/{action}", headers=ADMIN), 404)
    answer = server.request("POST", f"{path}/{action}", headers=ADMIN)
    assert answer.status == 202, answer
    assert answer.json() == {"path": path.removeprefix("/api/supervisors/"), "action": action}


def budget(server: ServerProcess) -> object:
    return server.get("/api/supervisors/broadcasters")["budget"]["left"]


@checks("POST /api/supervisors/<path>/restart")
async def restart(server: ServerProcess) -> None:
    before, left = server.get(SOLD)["generation"], budget(server)
    operated(server, "restart")
    eventually(lambda: server.get(SOLD)["generation"] > before)
    assert budget(server) == left  # operators spend none


@checks("POST /api/supervisors/<path>/stop")
async def stop(server: ServerProcess) -> None:
    operated(server, "stop")
    eventually(lambda: server.get(SOLD)["state"] == "stopped")
    error(server.request("POST", f"{SOLD}/stop", headers=ADMIN), 409)
    assert server.request("POST", f"{SOLD}/start", headers=ADMIN).status == 202
    eventually(lambda: server.get(SOLD)["state"] == "running")


@checks("POST /api/supervisors/<path>/start")
async def start(server: ServerProcess) -> None:
    error(server.request("POST", f"{SOLD}/start", headers=ADMIN), 409)
    assert server.request("POST", f"{SOLD}/stop", headers=ADMIN).status == 202
    eventually(lambda: server.get(SOLD)["state"] == "stopped")
    operated(server, "start")
    eventually(lambda: server.get(SOLD)["state"] == "running")


def sold(server: ServerProcess, count: int) -> bool:
    """Whether the shop runs, and its figure is *count*; while it starts it has none."""
    found: dict[str, Any] = server.get(SOLD)["stats"]
    return found.get("sold") == count


@checks("POST /api/supervisors/<path>/reload")
async def reload(server: ServerProcess) -> None:
    """For a child whose spec names its code, which has changed meanwhile."""
    code = server.folder / "shop.py"
    code.write_text(code.read_text(encoding="utf-8").replace('"sold": 0', '"sold": 1'), encoding="utf-8")
    left = budget(server)
    eventually(partial(sold, server, 0))
    operated(server, "reload")
    eventually(partial(sold, server, 1))
    assert budget(server) == left
    error(server.request("POST", "/api/supervisors/broadcasters/clock/reload", headers=ADMIN), 409)


@checks("POST /api/supervisors/<path>/crash")
async def crash(server: ServerProcess) -> None:
    path = "/api/supervisors/broadcasters/system"
    before = server.get(path)["generation"]
    assert server.request("POST", f"{path}/crash").status == 202
    crashed = eventually(lambda: server.get(path) if server.get(path)["generation"] > before else None)
    has(crashed["last_exit"], ["reason", "at", "error", "traceback"])
    assert (crashed["last_exit"]["reason"], crashed["health"]) == ("crashed", "degraded")
    error(server.request("POST", "/api/supervisors/broadcasters/nothing/crash"), 404)
    error(server.request("POST", "/api/supervisors/broadcasters/crash"), 409)
    async with running() as system:  # without debug
        await error_of(await system.client.post("/api/supervisors/hub/crash"), 403, "not_allowed")


def module_is(server: ServerProcess, state: str) -> Callable[[], bool]:
    def found() -> bool:
        return {each["id"]: each["state"] for each in server.get("/api/modules")["modules"]}["shop"] == state

    return found


@checks("GET /api/modules")
async def modules(server: ServerProcess) -> None:
    found = server.get("/api/modules")
    has(found, ["modules"])
    (shop,) = (each for each in found["modules"] if each["id"] == "shop")
    assert (shop["use"], shop["state"], shop["topics"]) == (
        "shop",
        "enabled",
        ["board", "lossy", "patient", "stock", "strict"],
    )
    assert (sorted(shop["jobs"]), sorted(shop["methods"])) == (["done", "fail", "wait"], ["add", "burst"])


async def switched(server: ServerProcess, action: str) -> None:
    path = f"/api/modules/shop/{action}"
    if action == "enable":
        server.request("POST", "/api/modules/shop/disable", headers=ADMIN)
        eventually(module_is(server, "disabled"))
    error(server.request("POST", path), 403, "not_allowed")
    answer = server.request("POST", path, headers=ADMIN)
    assert (answer.status, answer.json()) == (202, {"module": "shop", "action": action})
    eventually(module_is(server, f"{action}d"))
    if action == "disable":
        server.request("POST", "/api/modules/shop/enable", headers=ADMIN)
        eventually(module_is(server, "enabled"))


for each in ("enable", "disable"):
    checks(f"POST /api/modules/<id>/{each}")(partial(switched, action=each))


@checks("POST /api/webhooks/<name>")
async def webhook(server: ServerProcess) -> None:
    body = b'{"order":17}'
    headers = {"Content-Type": "application/json"} | Scheme().sign(SECRET, body, time.time())
    answer = server.request("POST", "/api/webhooks/forge", body, headers)
    assert (answer.status, set(answer.json())) == (202, {"event_id"}), answer
    assert server.get(f"/api/events/{answer.json()['event_id']}")["data"] == {"order": 17}
    error(server.request("POST", "/api/webhooks/forge", body + b" ", headers), 403)


# --- documents, streams --------------------------------------------------------------------------------------------


async def document(server: ServerProcess, path: str, key: str, version: str) -> None:
    assert server.get(path)[key].startswith(version)


checks("GET /openapi.json")(partial(document, path="/openapi.json", key="openapi", version="3.1."))
checks("GET /asyncapi.json")(partial(document, path="/asyncapi.json", key="asyncapi", version="3."))


@checks("GET /docs")
async def docs(server: ServerProcess) -> None:
    answer = server.request("GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert b"asyncapi.json" in answer.body  # whose sockets its script lists
    assert "/ws/events" in {channel["address"] for channel in server.get("/asyncapi.json")["channels"].values()}


@checks("GET /sse/<topic>")
async def sse(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/sse/clock")
        response = connection.getresponse()
        assert (response.status, response.getheader("Content-Type")) == (200, "text/event-stream")
        source = EventSource()
        while len(source.events) < 2:
            source.feed(response.read1())
        assert [event.type for event in source.events[:2]] == ["subscribed", "time_update"]
    finally:
        connection.close()


# --- what holds for all --------------------------------------------------------------------------------------------


@checks("errors")
async def errors(server: ServerProcess) -> None:
    error(server.request("GET", "/nothing"), 404, "not_found")
    error(server.request("DELETE", "/api/health"), 405)


@checks("400")
async def bad_body(server: ServerProcess) -> None:
    unknown = error(server.request("POST", "/api/events", {"type": "x", "colour": 1}), 400)
    assert unknown["details"]["field"] == "colour"
    assert "colour" in unknown["message"]
    assert error(server.request("POST", "/api/events", {"type": 1}), 400)["details"]["field"] == "type"


@checks("413")
async def too_big(server: ServerProcess) -> None:
    error(server.request("POST", "/api/events", {"type": "x", "data": {"x": "y" * 70_000}}), 413)


@checks("415")
async def wrong_type(server: ServerProcess) -> None:
    error(server.request("POST", "/api/events", b"type=x", {"Content-Type": "text/plain"}), 415)


@checks("Host")
async def hosts(server: ServerProcess) -> None:
    error(server.request("GET", "/api/health", headers={"Host": "evil.example"}), 400)


@checks("Origin")
async def origins(server: ServerProcess) -> None:
    for origin in ("https://evil.example", "null"):
        for method, path in (("POST", "/api/events"), ("DELETE", "/api/tasks/t1"), ("GET", "/sse/clock")):
            body = {"type": "x"} if method == "POST" else None
            error(server.request(method, path, body, {"Origin": origin}), 403)
    for origin in ("https://friend.example", server.url):
        assert server.request("POST", "/api/events", {"type": "x"}, {"Origin": origin}).status == 201


@checks("CORS")
async def cors(server: ServerProcess) -> None:
    allowed = server.request("GET", "/api/health", headers={"Origin": "https://friend.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://friend.example"
    other = server.request("GET", "/api/health", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@checks("a node")
async def node_fields(server: ServerProcess) -> None:
    found = server.get("/api/supervisors")
    assert {"strategy", "budget", "children", "uptime_s"} <= set(found)
    has(found["budget"], ["max_restarts", "max_seconds", "left"])
    has(server.get(SOLD)["mailbox"], ["depth", "capacity", "dropped"])


@checks("429")
async def too_often(server: ServerProcess) -> None:
    """In a process that takes two requests a second from each principal."""
    auth = Auth(admin_token_file=server.folder / "admin.token", max_inbound_per_second=2)
    async with running(make_settings(auth=auth)) as system:
        answers = [await system.client.get("/api/topics", headers=ADMIN) for _ in range(3)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        await error_of(answers[2], 429, "too_many_requests")
        assert int(answers[2].headers["Retry-After"]) >= 1


@checks("a dynamic supervisor")
async def dynamic_supervisor(server: ServerProcess) -> None:
    """Totals, and the first 50 children."""
    async with many_listening(server, "/ws/crowd", 51):
        found = server.get("/api/supervisors/connections")
        is_node(found)
        assert found["children_total"] >= 51
        assert len(found["children"]) == 50


@checks("tracebacks")
async def tracebacks(server: ServerProcess) -> None:
    """Left out without debug and the admin scope."""
    auth = Auth(admin_token_file=server.folder / "admin.token")
    async with running(make_settings(auth=auth, actors={"clock": CLOCK})) as system:
        path = "broadcasters/clock"
        system.tree.crash(path, ValueError("on purpose"))
        while (await system.get(f"/api/supervisors/{path}"))["generation"] == 1:
            await trio.testing.wait_all_tasks_blocked()
        for headers, shown in (({}, False), (ADMIN, True)):
            node = await system.get(f"/api/supervisors/{path}", headers=headers)
            assert ("traceback" in node["last_exit"]) is shown


@pytest.mark.parametrize("check", checks.params())
async def test_http_row(check, server):
    await check(server)
