"""What stands in the pages: code that is Python, tables that are complete, numbers that are right."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import supervisors
import supervisors.testing

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of *page* that are written out there."""
    for found in re.finditer(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        yield found[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_that_is_written_out_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_that_claims_to_be_a_file_is_that_file(page: Path) -> None:
    claims = re.finditer(
        r"<!-- (docs/[\w/.-]+) -->\n```\w+\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    for claim in claims:
        assert claim[2] == (ROOT / claim[1]).read_text(encoding="utf-8"), claim[1]


def test_every_public_name_stands_in_the_reference_once() -> None:
    """A name that is missing: put it into one of ``docs/reference/*.md``."""
    listed = [
        name
        for page in sorted((DOCS / "reference").glob("*.md"))
        for name in re.findall(
            r"^\.\. (?:auto(?:class|exception|function|data)|py:data):: (\w+)$", page.read_text("utf-8"), re.MULTILINE
        )
    ]
    assert sorted(listed) == sorted(supervisors.__all__)


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of *page*."""
    lines = re.findall(r"^\|(.*)\|$", text(page), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_the_table_of_events_is_complete() -> None:
    told = {row[0].strip("`"): row for row in rows("reference/events.md") if row[0].startswith("`") and len(row) == 3}
    events = {event.__name__: event for event in get_args(supervisors.Event)}
    assert set(told) == set(events)
    for name, event in events.items():
        fields = {field.name for field in event.__attrs_attrs__} - {"path", "kind", "at"}
        shown = set(re.findall(r"`(\w+)`", told[name][2])) - {"kind"}
        assert shown == fields, name


def test_the_tables_of_errors_are_complete() -> None:
    told = {
        name for row in rows("reference/errors.md") for cell in row[:2] for name in re.findall(r"`([A-Z]\w+)`", cell)
    }
    errors = {
        name
        for name in supervisors.__all__
        if isinstance(getattr(supervisors, name), type) and issubclass(getattr(supervisors, name), Exception)
    }
    assert errors - told == {"SupervisorError"}
    assert told - errors <= {"ValueError", "TypeError", "Command"}


def test_the_page_on_differences_counts_the_scenarios() -> None:
    scenarios = list((ROOT / "tests" / "conformance" / "corpus" / "scenarios").glob("*.json"))
    assert f"{len(scenarios)} scenarios were recorded" in text("explanation/otp-differences.md")


def test_every_event_of_the_testing_kit_is_described_by_its_class() -> None:
    for name in supervisors.testing.__all__:
        assert getattr(supervisors.testing, name).__doc__ or name == "PATIENCE", name
