"""The facts of a snapshot."""

from __future__ import annotations

from supervisors import Exit, LastExit


def test_an_exception_whose_text_cannot_be_made_does_not_break_a_snapshot() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert LastExit(Exit("crashed", Silent()), 0.0).error == "Silent: <its text cannot be made>"
