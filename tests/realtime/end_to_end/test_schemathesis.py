"""What the OpenAPI document promises, tried on a real server by Schemathesis: examples, borders, and values at random.

It finds no answer of 500 and none outside the document; for once the document allows no field that it does not name.
``REALTIME_SCHEMATHESIS_EXAMPLES`` makes it longer: so many values at random for each route, in place of a few.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from realtime.tree import build
from realtime.web import openapi
from realtime.web.app import create_app

from ..in_process import make_settings
from ..server_process import ServerProcess, environment

EXAMPLES = int(os.environ.get("REALTIME_SCHEMATHESIS_EXAMPLES", "5"))
SCHEMATHESIS = str(Path(sysconfig.get_path("scripts")) / "schemathesis")

CONFIGURATION = """
# OPTIONS tells what a path takes, whichever of our routes it fits: /api/supervisors/{path} takes .../crash too.
[checks.allow_header_conformance]
enabled = false

# Who asks for an operator's action without credentials gets 403, not 401: there may be nothing to sign in with.
[checks.missing_required_header]
enabled = false

# Values of the right form that name nothing there is: a cursor, a job, a session, a sink.
[[operations]]
include-path-regex = "^/api/(events|tasks|emit|dead-letters)"
checks.positive_data_acceptance.enabled = false
"""


TOKEN = "an-operator-of-the-tests-0123456789"

# A stream never ends, and has tests of its own.
STREAM = ("--exclude-path", "/sse/{topic}")
OPERATIONS = ("/api/supervisors/{path}/{action}", "/api/supervisors/{path}/crash", "/api/modules/{id}/{action}")


def schemathesis(folder: Path, url: str, *options: str) -> str:
    """What it has found out about the server at *url*; fails if that is anything."""
    found = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", "schemathesis.toml", "run", "openapi.json", "--url", url),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "20260101"),
            *("--generation-database", "none", "--request-timeout", "15", "--suppress-health-check", "all"),
            *("--warnings", "off", "--no-color", *options),
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120 + 30 * EXAMPLES,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture
def server(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    document = openapi.document(create_app(build(make_settings()).backend), strict=True)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    settings = {
        "store": {"path": ":memory:"},
        "auth": {"admin_token_file": "token", "max_inbound_per_second": 1_000_000},
        "jobs.nothing": {"command": ["true"]},
    }
    with ServerProcess(tmp_path, settings) as server:
        yield server
        assert server.request("GET", "/api/health/live").status == 200
        assert [line for line in server.log if line.get("event") == "request_failed"] == []


def test_an_operator_gets_what_the_document_says(tmp_path, server):
    """Of all routes but those that would stop what the others are tried on."""
    without = [word for path in OPERATIONS for word in ("--exclude-path", path)]
    told = schemathesis(tmp_path, server.url, *STREAM, *without, "--header", f"Authorization: Bearer {TOKEN}")
    assert "No issues found" in told


def test_a_stranger_gets_what_the_document_says(tmp_path, server):
    """Of the routes of operators."""
    told = schemathesis(tmp_path, server.url, *[word for path in OPERATIONS for word in ("--include-path", path)])
    assert "No issues found" in told
