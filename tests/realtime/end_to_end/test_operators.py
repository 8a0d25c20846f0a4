"""An operator's hand on the tree, and who has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.realtime.server_process import Answer, ServerProcess

from .clients import ask, in_thread, listening, wait_until

TOKEN = "correct horse battery staple"
CLOCK = "broadcasters/clock"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "admin.token").write_text(f"{TOKEN}\n", encoding="utf-8")
    clock = {"use": "realtime.actors.clock", "interval": 0.25}
    settings = {"auth": {"admin_token_file": "admin.token"}, "actors.clock": clock}
    with ServerProcess(folder, settings) as process:
        yield process
        assert not process.complaints()


def operate(server: ServerProcess, path: str, action: str, token: str | None = TOKEN) -> Answer:
    """Ask for *action* as an operator."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return server.request("POST", f"/api/supervisors/{path}/{action}", headers=headers)


def code(answer: Answer) -> str:
    """The error's code."""
    found: str = answer.json()["error"]["code"]
    return found


async def node_in(server: ServerProcess, path: str, state: str, generation: int | None = None) -> dict[str, Any]:
    """The node, once it is in *state*."""

    def found() -> dict[str, Any] | None:
        node: dict[str, Any] = server.get(f"/api/supervisors/{path}")
        return node if node["state"] == state and generation in (None, node["generation"]) else None

    node: dict[str, Any] = await wait_until(found)
    return node


async def test_an_operator_restarts_a_child_without_spending_any_budget(server):
    """Contract 4: 202, then it acts."""
    before = server.get(f"/api/supervisors/{CLOCK}")
    answer = operate(server, CLOCK, "restart")
    assert (answer.status, answer.json()) == (202, {"path": CLOCK, "action": "restart"})
    node = await node_in(server, CLOCK, "running", before["generation"] + 1)
    assert node["health"] == "ok"
    assert node["restarts"] == before["restarts"]
    assert server.wait_for_log("operator_action", action="restart", path=CLOCK)["level"] == "info"


async def test_an_operator_stops_a_child_and_starts_it_again(server):
    """Contract 4: ``/stop`` and ``/start``; 409 in the wrong state."""
    async with listening(server, "/ws/watching") as client:
        assert (await in_thread(operate, server, CLOCK, "stop")).status == 202
        await node_in(server, CLOCK, "stopped")
        again = await in_thread(operate, server, CLOCK, "stop")
        assert (again.status, code(again)) == (409, "wrong_state")

        assert (await in_thread(operate, server, CLOCK, "start")).status == 202
        await node_in(server, CLOCK, "running")
        again = await in_thread(operate, server, CLOCK, "start")
        assert (again.status, code(again)) == (409, "wrong_state")
        ticks = len(client.all("time_update"))
        await client.several(ticks + 2, "time_update")
        assert client.closed is None


async def test_even_the_server_is_restarted_by_a_request_that_it_answers(server):
    """Contract 4: an answer cannot wait for its own server to stop; no connection is closed for it."""
    async with listening(server, "/ws/watching") as client:
        before = (await ask(server, "GET", "/api/supervisors/server")).json()["generation"]
        assert (await in_thread(operate, server, "server", "restart")).status == 202
        await node_in(server, "server", "running", before + 1)
        ticks = len(client.all("time_update"))
        await client.several(ticks + 2, "time_update")


async def test_what_is_not_there_is_404(server):
    """Contract 4."""
    for action in ("restart", "stop", "start"):
        answer = operate(server, "broadcasters/nothing", action)
        assert (answer.status, code(answer)) == (404, "not_found")
    assert operate(server, CLOCK, "explode").status in (404, 405)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "ä"])
async def test_without_the_token_it_is_403_and_nothing_happens(server, token):
    """Contract 4: 403 without the admin scope."""
    before = server.get(f"/api/supervisors/{CLOCK}")
    for action in ("restart", "stop", "start"):
        encoded = None if token is None else token.encode().decode("latin-1")
        answer = operate(server, CLOCK, action, encoded)
        assert (answer.status, code(answer)) == (403, "not_allowed")
    after = server.get(f"/api/supervisors/{CLOCK}")
    assert (after["generation"], after["state"]) == (before["generation"], before["state"])


async def test_who_is_not_allowed_learns_nothing_of_what_there_is(server):
    """403 comes before 404."""
    assert operate(server, "broadcasters/nothing", "restart", None).status == 403


async def test_the_crash_button_needs_debug_and_not_a_token(server):
    """Contract 4: ``/crash`` only with ``debug``."""
    answer = operate(server, CLOCK, "crash")
    assert (answer.status, code(answer)) == (403, "not_allowed")
    assert "server.debug" in answer.json()["error"]["message"]


async def test_without_a_configured_token_every_operator_action_is_403_and_says_so(make_server):
    """Contract 1: no admin token configured."""
    server = make_server(debug=True).start()
    answer = operate(server, CLOCK, "restart", "anything")
    assert (answer.status, code(answer)) == (403, "not_allowed")
    assert "auth.admin_token_file" in answer.json()["error"]["message"]
    # A worker can be crashed, a supervisor or nothing at all cannot.
    assert operate(server, CLOCK, "crash", None).status == 202
    wrong = operate(server, "broadcasters", "crash", None)
    assert (wrong.status, code(wrong)) == (409, "wrong_state")
    assert operate(server, "broadcasters/nothing", "crash", None).status == 404
