import pytest
import trio

from realtime.actors.tasks import job
from realtime.policy.progress import TaskRecord
from realtime.ports import StoreError

from ..in_process import closed, error_of, receive, running


@job("count")
async def count(progress, *, upto: int = 2):
    for number in range(1, upto + 1):
        await trio.sleep(1)
        progress.update("counting", 100 * number / upto, f"{number} of {upto}", left=upto - number)
    return {"counted": upto}


@job("fail")
async def fail(progress):
    raise OSError("no space left")


@pytest.fixture
async def system():
    async with running() as found:
        found.system.backend.tasks.register(count)
        found.system.backend.tasks.register(fail)
        yield found


async def start(system, **body):
    return await system.client.post("/api/tasks", json=body)


async def test_a_task_is_started_looked_up_and_listed(autojump_clock, system):
    answer = await start(system, job="count", params={"upto": 1})
    body = await answer.get_json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/tasks/{body['task_id']}"
    assert (body["job"], body["state"], body["stage"], body["percent"], body["message"]) == (
        "count",
        "running",
        None,
        None,
        None,
    )
    assert "ended_at" not in body
    await system.system.backend.tasks.wait(body["task_id"])
    ended = await system.get(answer.headers["Location"])
    assert (ended["state"], ended["percent"], ended["message"]) == ("completed", 100, "1 of 1")
    assert ended["result"] == {"counted": 1}
    assert ended["ended_at"] > ended["created_at"]
    assert await system.get("/api/tasks") == {"tasks": [ended]}


async def test_a_failed_task_says_why(autojump_clock, system):
    body = await (await start(system, job="fail")).get_json()
    await system.system.backend.tasks.wait(body["task_id"])
    found = await system.get(f"/api/tasks/{body['task_id']}")
    assert found["error"] == {"code": "OSError", "message": "no space left"}


async def test_a_task_is_cancelled_once(autojump_clock, system):
    id = (await (await start(system, job="count", params={"upto": 99})).get_json())["task_id"]
    answer = await system.client.delete(f"/api/tasks/{id}")
    assert answer.status_code == 202
    await system.system.backend.tasks.wait(id)
    await error_of(await system.client.delete(f"/api/tasks/{id}"), 409, "wrong_state")
    assert (await system.get(f"/api/tasks/{id}"))["state"] == "cancelled"


async def test_an_unknown_task_is_404(autojump_clock, system):
    await error_of(await system.client.get("/api/tasks/nobody"), 404, "not_found")
    await error_of(await system.client.delete("/api/tasks/nobody"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "job"),
        ({"job": "cuont"}, "job"),
        ({"job": 3}, "job"),
        ({"job": "count", "params": []}, "params"),
        ({"job": "count", "params": {"upto": "two"}}, "params.upto"),
        ({"job": "count", "params": {"up_to": 2}}, "params.up_to"),
        ({"job": "count", "parms": {}}, "parms"),
    ],
)
async def test_a_bad_field_is_400_and_named(autojump_clock, system, body, field):
    error = await error_of(await start(system, **body), 400, "bad_request")
    assert error["details"] == {"field": field}


async def test_the_listing_is_limited_and_takes_no_cursor(autojump_clock, system):
    for _ in range(3):
        await start(system, job="count")
    assert len((await system.get("/api/tasks?limit=2"))["tasks"]) == 2
    error = await error_of(await system.client.get("/api/tasks?after=1"), 400, "bad_request")
    assert error["details"] == {"field": "after"}


async def test_too_many_at_a_time_are_429(autojump_clock, system, monkeypatch):
    monkeypatch.setattr("realtime.actors.tasks.MAX_RUNNING", 1)
    await start(system, job="count")
    answer = await start(system, job="count")
    await error_of(answer, 429, "too_many_requests")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_history_that_cannot_be_written_is_503_and_nothing_runs(autojump_clock, system, monkeypatch):
    async def refuse(task):
        raise StoreError("on purpose")

    monkeypatch.setattr(system.system.tasks, "add", refuse)
    await error_of(await start(system, job="count"), 503, "unavailable")
    assert system.system.backend.tasks.statistics().running == 0


async def test_while_the_jobs_are_stopped_it_is_503_and_no_task_seems_to_run(autojump_clock, system):
    await system.tree.stop_child("jobs")
    await error_of(await start(system, job="count"), 503, "unavailable")
    assert system.system.backend.tasks.statistics().running == 0
    (task,) = (await system.get("/api/tasks"))["tasks"]
    assert (task["state"], "ended_at" in task) == ("interrupted", True)


# --- the socket ----------------------------------------------------------------------------------------------------


async def test_a_task_is_watched_from_its_current_state_to_its_end(autojump_clock, system):
    id = (await (await start(system, job="count")).get_json())["task_id"]
    await trio.sleep(1.5)
    async with system.websocket(f"/ws/tasks/{id}") as socket:
        confirmed, state, update, end = await receive(socket, 4)
        assert (confirmed["type"], confirmed["topic"], confirmed["conflate"]) == ("subscribed", f"tasks/{id}", True)
        assert (state["type"], state["data"]["message"], state["data"]["extra"]) == ("progress", "1 of 2", {"left": 1})
        assert (update["type"], update["data"]["percent"]) == ("progress", 100)
        assert (end["type"], end["data"]["result"]) == ("completed", {"counted": 2})
        assert await closed(socket) == 1000


async def test_who_comes_after_the_end_gets_the_outcome_and_is_closed(autojump_clock, system):
    id = (await (await start(system, job="fail")).get_json())["task_id"]
    await system.system.backend.tasks.wait(id)
    async with system.websocket(f"/ws/tasks/{id}") as socket:
        confirmed, end = await receive(socket, 2)
        assert confirmed["type"] == "subscribed"
        assert (end["type"], end["data"]["error"]["code"]) == ("failed", "OSError")
        assert await closed(socket) == 1000


async def test_who_comes_while_the_end_is_written_down_is_told_it(autojump_clock, system, monkeypatch):
    write = system.system.tasks.end

    async def write_slowly(task):
        await trio.sleep(2)
        await write(task)

    monkeypatch.setattr(system.system.tasks, "end", write_slowly)
    id = (await (await start(system, job="count")).get_json())["task_id"]
    await trio.sleep(2.5)  # the job takes two seconds
    async with system.websocket(f"/ws/tasks/{id}") as socket:
        _, state, end = await receive(socket, 3)
        assert (state["type"], end["type"]) == ("progress", "completed")
        assert await closed(socket) == 1000


async def test_of_a_task_of_long_ago_the_store_tells(autojump_clock, system):
    at = "2026-01-01T00:00:00.000Z"
    await system.system.tasks.add(TaskRecord("old", "count", "interrupted", at, ended_at=at))
    async with system.websocket("/ws/tasks/old") as socket:
        confirmed, end = await receive(socket, 2)
        assert (confirmed["type"], confirmed["offset"]) == ("subscribed", 0)
        assert (end["type"], end["topic"], end["offset"]) == ("interrupted", "tasks/old", 1)
        assert await closed(socket) == 1000


async def test_an_unknown_task_is_closed_with_4404(autojump_clock, system):
    async with system.websocket("/ws/tasks/nobody") as socket:
        assert await closed(socket) == 4404
