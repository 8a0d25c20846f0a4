"""Asking a running server from the command line."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner

from realtime import cli
from realtime.remote import Remote, RemoteError, draw, read_token


class Peer(HTTPServer):
    """Answers everything with *answer*: a status, headers and a body; keeps what it was asked."""

    def __init__(self, status=200, body=b"{}", headers=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = (status, {} if headers is None else headers, body)
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        status, headers, answer = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = handle_any  # noqa: N815 - names that the library looks for

    def log_message(self, *_args):
        """Silent."""


@pytest.fixture
def serve(monkeypatch):
    """Starts peers, which end with the test."""
    monkeypatch.setenv("NO_PROXY", "*")
    peers = []

    def start(*args, **options):
        peer = Peer(*args, **options)
        thread = threading.Thread(target=peer.serve_forever, args=(0.01,))
        thread.start()
        peers.append((peer, thread))
        return peer

    yield start
    for peer, thread in peers:
        peer.shutdown()
        thread.join()
        peer.server_close()


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("REALTIME_TOKEN", raising=False)

    def run(*args, **env):
        return CliRunner(env=env).invoke(cli.main, args, prog_name="realtime")

    return run


NODE = {
    "id": "realtime",
    "state": "running",
    "health": "degraded",
    "reasons": ["clock: KeyError"],
    "restarts": 0,
    "uptime_s": 12.34,
    "children": [
        {"id": "hub", "state": "running", "health": "ok", "reasons": [], "restarts": 0, "uptime_s": 12.3},
        {
            "id": "connections",
            "state": "running",
            "health": "ok",
            "reasons": [],
            "restarts": 0,
            "children": [{"id": "c1", "state": "running", "health": "ok", "reasons": [], "restarts": 0}],
            "children_total": 70,
        },
        {"id": "clock", "state": "backing_off", "health": "degraded", "reasons": [], "restarts": 3},
    ],
    "children_total": 3,
}

DRAWN = """\
realtime (running, up 12 s)  [degraded: clock: KeyError]
  hub (running, up 12 s)
  connections (running)
    c1 (running)
    ... and 69 more
  clock (backing_off, 3 restarts)  [degraded]
"""


def test_the_tree_is_drawn_and_its_health_is_the_exit_code(serve, run):
    peer = serve(body=json.dumps(NODE).encode())
    found = run("tree", peer.url)
    assert (found.output, found.exit_code) == (DRAWN, 1)
    assert peer.asked[0][:2] == ("GET", "/api/supervisors")
    well = serve(body=json.dumps({**NODE, "health": "ok"}).encode())
    assert run("tree", well.url, "--path", "broadcasters/clock").exit_code == 0
    assert well.asked[0][1] == "/api/supervisors/broadcasters/clock"


def test_drawing_needs_no_more_than_the_contract_promises():
    node = {"id": "x", "state": "stopped", "health": "ok", "reasons": [], "restarts": 1}
    assert list(draw(node)) == ["x (stopped, 1 restart)"]


def test_what_is_emitted_is_what_was_said(serve, run):
    peer = serve(202, b'{"sessions": 1, "connections": 2}')
    found = run("emit", "note", "--data", '{"a": [1]}', "--to", "session:s1", "--url", peer.url)
    assert (found.output, found.exit_code) == ("1 sessions, 2 connections\n", 0)
    method, path, headers, body = peer.asked[0]
    assert (method, path, headers["Content-Type"]) == ("POST", "/api/emit", "application/json")
    assert json.loads(body) == {"event": "note", "data": {"a": [1]}, "to": {"session": "s1"}}
    assert "Authorization" not in headers
    run("emit", "note", "--ack", "--url", peer.url)
    assert json.loads(peer.asked[1][3]) == {"event": "note", "data": None, "ack": True}


def test_the_token_comes_from_the_environment_or_a_file(serve, run, tmp_path):
    peer = serve(202, b"{}")
    run("emit", "x", "--url", peer.url, REALTIME_TOKEN="from-the-environment")
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    run("emit", "x", "--url", peer.url, "--token-file", str(file), REALTIME_TOKEN="from-the-environment")
    assert [asked[2]["Authorization"] for asked in peer.asked] == ["Bearer from-the-environment", "Bearer from-a-file"]


def test_a_token_goes_nowhere_else(serve, run):
    other = serve()
    peer = serve(307, b"", {"Location": f"{other.url}/api/supervisors"})
    found = run("tree", peer.url, REALTIME_TOKEN="secret-token-of-mine")
    assert found.exit_code == 1
    assert "HTTP 307" in found.output
    assert other.asked == []


def test_a_token_is_in_no_repr():
    assert "swordfish" not in repr(Remote("http://localhost", "swordfish"))


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "ü"])
def test_a_file_holds_one_token(tmp_path, text):
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(RemoteError, match="must hold one token"):
        read_token({}, file)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RemoteError, match="cannot be read"):
        read_token({}, tmp_path / "token")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b'{"error":{"code":"not_allowed","message":"sign in first","details":{}}}', "sign in first (HTTP 403)"),
        (502, b"<html>", "Bad Gateway (HTTP 502)"),
        (200, b"<html>", "did not answer with JSON"),
        (200, b"[]", "did not answer with a JSON object"),
    ],
)
def test_a_refusal_is_one_clear_line(serve, run, status, body, said):
    found = run("tree", serve(status, body).url)
    assert found.exit_code == 1
    assert said in found.output
    assert found.output.count("\n") == 1


def test_a_server_that_is_not_there_is_said(serve, run):
    peer = serve()
    url = peer.url
    peer.shutdown()
    peer.server_close()
    found = run("emit", "x", "--url", url)
    assert (found.exit_code, "cannot be reached" in found.output) == (1, True)


@pytest.mark.parametrize(
    "args",
    [
        ("emit", "x", "--to", "s1"),
        ("emit", "x", "--to", "session:"),
        ("emit", "x", "--data", "{"),
        ("emit", "x", "--url", "ws://127.0.0.1"),
        ("tree", "localhost:8000"),
        ("tree", "http://localhost/?x=1"),
    ],
)
def test_wrong_arguments_are_named(run, args):
    found = run(*args)
    assert found.exit_code == 2
    assert "Invalid value" in found.output
