"""The drawing of the state machine says what the table says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import get_args
from xml.etree import ElementTree

import pytest

from supervisors.policy.lifecycle import TRANSITIONS, State

SCRIPT = Path(__file__).parents[2] / "docs" / "extensions" / "lifecycle.py"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lifecycle_diagram", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def drawing(script: ModuleType) -> ElementTree.Element:
    return ElementTree.fromstring(script.draw())


def groups(drawing: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [group for group in drawing.iter(f"{SVG}g") if group.get("class") == kind]


def test_each_state_has_a_box(drawing: ElementTree.Element) -> None:
    names = [group.findtext(f"{SVG}text") for group in groups(drawing, "state")]
    assert sorted(map(str, names)) == sorted(get_args(State))


def test_each_transition_has_an_arrow_with_its_event(drawing: ElementTree.Element) -> None:
    labels = [str(group.findtext(f"{SVG}text")) for group in groups(drawing, "arrow")]
    assert len(labels) == len({(before, after) for (before, _), after in TRANSITIONS.items()})
    events = [event for label in labels for event in label.split(", ")]
    assert sorted(events) == sorted(event for _, event in TRANSITIONS)


def test_all_of_it_is_within_the_picture(script: ModuleType, drawing: ElementTree.Element) -> None:
    for text in drawing.iter(f"{SVG}text"):
        half = len(str(text.text)) * 8 / 2
        reach = {"start": (0, 2 * half), "middle": (half, half), "end": (2 * half, 0)}[str(text.get("text-anchor"))]
        assert reach[0] <= float(str(text.get("x"))) <= script.WIDTH - reach[1], text.text
        assert 0 < float(str(text.get("y"))) < script.HEIGHT


def test_it_is_described_in_words(drawing: ElementTree.Element) -> None:
    told = str(drawing.findtext(f"{SVG}desc"))
    assert "running to stopped on ended" in told
    assert len(re.findall(" on ", told)) == len(groups(drawing, "arrow"))


def test_a_state_without_a_place_is_an_error(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {state: place for state, place in script.PLACES.items() if state != "failed"}
    monkeypatch.setattr(script, "PLACES", places)
    with pytest.raises(KeyError, match="failed"):
        script.draw()
