"""Whoever calls us with a trace finds our log lines by it, on a real server."""

from __future__ import annotations

from websockets.sync.client import connect

from ..server_process import ServerProcess

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


def test_the_line_of_an_event_bears_the_trace_of_the_request_that_made_it(tmp_path):
    with ServerProcess(tmp_path, {}) as server:
        answer = server.request("POST", "/api/events", {"type": "traced"}, HEADER)
        assert answer.status == 201
        line = server.wait_for_log("event_created", event_id=answer.json()["event_id"])
        server.post_event("untraced")
        without = server.wait_for_log("event_created", event_type="untraced")
    assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN)
    assert line["request_id"]
    assert "trace_id" not in without


def test_the_lines_of_a_websocket_bear_the_trace_of_its_handshake(tmp_path):
    with ServerProcess(tmp_path, {"log": {"level": "debug"}}) as server:
        with connect(server.ws("/ws/one"), additional_headers=HEADER) as socket:
            socket.recv()
            socket.send("nonsense")
        gone = server.wait_for_log("disconnected")
        bad = server.wait_for_log("bad_message")
        came = server.wait_for_log("connected")
        # The next on the same server has none.
        since = server.mark_log()
        with connect(server.ws("/ws/two")) as socket:
            socket.recv()
        other = server.wait_for_log("disconnected", since=since)
    for line in (came, bad, gone):
        assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN), line
    assert "trace_id" not in other


def test_what_is_no_trace_is_not_logged(tmp_path):
    with ServerProcess(tmp_path, {}) as server:
        server.request("POST", "/api/events", {"type": "t"}, {"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"})
        line = server.wait_for_log("event_created")
    assert "trace_id" not in line
