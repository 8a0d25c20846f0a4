"""The tasks of the dashboard: started from the page or elsewhere, followed to their end, cancelled."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.realtime.server_process import ServerProcess

PATIENCE_MS = 15_000
COUNT = "import sys, time\nfor n in range(int(sys.argv[1])): print('line', n, flush=True); time.sleep(0.05)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With two commands that can be run: one ends, the other does not."""
    settings = {
        "jobs.count": {"command": [sys.executable, "-ISc", COUNT, "{upto}"]},
        "jobs.count.parameters": {"upto": "[0-9]{1,3}"},
        "jobs.sleep": {"command": [sys.executable, "-ISc", "import time; time.sleep(600)"]},
    }
    with ServerProcess(tmp_path_factory.mktemp("tasks"), settings) as process:
        yield process


def open_tasks(page: Page, server: ServerProcess) -> None:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    expect(page.get_by_test_id("task-form")).to_be_visible(timeout=PATIENCE_MS)


def test_a_task_is_started_on_the_page_and_followed_to_its_end(page: Page, server: ServerProcess) -> None:
    open_tasks(page, server)
    form = page.get_by_test_id("task-form")
    form.get_by_label("Job").select_option("count")
    form.get_by_label("Parameters").fill('{"upto": "5"}')
    form.get_by_role("button", name="Start task").click()
    row = page.get_by_test_id("tasks").locator("li").first
    expect(row).to_have_attribute("data-state", "completed", timeout=PATIENCE_MS)
    expect(row).to_contain_text("line 4")


def test_a_refusal_stands_beside_the_parameters(page: Page, server: ServerProcess) -> None:
    open_tasks(page, server)
    form = page.get_by_test_id("task-form")
    form.get_by_label("Job").select_option("count")
    form.get_by_label("Parameters").fill('{"upto": "many"}')
    form.get_by_role("button", name="Start task").click()
    expect(page.locator("#task-params-error")).to_contain_text("params.upto must match", timeout=PATIENCE_MS)


def test_a_task_started_elsewhere_appears_and_can_be_cancelled_here(page: Page, server: ServerProcess) -> None:
    open_tasks(page, server)
    task = server.request("POST", "/api/tasks", {"job": "sleep"}).json()
    row = page.locator(f'[data-task-id="{task["task_id"]}"]')
    expect(row).to_have_attribute("data-state", "running", timeout=PATIENCE_MS)
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_attribute("data-state", "cancelled", timeout=PATIENCE_MS)


def test_without_jobs_the_page_has_no_tasks(page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ServerProcess(tmp_path_factory.mktemp("no_tasks")) as process:
        page.goto(process.url)
        expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)
        expect(page.locator("#tasks")).to_be_hidden()
