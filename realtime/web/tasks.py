"""Tasks over HTTP: start, list, look up, cancel."""

from __future__ import annotations

from typing import Any, Final

import attrs
from quart import Blueprint, Response

from realtime.actors.tasks import AlreadyEnded, TooManyTasks, UnknownJob, UnknownTask, topic_of
from realtime.fields import BadField, decode_object, shown
from realtime.policy.checks import is_json_object
from realtime.web.access import demand, may, needs
from realtime.web.backend import backend
from realtime.web.errors import ApiError, json_response
from realtime.web.events import json_body
from realtime.web.listings import Page, query_parameters

blueprint = Blueprint("tasks", __name__)

SOON: Final = {"Retry-After": "5"}
"""For who wants more tasks than run at a time: the next end may be near, and nobody knows how near."""


@attrs.frozen
class NewTask:
    """The body of ``POST /api/tasks``: which job, and its parameters."""

    job: str
    params: dict[str, Any] = attrs.field(factory=dict, validator=is_json_object)


@blueprint.get("/api/tasks")
async def listing() -> Response:
    """The newest tasks first."""
    parameters = query_parameters()
    if "after" in parameters:
        raise BadField("after", "after is not known here; tasks are listed from the newest on, at most limit of them")
    tasks = await backend().tasks.newest(Page.from_params(parameters).limit)
    return json_response({"tasks": [task.to_wire() for task in tasks if may("subscribe", topic_of(task.task_id))]})


@blueprint.post("/api/tasks")
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
    return json_response(task.to_wire(), 201, {"Location": f"/api/tasks/{task.task_id}"})


@blueprint.get("/api/tasks/<task_id>")
async def get(task_id: str) -> Response:
    """One task."""
    demand("subscribe", topic_of(task_id))
    try:
        task = await backend().tasks.get(task_id)
    except UnknownTask:
        raise _unknown(task_id) from None
    return json_response(task.to_wire())


@blueprint.delete("/api/tasks/<task_id>")
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
