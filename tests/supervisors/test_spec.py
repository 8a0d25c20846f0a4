"""Wrong values fail when built, and the error names the field."""

import inspect
import math
from functools import partial
from typing import Any

import attrs
import pytest
from hypothesis import given

from supervisors import (
    BRUTAL_KILL,
    INFINITY,
    Actor,
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    MailboxSpec,
    Ref,
    SupervisorRef,
    SupervisorSpec,
)
from supervisors.spec import keywords_wanted
from tests import strategies


async def work() -> None:
    """A child that ends at once."""


NOT_SECONDS = [0, -1.0, "5", None, True, math.nan]
NOT_COUNTS = [-1, 1.5, "3", None, True]

WRONG = [
    *((Backoff, {field: value}, field) for field in ("first", "maximum", "healthy_uptime") for value in NOT_SECONDS),
    (Backoff, {"first": math.inf}, "first"),
    (Backoff, {"maximum": math.inf}, "maximum"),
    (Backoff, {"first": 2.0, "maximum": 1.0}, "maximum"),
    *((Backoff, {"max_failures": value}, "max_failures") for value in (0, -1, 1.5, "3", True)),
    *((MailboxSpec, {"capacity": value}, "capacity") for value in (0, *NOT_COUNTS)),
    (MailboxSpec, {"overflow": "drop"}, "overflow"),
    *((SupervisorSpec, {"max_restarts": value}, "max_restarts") for value in NOT_COUNTS),
    *((SupervisorSpec, {"max_seconds": value}, "max_seconds") for value in NOT_SECONDS),
    (SupervisorSpec, {"strategy": "all_for_one"}, "strategy"),
    (SupervisorSpec, {"auto_shutdown": True}, "auto_shutdown"),
    (SupervisorSpec, {"give_up": "never"}, "give_up"),
    (SupervisorSpec, {"on_start": "f"}, "on_start"),
    (SupervisorSpec, {"children": [work]}, "children"),
    (SupervisorSpec, {"children": [ChildSpec("a", work), ChildSpec("a", work)]}, "'a' twice"),
    *((DynamicSupervisorSpec, {"max_restarts": value}, "max_restarts") for value in NOT_COUNTS),
    *((DynamicSupervisorSpec, {"max_seconds": value}, "max_seconds") for value in NOT_SECONDS),
    *((DynamicSupervisorSpec, {"max_children": value}, "max_children") for value in (0, -1, 1.5, "3", True)),
    (DynamicSupervisorSpec, {"auto_shutdown": "sometimes"}, "auto_shutdown"),
    (DynamicSupervisorSpec, {"give_up": "never"}, "give_up"),
    (DynamicSupervisorSpec, {"on_start": 1}, "on_start"),
    (DynamicSupervisorSpec, {"on_stop": 1}, "on_stop"),
    (DynamicSupervisorSpec, {"concurrent": "no"}, "concurrent"),
    *((ChildSpec, {"id": value}, "id") for value in ("", "a/b", 1, None)),
    (ChildSpec, {"start": "work"}, "start"),
    (ChildSpec, {"restart": "always"}, "restart"),
    *((ChildSpec, {"shutdown": value}, "shutdown") for value in (-1, "5", True, math.nan)),
    *((ChildSpec, {"start_timeout": value}, "start_timeout") for value in (0, -1, "5", True, math.nan)),
    (ChildSpec, {"significant": "yes"}, "significant"),
    (ChildSpec, {"significant": True}, "significant"),
    (ChildSpec, {"backoff": 1.0}, "backoff"),
    (ChildSpec, {"backoff": Backoff(), "restart": "temporary"}, "backoff"),
    (ChildSpec, {"mailbox": 100}, "mailbox"),
    (ChildSpec, {"ref": Ref()}, "ref"),
    (ChildSpec, {"start": Actor, "ref": SupervisorRef()}, "ref"),
    (ChildSpec, {"start": SupervisorSpec(), "ref": Ref()}, "ref"),
    (ChildSpec, {"start": SupervisorSpec(), "args": (1,)}, "args"),
    (ChildSpec, {"start": SupervisorSpec(), "kwargs": {"a": 1}}, "kwargs"),
]


@pytest.mark.parametrize(("kind", "values", "named"), WRONG)
def test_a_wrong_value_is_refused_by_name(kind: Any, values: dict[str, Any], named: str) -> None:
    given = {"id": "a", "start": work, **values} if kind is ChildSpec else values
    with pytest.raises((ValueError, TypeError), match=named):
        kind(**given)


def test_a_coroutine_is_told_from_a_function() -> None:
    coroutine = work()
    with pytest.raises(TypeError, match=r"leave out the \(\)"):
        ChildSpec("a", coroutine)  # type: ignore[arg-type]
    coroutine.close()


@pytest.mark.parametrize("spec", [SupervisorSpec(), DynamicSupervisorSpec()], ids=["fixed", "dynamic"])
def test_a_significant_child_needs_a_supervisor_that_heeds_it(spec: SupervisorSpec | DynamicSupervisorSpec) -> None:
    child = ChildSpec("a", work, restart="transient", significant=True)
    with pytest.raises(ValueError, match="'a' is significant"):
        spec.accept(child)
    attrs.evolve(spec, auto_shutdown="any_significant").accept(child)
    with pytest.raises(ValueError, match="'a' is significant"):
        SupervisorSpec([child])


def test_defaults_are_those_of_elixir_and_depend_on_the_kind() -> None:
    worker = ChildSpec("a", work)
    assert (worker.restart, worker.shutdown, worker.start_timeout) == ("permanent", 5.0, 30.0)
    supervisor = ChildSpec("s", SupervisorSpec())
    assert (supervisor.shutdown, supervisor.start_timeout) == (INFINITY, INFINITY)
    spec = SupervisorSpec()
    assert (spec.strategy, spec.max_restarts, spec.max_seconds) == ("one_for_one", 3, 5.0)


@pytest.mark.parametrize("shutdown", [0, 0.5, 5, INFINITY, BRUTAL_KILL])
def test_shutdown_takes_a_time_or_none_at_all(shutdown: Any) -> None:
    assert ChildSpec("a", work, shutdown=shutdown).shutdown is shutdown


def test_brutal_kill_prints_as_it_is_written() -> None:
    assert repr(BRUTAL_KILL) == "BRUTAL_KILL"


def test_specs_are_frozen_and_evolve() -> None:
    spec = ChildSpec("a", work)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.id = "b"  # type: ignore[misc]
    assert attrs.evolve(spec, restart="transient").restart == "transient"
    with pytest.raises(ValueError, match="restart"):
        attrs.evolve(spec, restart="never")


@given(strategies.backoffs())
def test_any_sensible_backoff_is_accepted(backoff: Backoff) -> None:
    assert 0 < backoff.first <= backoff.maximum
    assert ChildSpec("a", work, backoff=backoff).backoff is backoff


async def _both(*, task_status: object, stopping: object) -> None: ...
async def _one(path: str, stopping: object) -> None: ...
async def _none(**kwargs: object) -> None: ...
async def _positional(task_status: object, /) -> None: ...


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        (_both, {"task_status", "stopping"}),
        (_one, {"stopping"}),
        (partial(_one, "x"), {"stopping"}),
        (_none, set()),  # it takes anything, and asks for nothing
        (_positional, set()),
    ],
)
def test_a_function_gets_what_it_names(start: Any, wanted: set[str]) -> None:
    assert set(keywords_wanted(start, ("task_status", "stopping"))) == wanted


def test_a_function_without_a_signature_gets_nothing() -> None:
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(type)
    assert keywords_wanted(type, ("task_status",)) == ()
