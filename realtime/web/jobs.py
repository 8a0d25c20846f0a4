"""The jobs that can be started as tasks, and what each of them wants to know."""

from __future__ import annotations

import inspect
import typing
from typing import Annotated, Any, Final

import attrs
from msgspec import Meta
from quart import Blueprint, Response

from realtime.actors.jobs import Job
from realtime.web.backend import backend
from realtime.web.described import Answer, described
from realtime.web.errors import json_response

blueprint = Blueprint("jobs", __name__)


@attrs.frozen
class Parameter:
    """One parameter of a job."""

    name: str
    type: Annotated[str, Meta(description="as its annotation says it", examples=["str"])]
    required: bool
    default: Annotated[Any, Meta(description="null where it is required")]


@attrs.frozen
class JobFacts:
    """A job, as `POST /api/tasks` takes it."""

    job: str
    timeout_s: Annotated[float, Meta(gt=0)]
    params: list[Parameter]


@attrs.frozen
class Jobs:
    """Every job that is known, by name."""

    jobs: list[JobFacts]


EXAMPLE: Final = {
    "job": "hash_folder",
    "timeout_s": 3600.0,
    "params": [{"name": "folder", "type": "str", "required": False, "default": "."}],
}


@blueprint.get("/api/jobs")
@described(answers={200: Answer(Jobs, {"jobs": [EXAMPLE]})})
async def listing() -> Response:
    """The jobs by name."""
    known = backend().tasks.jobs
    return json_response(Jobs([facts(known[name]) for name in sorted(known)]))


def facts(job: Job) -> JobFacts:
    """What is to be known of *job* before it is started."""
    hints = typing.get_type_hints(job.function, include_extras=True)
    parameters = list(inspect.signature(job.function).parameters.values())[1:]
    return JobFacts(job.name, job.timeout, [_parameter(each, hints.get(each.name, Any)) for each in parameters])


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    required = parameter.default is parameter.empty
    shown = hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")
    return Parameter(parameter.name, shown, required, None if required else parameter.default)
