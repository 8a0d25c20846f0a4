"""The page of routes and sockets, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.realtime.server_process import ServerProcess


@pytest.fixture
def docs(page: Page, tmp_path):
    """The page, shown; what the browser complained of stands in its attribute `complaints`."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with ServerProcess(tmp_path, {}) as server:
        page.goto(f"{server.url}/docs")
        expect(page.locator("main")).to_have_attribute("aria-busy", "false")
        yield page
    assert complaints == []


def entry(page: Page, method: str, path: str):
    return page.locator(f'.entry[data-find^="{method} {path} "]')


def test_routes_and_sockets_are_listed_and_open(docs):
    expect(entry(docs, "socket", "/ws/events")).to_have_count(1)
    route = entry(docs, "post", "/api/events")
    expect(route.locator(".inside")).to_be_hidden()
    route.locator("summary").click()
    expect(route.locator(".inside")).to_contain_text("at most 32 of them")
    expect(route.locator(".inside")).to_contain_text("door_opened")
    expect(route.locator(".inside")).to_contain_text("415")


def test_a_word_finds_what_holds_it(docs):
    docs.get_by_label("Find").fill("TASKS")
    expect(entry(docs, "delete", "/api/tasks/{task_id}")).to_be_visible()
    expect(entry(docs, "get", "/api/topics")).to_be_hidden()
    docs.get_by_label("Find").fill("no such word")
    expect(docs.get_by_role("status")).to_have_text("Nothing holds this word.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_on_a_narrow_screen(docs, scheme):
    docs.emulate_media(color_scheme=scheme)
    docs.set_viewport_size({"width": 360, "height": 700})
    docs.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert docs.evaluate("document.documentElement.scrollWidth") <= 360
    colours = docs.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    light, dark = "rgb(21, 26, 33)", "rgb(229, 232, 237)"
    assert colours[0] == (light if scheme == "light" else dark)
