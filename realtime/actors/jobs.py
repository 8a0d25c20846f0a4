"""Jobs: functions that can be started as tasks. What runs them is in `realtime.actors.tasks`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from realtime.actors.parameters import arguments
from realtime.fields import positive_seconds

TIMEOUT: Final = 3600.0
"""Seconds that a job may take which says nothing else."""


@attrs.frozen
class Job:
    """What can be started as a task.

    Attributes:
      function: ``async def`` or a plain function, which runs in a thread. Its first parameter takes a
        `ProgressEmitter`; its keyword parameters are the task's, checked against their annotations. What it returns,
        with a JSON form, is the task's result.
      timeout: seconds after which it is ended, as failed.
      check: called with the parameters before a task is started; raises BadField.
    """

    name: str = attrs.field(validator=attrs.validators.matches_re(r"[A-Za-z0-9_.-]{1,64}"))
    function: Callable[..., Any]
    timeout: float = TIMEOUT
    check: Callable[[Mapping[str, Any]], object] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as if it had not been decorated."""
        return self.function(*args, **kwargs)

    def parameters(self, given: Mapping[str, object]) -> dict[str, Any]:
        """What the function is called with.

        Raises:
          BadField: a parameter is unknown, missing or of the wrong type; `field` is ``params.<name>``.
        """
        values = arguments(self.name, self.function, given)
        if self.check is not None:
            self.check(values)
        return values


def job(name: str, *, timeout: float = TIMEOUT) -> Callable[[Callable[..., Any]], Job]:
    """Make a job called *name* of a function; see `Job`.

    Raises:
      ValueError: *name* or *timeout* is none, or the function takes no progress emitter.
    """
    positive_seconds("timeout", timeout)

    def make(function: Callable[..., Any]) -> Job:
        if not inspect.signature(function).parameters:
            raise ValueError(f"{function.__name__}() must take a ProgressEmitter as its first argument")
        return Job(name, function, timeout)

    return make
