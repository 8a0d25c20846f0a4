"""Signing in on the dashboard, and an operator's buttons: contract section 4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.realtime.server_process import ServerProcess

PATIENCE_MS = 15_000
# What a subprotocol cannot hold is in it, too.
ADMIN = "correct (horse) battery/staple="
ANN = "ann-0123456789abcdef"
CLOCK = '[data-testid="node"][data-path="broadcasters/clock"]'


def started(folder: Path, **auth: Any) -> ServerProcess:
    (folder / "admin.token").write_text(ADMIN)
    (folder / "tokens.toml").write_text(f'[tokens.ann]\ntoken = "{ANN}"\n')
    files = {"admin_token_file": "admin.token", "tokens_file": "tokens.toml"}
    return ServerProcess(folder, {"auth": files | auth, "log": {"level": "debug"}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with started(tmp_path_factory.mktemp("signin")) as process:
        yield process


def load(page: Page, server: ServerProcess) -> list[str]:
    """Open the page; returns every URL that it asks for, as they come."""
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.on("websocket", lambda socket: urls.append(socket.url))
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    return urls


def connected(page: Page) -> None:
    expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)


def sign_in(page: Page, token: str) -> None:
    box = page.get_by_test_id("signin")
    if box.get_attribute("open") is None:
        box.locator("summary").click()
    box.get_by_label("Token").fill(token)
    box.get_by_role("button", name="Sign in").click()


def clock(page: Page) -> Any:
    found = page.locator(CLOCK)
    expect(found).to_be_visible(timeout=PATIENCE_MS)
    return found


def test_an_operator_restarts_stops_and_starts_a_child(page: Page, server: ServerProcess) -> None:
    urls = load(page, server)
    connected(page)
    clock(page).get_by_label("Details of clock").click()
    expect(clock(page).get_by_test_id("restart-button")).to_be_hidden()
    sign_in(page, ADMIN)
    expect(page.locator("#signin-words")).to_have_text("admin", timeout=PATIENCE_MS)
    connected(page)
    generation = int(clock(page).get_attribute("data-generation") or 0)
    clock(page).get_by_test_id("restart-button").click()
    expect(clock(page)).to_have_attribute("data-generation", str(generation + 1), timeout=PATIENCE_MS)

    page.once("dialog", lambda dialog: dialog.dismiss())
    clock(page).get_by_test_id("stop-button").click()
    expect(clock(page)).to_have_attribute("data-state", "running")
    page.once("dialog", lambda dialog: dialog.accept())
    clock(page).get_by_test_id("stop-button").click()
    expect(clock(page)).to_have_attribute("data-state", "stopped", timeout=PATIENCE_MS)
    clock(page).get_by_test_id("start-button").click()
    expect(clock(page)).to_have_attribute("data-state", "running", timeout=PATIENCE_MS)

    # Loaded anew in the same tab, it is known still; elsewhere it is not.
    page.reload()
    expect(page.locator("#signin-words")).to_have_text("admin", timeout=PATIENCE_MS)
    kept = page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]")
    assert kept == [1, 0, ""]
    page.get_by_test_id("signin").locator("summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#signin-words")).to_have_text("Sign in")
    assert page.evaluate("sessionStorage.length") == 0
    connected(page)
    clock(page).get_by_label("Details of clock").click()
    expect(clock(page).get_by_test_id("restart-button")).to_be_hidden()

    assert len(urls) > 5
    for part in ("horse", "staple"):
        assert not any(part in url for url in urls)
        assert part not in server.text_of_log()


def test_who_is_no_operator_sees_no_buttons(page: Page, server: ServerProcess) -> None:
    load(page, server)
    sign_in(page, ANN)
    expect(page.locator("#signin-words")).to_have_text("ann", timeout=PATIENCE_MS)
    connected(page)
    clock(page).get_by_label("Details of clock").click()
    expect(clock(page).get_by_test_id("restart-button")).to_be_hidden()


def test_a_wrong_token_is_told_so_and_not_kept(page: Page, server: ServerProcess) -> None:
    load(page, server)
    connected(page)
    sign_in(page, "wrong-0123456789abcdef")
    expect(page.locator("#signin-error")).to_have_text("the token is not known", timeout=PATIENCE_MS)
    assert page.evaluate("sessionStorage.length") == 0
    connected(page)


def test_where_signing_in_is_required_the_page_comes_alive_with_it(page: Page, tmp_path: Path) -> None:
    with started(tmp_path, required=True) as server:
        load(page, server)
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "closed", timeout=PATIENCE_MS)
        expect(page.locator("#supervision .not-live")).to_contain_text("Sign-in is missing")
        sign_in(page, ADMIN)
        connected(page)
        clock(page)
        assert page.locator("#clock").get_attribute("data-live") == "true"
