"""Tasks over HTTP: start, list, look up, cancel."""

from __future__ import annotations

from typing import Any, Final, Self

import attrs
from quart import Blueprint, Response

from realtime.actors.tasks import AlreadyEnded, TooManyTasks, UnknownJob, UnknownTask, topic_of
from realtime.fields import BadField, build_first, decode_object, shown
from realtime.policy.checks import Limit, is_json_object, is_limit
from realtime.web import shapes
from realtime.web.access import demand, may, needs
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import ApiError, json_response
from realtime.web.events import json_body
from realtime.web.listings import query_parameters, whole_number
from supervisors import SupervisorError

blueprint = Blueprint("tasks", __name__)

SOON: Final = {"Retry-After": "5"}
"""For who wants more tasks than run at a time: the next end may be near, and nobody knows how near."""

EXAMPLE: Final = {
    "task_id": "01JGFJJZ00D3C5Q9Z8Y7X6W5V4",
    "job": "hash_tree",
    "state": "running",
    "stage": "hashing",
    "percent": 42.5,
    "message": "photos/0017.jpg",
    "created_at": "2026-01-01T00:00:00.000Z",
}
_TASK_ID: Final = {"task_id": ("the id that its creator was given", EXAMPLE["task_id"])}


@attrs.frozen
class NewTask:
    """The body of ``POST /api/tasks``: which job, and its parameters."""

    job: str
    params: dict[str, Any] = attrs.field(factory=dict, validator=is_json_object)


@attrs.frozen
class Newest:
    """Which tasks are wanted: at most *limit*, from the newest on."""

    limit: Limit = attrs.field(default=100, validator=is_limit)

    @classmethod
    def from_params(cls, params: dict[str, str]) -> Self:
        """What the parameters of a URL say; BadField for an unknown name or a bad value."""
        values = {name: whole_number(name, text) if name == "limit" else text for name, text in params.items()}
        return build_first(cls, values)


@blueprint.get("/api/tasks")
@described(query=Newest, answers={200: Answer(shapes.Tasks, {"tasks": [EXAMPLE]})}, errors=(503,))
async def listing() -> Response:
    """The newest tasks first."""
    tasks = await backend().tasks.newest(Newest.from_params(query_parameters()).limit)
    return json_response({"tasks": [task.to_wire() for task in tasks if may("subscribe", topic_of(task.task_id))]})


@blueprint.post("/api/tasks")
@described(
    body=NewTask,
    example={"job": "hash_tree", "params": {"folder": "photos"}},
    answers={201: Answer(shapes.Task, EXAMPLE, "It runs.", headers={"Location": "where it is found"})},
    errors=(503,),
)
@needs("start_task")
async def start() -> Response:
    """Start a job; 201 means that it runs, and will not be forgotten."""
    wanted = decode_object(await json_body(), NewTask)
    try:
        task = await backend().tasks.start(wanted.job, wanted.params)
    except UnknownJob as error:
        raise BadField("job", str(error)) from error
    except TooManyTasks as error:
        raise ApiError(429, str(error), headers=SOON) from error
    except SupervisorError as error:  # an operator has stopped the jobs, or they are being restarted
        raise ApiError(503, f"no task can be started now: {error}", headers=SOON) from error
    return json_response(task.to_wire(), 201, {"Location": f"/api/tasks/{task.task_id}"})


@blueprint.get("/api/tasks/<task_id>")
@described(path=_TASK_ID, answers={200: Answer(shapes.Task, EXAMPLE)}, errors=(404, 503))
async def get(task_id: str) -> Response:
    """One task."""
    demand("subscribe", topic_of(task_id))
    try:
        task = await backend().tasks.get(task_id)
    except UnknownTask:
        raise _unknown(task_id) from None
    return json_response(task.to_wire())


@blueprint.delete("/api/tasks/<task_id>")
@described(
    path=_TASK_ID,
    answers={202: Answer(shapes.Task, EXAMPLE, "It was asked to end.")},
    errors=(404, 409, 503),
)
@needs("cancel_task")
async def cancel(task_id: str) -> Response:
    """Ask a task to end; 202 means that it was asked."""
    try:
        task = await backend().tasks.cancel(task_id)
    except UnknownTask:
        raise _unknown(task_id) from None
    except AlreadyEnded:
        raise ApiError(409, f"task {shown(task_id)} has ended") from None
    return json_response(task.to_wire(), 202)


def _unknown(task_id: str) -> ApiError:
    return ApiError(404, f"there is no task {shown(task_id)}")
