from pathlib import Path

import pytest
import structlog.testing
import trio
import trio.testing

from realtime.sections import Auth
from realtime.tree import build
from realtime.web.app import create_app
from supervisors import Backoff, ChildSpec, SupervisorSpec

from ..in_process import CLOCK, OWN, error_of, make_settings, running

TOKEN = "open sesame"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
ANY_PORT = 50_000


def admin_settings(tmp_path: Path, **server):
    path = tmp_path / "admin.token"
    path.write_text(f"{TOKEN}\n")
    return make_settings(auth=Auth(admin_token_file=path), server=server, actors={"clock": CLOCK})


def coming_from(address: str):
    return {"scope_base": {"client": (address, ANY_PORT)}}


LOCAL = coming_from("127.0.0.1")


async def endless():
    await trio.sleep_forever()


async def failing():
    await trio.lowlevel.checkpoint()
    raise RuntimeError("it fails")


def starting_app():
    """The application of a system whose tree is not up yet."""
    return create_app(build(make_settings()).backend)


# --- the tree ------------------------------------------------------------------------------------------------------


async def test_the_root_shows_the_whole_tree(system):
    node = await system.get("/api/supervisors")
    assert (node["id"], node["path"], node["kind"], node["state"]) == ("root", "", "supervisor", "running")
    ids = ["store", "backplane", "hub", "jobs", "heartbeat", "broadcasters"]
    assert [child["id"] for child in node["children"]] == ids
    own = [f"broadcasters/{id}" for id in ("emitter", "presence", "supervisors")]
    assert [child["path"] for child in node["children"][-1]["children"]] == own


@pytest.mark.parametrize("path", ["broadcasters/supervisors", "broadcasters%2Fsupervisors", "%68ub", "hub"])
async def test_a_node_is_found_by_its_path_however_that_is_quoted(system, path):
    node = await system.get(f"/api/supervisors/{path}")
    assert node["state"] == "running"


@pytest.mark.parametrize("path", ["nothing", "hub/nothing", "hub/", "root", "broadcasters/", "..", "%00", "x" * 3000])
async def test_a_node_that_there_is_not_is_404(system, path):
    error = await error_of(await system.client.get(f"/api/supervisors/{path}"), 404, "not_found")
    assert len(error["message"]) < 200


async def test_before_the_tree_is_up_it_is_503_for_a_moment():
    client = starting_app().test_client()
    for path in ("/api/supervisors", "/api/supervisors/hub"):
        answer = await client.get(path)
        await error_of(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("debug", "headers", "shown"),
    [(False, {}, False), (False, ADMIN, True), (True, {}, True)],
)
async def test_tracebacks_are_for_operators(tmp_path, debug, headers, shown):
    async with running(admin_settings(tmp_path, debug=debug)) as system:
        system.tree.crash("broadcasters/clock", RuntimeError("x"))
        await trio.testing.wait_all_tasks_blocked()
        node = await system.get("/api/supervisors/broadcasters/clock", headers=headers)
    assert node["last_exit"]["error"] == "RuntimeError: x"
    assert ("traceback" in node["last_exit"]) == shown


# --- an operator's hand --------------------------------------------------------------------------------------------


async def operate(system, path, action, headers=ADMIN):
    return await system.client.post(f"/api/supervisors/{path}/{action}", headers=headers)


@pytest.fixture
async def administered(tmp_path):
    async with running(admin_settings(tmp_path)) as system:
        yield system


async def test_a_restart_is_begun_and_costs_no_budget(administered):
    answer = await operate(administered, "broadcasters/clock", "restart")
    assert answer.status_code == 202
    assert await answer.get_json() == {"path": "broadcasters/clock", "action": "restart"}
    await trio.testing.wait_all_tasks_blocked()
    node = administered.tree.find("broadcasters/clock")
    assert (node.state, node.generation, node.health) == ("running", 2, "ok")
    assert administered.tree.find("broadcasters").budget.left == 3


async def test_a_child_is_stopped_and_started_again(administered):
    assert (await operate(administered, "broadcasters/clock", "stop")).status_code == 202
    await trio.testing.wait_all_tasks_blocked()
    assert administered.tree.find("broadcasters/clock").state == "stopped"
    assert (await operate(administered, "broadcasters/clock", "start")).status_code == 202
    await trio.testing.wait_all_tasks_blocked()
    assert administered.tree.find("broadcasters/clock").state == "running"


async def test_a_supervisor_is_operated_like_any_child(administered):
    assert (await operate(administered, "broadcasters", "restart")).status_code == 202
    await trio.testing.wait_all_tasks_blocked()
    assert administered.tree.find("broadcasters").generation == 2


async def test_what_was_stopped_on_purpose_is_no_trouble(administered):
    await operate(administered, "broadcasters/clock", "stop")
    await trio.testing.wait_all_tasks_blocked()
    assert await administered.get("/api/health") == {"status": "ok", "reasons": []}


@pytest.mark.parametrize("path", ["server", "connections"])
async def test_the_way_in_cannot_be_stopped_from_inside(administered, path):
    error = await error_of(await operate(administered, path, "stop"), 409, "wrong_state")
    assert "restart it" in error["message"]


async def test_in_the_wrong_state_it_is_409(administered):
    await error_of(await operate(administered, "broadcasters/clock", "start"), 409, "wrong_state")
    await operate(administered, "broadcasters/clock", "stop")
    await trio.testing.wait_all_tasks_blocked()
    await error_of(await operate(administered, "broadcasters/clock", "stop"), 409, "wrong_state")


@pytest.mark.parametrize("action", ["restart", "stop", "start"])
async def test_an_action_on_nothing_is_404(administered, action):
    await error_of(await operate(administered, "broadcasters/nothing", action), 404, "not_found")


@pytest.mark.parametrize("action", ["destroy", "restart/now", ""])
async def test_an_unknown_action_is_405_since_the_path_may_be_a_node(administered, action):
    await error_of(await operate(administered, "broadcasters/clock", action), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": "Bearer \xff"},
    ],
)
@pytest.mark.parametrize("action", ["restart", "stop", "start"])
async def test_without_the_token_it_is_403_and_nothing_happens(administered, headers, action):
    await error_of(await operate(administered, "broadcasters/clock", action, headers), 403, "not_allowed")
    await trio.testing.wait_all_tasks_blocked()
    node = administered.tree.find("broadcasters/clock")
    assert (node.state, node.generation) == ("running", 1)


async def test_without_the_token_one_does_not_learn_what_there_is(administered):
    await error_of(await operate(administered, "nothing", "stop", {}), 403, "not_allowed")


async def test_where_no_token_is_configured_nobody_is_an_operator_and_the_answer_says_so(system):
    error = await error_of(await operate(system, "hub", "restart"), 403, "not_allowed")
    assert "auth.admin_token_file" in error["message"]


async def test_the_scheme_may_be_written_as_one_likes(administered):
    answer = await operate(administered, "hub", "restart", {"Authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 202


async def test_a_foreign_page_operates_nothing_even_with_the_token(administered):
    answer = await operate(administered, "hub", "restart", {**ADMIN, "Origin": "http://evil.example"})
    await error_of(answer, 403, "bad_origin")


async def test_an_action_is_logged_with_who_did_it_and_without_the_token(administered):
    with structlog.testing.capture_logs() as logs:
        await operate(administered, "hub", "restart", {**ADMIN, "Origin": OWN})
    (line,) = [line for line in logs if line["event"] == "operator_action"]
    assert (line["log_level"], line["action"], line["path"]) == ("info", "restart", "hub")
    assert line["address"]
    assert TOKEN not in str(logs)
    assert TOKEN not in repr(administered.system)


async def test_before_the_tree_is_up_there_is_nothing_to_operate(tmp_path):
    client = create_app(build(admin_settings(tmp_path)).backend).test_client()
    await error_of(await client.post("/api/supervisors/hub/restart", headers=ADMIN), 503, "unavailable")


# --- crash buttons -------------------------------------------------------------------------------------------------


@pytest.fixture
async def debugged():
    async with running(make_settings(server={"debug": True}, actors={"clock": CLOCK})) as system:
        yield system


async def crash(system, path, **options):
    return await system.client.post(f"/api/supervisors/{path}/crash", **(options or LOCAL))


async def test_a_worker_can_be_crashed_to_watch_it_come_back(debugged):
    answer = await crash(debugged, "broadcasters/clock")
    assert answer.status_code == 202
    assert await answer.get_json() == {"path": "broadcasters/clock", "action": "crash"}
    await trio.testing.wait_all_tasks_blocked()
    node = debugged.tree.find("broadcasters/clock")
    assert (node.state, node.generation, node.restarts) == ("running", 2, 1)
    assert node.last_exit.error == "CrashRequested: broadcasters/clock was told to crash"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_the_machine_itself_may_crash(debugged, address):
    assert (await crash(debugged, "hub", **coming_from(address))).status_code == 202


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "localhost", ""])
async def test_nobody_else_may_whatever_proxies_claim(debugged, address):
    forged = {"headers": {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}}
    await error_of(await crash(debugged, "hub", **coming_from(address), **forged), 403, "not_allowed")


async def test_without_debug_nothing_can_be_crashed_not_even_by_an_operator(administered):
    answer = await crash(administered, "hub", headers=ADMIN, **LOCAL)
    error = await error_of(answer, 403, "not_allowed")
    assert "server.debug" in error["message"]


async def test_a_supervisor_is_not_crashed(debugged):
    await error_of(await crash(debugged, "broadcasters"), 409, "wrong_state")
    await error_of(await crash(debugged, "jobs"), 409, "wrong_state")


async def test_what_is_not_there_is_not_crashed(debugged):
    await error_of(await crash(debugged, "nothing"), 404, "not_found")


async def test_what_is_down_is_not_crashed(debugged):
    await debugged.tree.stop_child("broadcasters/clock")
    await error_of(await crash(debugged, "broadcasters/clock"), 409, "wrong_state")


async def test_a_foreign_page_cannot_crash_anything(debugged):
    answer = await crash(debugged, "hub", headers={"Origin": "http://evil.example"}, **LOCAL)
    await error_of(answer, 403, "bad_origin")


# --- health --------------------------------------------------------------------------------------------------------

ALL = ["/api/health", "/api/health/live", "/api/health/ready"]


async def health(client):
    """Status code, status and reasons of each."""
    found = []
    for path in ALL:
        answer = await client.get(path)
        body = await answer.get_json()
        assert list(body) == ["status", "reasons"]
        assert answer.headers["Cache-Control"] == "no-store"
        found.append((answer.status_code, body["status"], body["reasons"]))
    return found


async def test_a_healthy_system_is_ok_alive_and_ready(system):
    assert await health(system.client) == [(200, "ok", [])] * 3


async def test_while_it_starts_it_is_alive_and_not_ready():
    starting = ["the server is starting"]
    assert await health(starting_app().test_client()) == [
        (200, "ok", starting),
        (200, "ok", []),
        (503, "failing", starting),
    ]


async def test_while_it_drains_it_is_alive_and_not_ready(system):
    system.system.backend.phase = "draining"
    draining = ["the server is draining"]
    assert await health(system.client) == [(200, "ok", draining), (200, "ok", []), (503, "failing", draining)]


async def test_the_phase_follows_the_tree():
    async with running() as system:
        assert system.system.backend.phase == "serving"
    assert system.system.backend.phase == "draining"


async def test_a_crash_degrades_until_the_child_has_run_for_its_healthy_uptime(autojump_clock):
    async with running(make_settings(actors={"clock": CLOCK})) as system:
        system.tree.crash("broadcasters/clock", RuntimeError("x"))
        await trio.sleep(0.1)
        reasons = ["broadcasters/clock: failed a moment ago: RuntimeError: x"]
        assert await health(system.client) == [(200, "degraded", reasons), (200, "ok", []), (200, "ok", [])]
        await trio.sleep(4.8)
        assert (await health(system.client))[0][1] == "degraded"
        await trio.sleep(0.2)
        assert await health(system.client) == [(200, "ok", [])] * 3


async def test_a_supervisor_that_was_itself_restarted_degrades_though_its_children_are_new(autojump_clock):
    async def once():
        await trio.sleep(1)
        if trio.current_time() < 1.5:
            raise RuntimeError("the first time")
        await trio.sleep_forever()

    inner = SupervisorSpec([ChildSpec("fragile", once)], max_restarts=0)
    began = trio.current_time()
    async with running(make_settings(), [ChildSpec("inner", inner)]) as system:
        await trio.sleep(1.1 - (trio.current_time() - began))
        assert system.tree.find("broadcasters/inner").generation == 2
        (status, word, (reason,)), *_ = await health(system.client)
    assert (status, word) == (200, "degraded")
    assert reason.startswith("broadcasters/inner: failed a moment ago")


async def test_a_child_that_was_given_up_degrades_the_whole(autojump_clock):
    spec = ChildSpec("broken", failing, restart="transient", backoff=Backoff(first=0.1, maximum=0.1, max_failures=2))
    async with running(make_settings(), [spec]) as system:
        await trio.sleep(60)
        assert (await health(system.client))[0] == (
            200,
            "degraded",
            ["broadcasters/broken: given up: RuntimeError: it fails"],
        )


async def test_a_root_that_is_down_fails_everything():
    async with running() as system:
        pass
    reasons = ["the server is draining", "the root supervisor is failing"]
    assert await health(system.client) == [(503, "failing", reasons)] * 3
