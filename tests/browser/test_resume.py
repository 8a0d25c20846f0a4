"""A browser that comes back sees what it missed: its own EventSource, and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.realtime.server_process import ServerProcess

from .test_dashboard import PATIENCE_MS, open_dashboard

LISTEN = """topic => {
  window.seen = [];
  window.states = [];
  window.source = new EventSource(`/sse/${topic}`);
  for (const type of ["subscribed", "event", "progress", "completed"])
    source.addEventListener(type, event => seen.push({
      type: event.type, id: event.lastEventId, message: JSON.parse(event.data)}));
  source.addEventListener("error", () => states.push(source.readyState));
}"""


def seen(page: Page, count: int) -> list[dict[str, Any]]:
    """The first *count* events that the page's EventSource has dispatched."""
    page.wait_for_function("count => seen.length >= count", arg=count, timeout=PATIENCE_MS)
    found: list[dict[str, Any]] = page.evaluate("seen")
    return found[:count]


def restart(server: ServerProcess) -> None:
    """Stop the server and start it again at the same address."""
    server.settings["server"]["bind"] = f"127.0.0.1:{server.port}"
    server.write_settings()
    assert server.stop() == 0
    server.start()


def test_an_event_source_comes_back_by_itself_and_misses_nothing(page: Page, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"server": {"drain_window": 0.5}}) as server:
        page.goto(f"{server.url}/openapi.json")  # any page of this origin
        page.evaluate(LISTEN, "events")
        seen(page, 1)
        first = server.post_event("first")
        confirmed, told = seen(page, 2)
        assert (confirmed["type"], told["type"]) == ("subscribed", "event")
        assert told["message"]["data"] == first
        assert told["id"] == f"{confirmed['message']['epoch']}:{told['message']['offset']}"
        restart(server)
        second = server.post_event("second")  # before the browser is back: it was told to wait a second at least
        back, missed = seen(page, 4)[2:]
        assert back["message"]["recovered"]
        assert missed["message"]["data"] == second
        page.evaluate("source.close()")


def test_an_event_source_of_a_task_ends_with_it(page: Page, tmp_path: Path) -> None:
    command = {"command": ["echo", "done"], "timeout": 10.0}
    with ServerProcess(tmp_path, {"jobs.say": command}) as server:
        task = server.request("POST", "/api/tasks", {"job": "say"}).json()
        page.goto(f"{server.url}/openapi.json")
        page.evaluate(LISTEN, f"tasks/{task['task_id']}")
        page.wait_for_function("() => seen.some(one => one.type === 'completed')", timeout=PATIENCE_MS)
        # It comes back once, is told that there is no more, and stays away.
        page.wait_for_function("() => source.readyState === EventSource.CLOSED", timeout=PATIENCE_MS)


def test_the_feed_of_the_dashboard_resumes(page: Page, tmp_path: Path) -> None:
    requests: list[str] = []
    with ServerProcess(tmp_path, {"server": {"drain_window": 0.5}}) as server:
        open_dashboard(page, server)
        server.post_event("before")
        feed = page.get_by_test_id("event-feed")
        expect(feed).to_contain_text("before", timeout=PATIENCE_MS)
        asked: list[str] = []
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("request", lambda request: requests.append(request.url))
        restart(server)
        server.post_event("meanwhile")
        expect(feed).to_contain_text("meanwhile", timeout=PATIENCE_MS)
        assert any("/ws/events?epoch=" in url for url in asked), asked
        # It came over the socket: nothing had to be looked up.
        assert not [url for url in requests if "/api/events" in url]
