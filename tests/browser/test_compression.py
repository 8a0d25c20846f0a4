"""A page's WebSocket with ``server.compression``: Chromium compresses and inflates, its script sees nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.realtime.server_process import ServerProcess

# As in test_dashboard: a browser on a busy machine is slow now and then.
PATIENCE_MS = 15_000

# Resolves once the page has seen its ping answered and the event come.
CONVERSATION = """
async ([timestamp, message]) => {
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/events");
  const received = {};
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${Object.keys(received)} came`)), 15000);
    socket.onclose = (close) => reject(new Error(`closed with ${close.code} ${close.reason}`));
    socket.onmessage = ({ data }) => {
      const said = JSON.parse(data);
      received[said.type] = said;
      if (said.type === "subscribed") socket.send(JSON.stringify({ type: "ping", timestamp }));
      if (said.type === "pong") fetch("/api/events", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ type: "compressed", data: { message } }),
      });
      if (said.type === "event") resolve();
    };
  });
  socket.onclose = null;
  socket.close();
  return { extensions: socket.extensions, pong: received.pong, event: received.event };
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {"server": {"compression": True}}
    with ServerProcess(tmp_path_factory.mktemp("compression"), settings) as process:
        yield process


def test_a_page_is_understood_and_understands(page: Page, server: ServerProcess) -> None:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    # The dashboard's own WebSockets agree on it as well.
    expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "open", timeout=PATIENCE_MS)
    said = ["2026-01-01T00:00:00Z" * 30, "grün " * 200]
    heard = page.evaluate(CONVERSATION, said)
    assert heard["extensions"].startswith("permessage-deflate")
    assert "server_max_window_bits=12" in heard["extensions"]
    assert heard["pong"]["timestamp"] == said[0]
    assert heard["event"]["data"]["data"]["message"] == said[1]
