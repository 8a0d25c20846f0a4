"""Errors say what happened in words made from their fields."""

import copy
import pickle
from typing import Any

import pytest

import supervisors
from supervisors import errors

SAMPLES: list[tuple[Any, str]] = [
    (errors.StartError("s/a", "no port"), "child 's/a' did not start: no port"),
    (errors.NotStarted("why"), "why"),
    (errors.NoSuchChild("s/a"), "no child has the path 's/a'"),
    (errors.ChildRunning("a"), "child 'a' is running; stop it first"),
    (errors.ChildRestarting("a"), "child 'a' is being restarted"),
    (errors.ChildPresent("a"), "child 'a' is known already but not running; restart it, or delete it first"),
    (errors.ChildNotRunning("a", "stopped"), "child 'a' is not running, it is stopped"),
    (errors.WrongKind("a", "is not an actor"), "'a' is not an actor"),
    (errors.TooManyChildren("p", 3), "supervisor 'p' already has its 3 children"),
    (errors.SupervisorNotRunning("p"), "supervisor 'p' is not running"),
    (errors.MailboxFull("a", 5), "the mailbox of 'a' is full (5 messages)"),
    (errors.MailboxClosed("a"), "actor 'a' is not running; nothing was sent"),
    (errors.ActorStopped("a"), "actor 'a' ended before it replied"),
    (errors.ActorCrashed("a"), "actor 'a' crashed while it handled the request"),
    (errors.MessageDropped("a", "drop_oldest"), "the mailbox of 'a' was full and dropped the request (drop_oldest)"),
    (errors.CallCycle(("a", "b", "a")), "a cycle of calls, which could never end: a -> b -> a"),
    (errors.ChildEnded("a", "normal"), "child 'a' ended (normal) and was to be kept running"),
    (errors.IllegalTransition("failed", "ended"), "a child that is failed cannot take the event 'ended'"),
]


@pytest.mark.parametrize(("error", "text"), SAMPLES, ids=[type(error).__name__ for error, _ in SAMPLES])
def test_an_error_says_what_happened(error: Exception, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, supervisors.SupervisorError)


@pytest.mark.parametrize(("error", "text"), SAMPLES, ids=[type(error).__name__ for error, _ in SAMPLES])
def test_an_error_can_be_raised_chained_noted_copied_and_pickled(error: Exception, text: str) -> None:
    """Frozen as it is."""
    with pytest.raises(type(error)) as caught:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise error from cause
    caught.value.add_note("a note")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), str(twin)) == (type(error), text)


def test_a_missing_child_is_also_a_key_error() -> None:
    assert isinstance(errors.NoSuchChild("a"), KeyError)


def test_an_orderly_end_is_no_error_of_ours() -> None:
    assert not issubclass(supervisors.Shutdown, supervisors.SupervisorError)
    assert not issubclass(supervisors.Ignore, supervisors.SupervisorError)


def test_everything_public_exists_and_is_listed_once() -> None:
    assert len(set(supervisors.__all__)) == len(supervisors.__all__)
    for name in supervisors.__all__:
        assert getattr(supervisors, name) is not None
