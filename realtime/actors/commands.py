"""Jobs that run a command of the configuration, with its lines of output as progress. Never a shell.

What may be run, and with which arguments, stands in ``[jobs.<name>]``. A client gives values for the parameters, each
of which has to match its regular expression whole; a value never becomes more than a part of one argument.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from realtime.actors.jobs import Job
from realtime.actors.progress import ProgressEmitter, TaskEnded
from realtime.fields import BadField, shown
from realtime.sections import JobSettings
from supervisors import Command, ProcessFailed

MAX_VALUE: Final = 1000
"""Characters of a parameter's value."""

LAST_LINES: Final = 5
"""Lines of output in the message of a failure."""

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def command_job(name: str, settings: JobSettings, *, folder: Path) -> Job:
    """The job *name*, which runs the command of *settings* in *folder*.

    Its parameters are those that ``parameters`` of the settings names; each has to be given, as a text.
    """

    async def run(progress: ProgressEmitter, **values: str) -> dict[str, Any]:
        argv = arguments(settings, values)
        progress.update("running", message=argv[0], lines=0)
        lines = 0

        def on_line(stream: str, text: str) -> None:
            nonlocal lines
            lines += 1
            try:
                progress.update(message=text, stream=stream, lines=lines)
            except TaskEnded:
                pass  # it was cancelled, and so is the command: these are its last lines

        command = Command(argv, cwd=folder, log=None, on_line=on_line)
        try:
            # Cancelled, its whole process group is killed.
            await command(task_status=trio.TASK_STATUS_IGNORED, stopping=trio.Event())
        except ProcessFailed as error:
            how = f"exited with status {error.status}" if error.signal is None else f"was killed by {error.signal}"
            raise CommandFailed("\n".join([f"it {how}", *error.lines[-LAST_LINES:]])) from error
        return {"status": 0, "lines": lines}

    # What is given is checked against the parameters of the settings, as if they were written in a signature.
    emitter = inspect.Parameter("progress", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=ProgressEmitter)
    parameters = [
        inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, annotation=str) for each in settings.parameters
    ]
    run.__signature__ = inspect.Signature([emitter, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {"progress": ProgressEmitter, **dict.fromkeys(settings.parameters, str)}
    return Job(name, run, settings.timeout, check=lambda values: check(settings, values))


class CommandFailed(Exception):
    """The command ended with another status than 0, or by a signal; the text has its last lines."""


def check(settings: JobSettings, values: Mapping[str, Any]) -> None:
    """Whether each of *values* is one that the settings allow.

    Raises:
      BadField: naming the first that is not.
    """
    for name, pattern in settings.parameters.items():
        value = values[name]
        if len(value) > MAX_VALUE or "\0" in value or not re.fullmatch(pattern, value):
            raise BadField(f"params.{name}", f"params.{name} must match {pattern}, got {shown(value)}")


def arguments(settings: JobSettings, values: Mapping[str, str]) -> list[str]:
    """The command with *values* in place of their ``{name}``; other braces stay as they are."""

    def value(found: re.Match[str]) -> str:
        return values.get(found[1], found[0])

    return [settings.command[0], *(_PLACEHOLDER.sub(value, argument) for argument in settings.command[1:])]
