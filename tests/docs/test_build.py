"""``make docs``: builds without a warning, and what it builds hangs together and needs no other server."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds; it takes five on a machine that has time for it."""


class Page(HTMLParser):
    """The links, anchors and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") == "stylesheet":
            self.loaded.append(values["href"])


def command(target: Path) -> list[str]:
    """The command of ``make docs``, with *target* for the folder that it writes to."""
    line = re.search(r"^docs: .*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    program, *arguments = shlex.split(line[1].replace("docs/_build", str(target)))
    return [str(Path(sysconfig.get_path("scripts")) / program), *arguments]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("html")
    ran = subprocess.run(command(target), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stderr.lower()
    return target


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in built.rglob("*.html")}


def test_each_room_has_its_pages(built: Path) -> None:
    for room in ("tutorial", "how-to", "reference", "explanation"):
        assert (built / room / "index.html").exists()
        assert len(list((built / room).glob("*.html"))) >= 5
    assert (built / "glossary.html").exists()


def test_every_link_within_the_pages_leads_somewhere(pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", address):
                continue
            target = path if not address else (path.parent / unquote(address)).resolve()
            if not target.exists() or (target.suffix == ".html" and unquote(anchor) not in pages[target].anchors):
                dead.append(f"{path.name}: {link}")
    assert dead == []


def test_no_page_shows_an_error_of_the_theme(built: Path) -> None:
    for path in built.rglob("*.html"):
        assert "ERROR:" not in path.read_text(encoding="utf-8"), path.name


def test_nothing_is_loaded_from_another_server(pages: dict[Path, Page]) -> None:
    assert [file for page in pages.values() for file in page.loaded if "//" in file] == []


def test_the_state_machine_is_drawn_in_the_page(built: Path) -> None:
    assert (
        '<svg xmlns="http://www.w3.org/2000/svg" class="lifecycle"'
        in (built / "explanation/lifecycle.html").read_text()
    )
