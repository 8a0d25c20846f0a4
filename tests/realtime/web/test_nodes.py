import enum

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.messages import encode
from realtime.web.nodes import LONGEST_ERROR, LONGEST_TRACEBACK, node_to_wire
from supervisors import Budget, Exit, LastExit, MailboxDepth, Node


def node(**changes):
    minimal = Node(
        id="clock",
        path="broadcasters/clock",
        kind="worker",
        state="running",
        health="ok",
        reasons=(),
        generation=1,
        restarts=0,
    )
    return attrs.evolve(minimal, **changes)


def on_the_wire(found, tracebacks=False):
    return msgspec.json.decode(encode(node_to_wire(found, tracebacks=tracebacks)))


def crashed(error, tracebacks=False):
    last = LastExit(Exit("crashed", error), 2.0)
    return on_the_wire(node(last_exit=last), tracebacks)["last_exit"]


def test_what_has_no_meaning_for_a_node_is_left_out():
    assert on_the_wire(node()) == {
        "id": "clock",
        "path": "broadcasters/clock",
        "kind": "worker",
        "state": "running",
        "health": "ok",
        "reasons": [],
        "generation": 1,
        "restarts": 0,
        "stats": {},
    }


def test_everything_else_stands_under_the_names_of_the_protocol():
    found = on_the_wire(
        node(
            kind="supervisor",
            health="degraded",
            reasons=("a is not ok",),
            restart="permanent",
            strategy="one_for_one",
            budget=Budget(3, 5.0, 2),
            uptime=1.23456,
            mailbox=MailboxDepth(1, 10, 0),
            next_retry=0.51239,
            stats={"published": 3, "last_run_s": 0.12345678, "asleep": False, "topic": "clock", "nothing": None},
            children=(node(id="a", path="a"),),
            children_total=51,
        )
    )
    assert found["budget"] == {"max_restarts": 3, "max_seconds": 5.0, "left": 2}
    assert (found["strategy"], found["restart"]) == ("one_for_one", "permanent")
    assert (found["uptime_s"], found["next_retry_s"]) == (1.235, 0.512)
    assert found["mailbox"] == {"depth": 1, "capacity": 10, "dropped": 0}
    assert found["stats"] == {
        "published": 3,
        "last_run_s": 0.123457,
        "asleep": False,
        "topic": "clock",
        "nothing": None,
    }
    assert [child["path"] for child in found["children"]] == ["a"]
    assert found["children_total"] == 51
    assert found["reasons"] == ["a is not ok"]


def test_a_supervisor_without_children_says_so():
    assert on_the_wire(node(kind="supervisor", children=(), children_total=0))["children"] == []


def test_an_orderly_end_has_no_error():
    found = on_the_wire(node(last_exit=LastExit(Exit("shutdown"), 1.0)))["last_exit"]
    assert list(found) == ["reason", "at"]
    assert found["reason"] == "shutdown"
    assert found["at"].endswith("Z")


def test_a_crash_shows_its_error_and_its_traceback_only_to_those_who_may_see_it():
    try:
        raise ValueError("wrong")
    except ValueError as error:
        hidden, shown = crashed(error), crashed(error, tracebacks=True)
    assert hidden["error"] == shown["error"] == "ValueError: wrong"
    assert "traceback" not in hidden
    assert shown["traceback"].startswith("Traceback (most recent call last)")


@pytest.mark.parametrize("size", [LONGEST_ERROR * 2, 1_000_000])
def test_a_long_error_is_cut_in_its_middle(size):
    found = crashed(ValueError("<" + "x" * size + ">"), tracebacks=True)
    assert len(found["error"]) < LONGEST_ERROR + 100
    assert found["error"].startswith("ValueError: <")
    assert found["error"].endswith("x>")
    assert len(found["traceback"]) < LONGEST_TRACEBACK + 100


def test_so_is_a_long_reason():
    (reason,) = on_the_wire(node(reasons=("x" * 5000,)))["reasons"]
    assert len(reason) < LONGEST_ERROR + 100


def test_an_error_that_utf_8_cannot_carry_is_escaped():
    """As the name of a file may hold."""
    found = crashed(OSError("no file 'a\udcff'"), tracebacks=True)
    assert found["error"] == "OSError: no file 'a\\udcff'"
    assert "\\udcff" in found["traceback"]


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([1, 2.5, "x"], [1, 2.5, "x"]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (Colour.RED, "red"),
        (Point(1), {"x": 1}),
        (2**70, 2**70),
        (float("nan"), None),
        (float("inf"), None),
        (object(), "<object has no JSON form>"),
        (1j, "<complex has no JSON form>"),
        ({(1, 2): 3}, "<dict has no JSON form>"),
        ("\ud800", "<str has no JSON form>"),
        ([object()], "<list has no JSON form>"),
    ],
)
def test_a_figure_is_shown_or_said_to_have_no_form(value, shown):
    assert on_the_wire(node(stats={"figure": value}))["stats"] == {"figure": shown}


def test_a_figure_that_holds_itself_does_not_hold_up_the_others():
    endless = []
    endless.append(endless)
    assert on_the_wire(node(stats={"a": endless, "b": 1}))["stats"] == {"a": "<list has no JSON form>", "b": 1}


@given(st.text(max_size=3000), st.integers(1, 4).map(lambda n: n * 1000))
def test_whatever_an_error_says_it_can_be_sent(text, size):
    found = crashed(RuntimeError((text * 10)[:size]), tracebacks=True)
    assert found["error"].startswith("RuntimeError: ")
