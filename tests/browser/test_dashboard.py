"""The dashboard as a person sees it: contract section 4, ``GET /``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.realtime.server_process import ServerProcess

# A browser on a busy machine is slow now and then; what is waited for comes in a fraction of this.
PATIENCE_MS = 15_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests that do not restart it."""
    settings = {"actors.clock": {"healthy_uptime": 1.0}}
    with ServerProcess(tmp_path_factory.mktemp("dashboard"), settings, debug=True) as process:
        yield process


def open_dashboard(page: Page, server: ServerProcess) -> None:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)
    expect(page.locator('[data-testid="node"][data-path="broadcasters/clock"]')).to_be_visible(timeout=PATIENCE_MS)


def node(page: Page, path: str) -> str:
    return f'[data-testid="node"][data-path="{path}"]'


def test_the_clock_moves(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    clock = page.get_by_test_id("clock")
    first = clock.get_attribute("data-iso")
    expect(clock).not_to_have_attribute("data-iso", first or "", timeout=PATIENCE_MS)
    second = clock.get_attribute("data-iso")
    expect(clock).not_to_have_attribute("data-iso", second or "", timeout=PATIENCE_MS)


def test_an_event_posted_by_another_client_appears_without_reload(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    event = server.post_event("seen_in_browser", severity="warning", data={"door": 7})
    row = page.locator(f'[data-testid="event-row"][data-event-id="{event["event_id"]}"]')
    expect(row).to_be_visible(timeout=PATIENCE_MS)
    expect(row).to_contain_text("seen_in_browser")


def test_an_event_posted_with_the_form_is_stored_and_shown(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    form = page.get_by_test_id("event-form")
    form.locator('[name="type"]').fill("from_the_form")
    form.locator('[name="data"]').fill('{"n": 1}')
    form.get_by_role("button", name="Post").click()
    expect(page.get_by_test_id("event-feed")).to_contain_text("from_the_form", timeout=PATIENCE_MS)
    assert "from_the_form" in [event["type"] for event in server.get("/api/events")["events"]]


def test_a_refused_event_says_which_field_was_wrong(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    form = page.get_by_test_id("event-form")
    form.locator('[name="type"]').fill("not a type!")
    form.get_by_role("button", name="Post").click()
    expect(form).to_contain_text("type must be", timeout=PATIENCE_MS)


def test_the_tree_shows_a_crash_and_the_recovery(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    clock = page.locator(node(page, "broadcasters/clock"))
    generation = int(clock.get_attribute("data-generation") or 0)
    clock.get_by_test_id("crash-button").click()
    expect(clock).to_have_attribute("data-generation", str(generation + 1), timeout=PATIENCE_MS)
    expect(clock).to_have_attribute("data-state", "running")
    expect(clock).to_contain_text("CrashRequested")
    expect(page.get_by_test_id("log")).to_contain_text("broadcasters/clock")
    expect(clock).to_have_attribute("data-health", "ok", timeout=PATIENCE_MS)
    expect(page.get_by_test_id("health")).to_have_attribute("data-health", "ok", timeout=PATIENCE_MS)
    expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "open")


def test_the_live_figures_appear_at_once(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    expect(page.get_by_test_id("figures")).to_contain_text("%", timeout=PATIENCE_MS)


def test_an_idle_page_makes_no_request(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    page.wait_for_load_state("networkidle")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    clock = page.get_by_test_id("clock")
    for _ in range(3):  # three ticks: the page lives, and lives on its sockets
        seen = clock.get_attribute("data-iso") or ""
        expect(clock).not_to_have_attribute("data-iso", seen, timeout=PATIENCE_MS)
    assert requests == []


def test_after_a_restart_of_the_server_the_page_reconnects_by_itself(page: Page, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {}) as server:
        open_dashboard(page, server)
        server.settings["server"] = {"bind": f"127.0.0.1:{server.port}"}
        server.write_settings()
        assert server.stop() == 0
        expect(page.get_by_test_id("connection")).not_to_have_attribute("data-state", "open", timeout=PATIENCE_MS)
        server.start()
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "open", timeout=2 * PATIENCE_MS)
        event = server.post_event("after_the_restart")
        row = page.locator(f'[data-testid="event-row"][data-event-id="{event["event_id"]}"]')
        expect(row).to_be_visible(timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_on_a_phone(page: Page, server: ServerProcess, scheme: str) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    page.set_viewport_size({"width": 390, "height": 800})
    open_dashboard(page, server)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_debug_there_are_no_crash_buttons(page: Page, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {}) as server:
        open_dashboard(page, server)
        expect(page.get_by_test_id("crash-button")).to_have_count(0)


def test_the_console_snippet_of_the_readme_works(page: Page, server: ServerProcess) -> None:
    open_dashboard(page, server)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    snippet = readme.split("<!-- browser console -->\n```js\n")[1].split("```")[0]
    with page.expect_console_message(lambda message: '"topic":"system"' in message.text, timeout=PATIENCE_MS):
        page.evaluate(f"() => {{ {snippet} }}")
