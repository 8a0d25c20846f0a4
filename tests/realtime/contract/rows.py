"""The table of all rows, and what ties each to its check.

A row that is added here and has no check fails `test_rows`, and so does a check whose row is not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import attrs
import pytest

SETTINGS: Final = (
    *(
        f"server.{key}"
        for key in (
            *("bind", "allowed_hosts", "allowed_origins", "certfile", "keyfile", "drain_timeout", "drain_window"),
            *("write_timeout", "handshake_timeout", "max_connections", "max_connections_per_address"),
            *("max_message_bytes", "compression", "debug", "gc"),
        )
    ),
    *("delivery.mailbox_messages", "delivery.mailbox_bytes"),
    *("delivery.max_topics_per_connection", "delivery.max_inbound_per_second"),
    *("heartbeat.interval", "heartbeat.pong_timeout"),
    *("store.path", "store.retention_days", "store.retention_events"),
    *("engine.url", "engine.prefix"),
    *("auth.admin_token_file", "auth.tokens_file", "auth.jwt_*"),
    *("log.level", "log.format"),
    *("topics.overflow", "topics.wait_seconds", "topics.history", "topics.publish"),
    *("actors.use", "actors.enabled", "actors.restart", "actors.options"),
    *("jobs.command", "jobs.timeout", "jobs.parameters"),
    *("--config", "realtime.toml", "relative paths", "unknown keys", "environment", "debug", "no admin token"),
)

TOPICS: Final = (
    *("grammar", "clock", "system", "market", "queue", "events", "supervisors", "tasks/<id>", "session/<id>"),
    *("conflate is announced", "conflation is no gap", "drop_oldest is a gap", "wait is opt-in"),
)

WEBSOCKET: Final = (
    *("/ws/events", "/ws/tasks/<task_id>", "/ws/supervisors", "/ws/<session_id>"),
    *("session ids", "shared session", "fixed streams", "?epoch=&offset="),
    *("subscribed", "unsubscribed", "event", "time_update", "snapshot", "queue_update", "progress", "failed"),
    *("completed", "cancelled", "interrupted", "supervisor_event", "presence", "ping", "heartbeat", "pong", "gap"),
    *("result", "error", "from client: ping", "from client: pong", "from client: subscribe"),
    *("from client: unsubscribe", "from client: publish", "from client: call", "from client: ack"),
    *("emit", "reserved types", "refusals keep the socket", "bad_message"),
    *("refused 400", "refused 403", "refused 404", "refused 503"),
    *("close 1000", "close 1002", "close 1007", "close 1009", "close 1011", "close 1012", "close 4000", "close 4001"),
    *("close 4400", "close 4429", "close 4401", "close 4403", "close 4404"),
    *("heartbeat per connection", "SSE"),
)

HTTP: Final = (
    *("GET /", "GET /static/...", "GET /api/health", "GET /api/health/live", "GET /api/health/ready"),
    *("GET /api/metrics", "GET /metrics"),
    *("POST /api/events", "GET /api/events", "GET /api/events/<event_id>", "POST /api/emit"),
    *("GET /api/tasks", "POST /api/tasks", "GET /api/tasks/<id>", "DELETE /api/tasks/<id>"),
    *("GET /api/connections", "GET /api/topics", "GET /api/supervisors", "GET /api/supervisors/<path>"),
    *(f"POST /api/supervisors/<path>/{action}" for action in ("restart", "stop", "start", "reload", "crash")),
    *("POST /api/modules/<id>/enable", "POST /api/modules/<id>/disable", "GET /api/modules"),
    *("POST /api/webhooks/<name>", "GET /api/presence/<topic>", "GET /sse/<topic>"),
    *("GET /openapi.json", "GET /asyncapi.json", "GET /docs"),
    *("errors", "400", "413", "415", "429", "Host", "Origin", "CORS", "a node", "a dynamic supervisor", "tracebacks"),
)

LOGS: Final = (
    *("broadcaster start", "broadcaster stop", "heartbeat start", "heartbeat stop", "connect", "disconnect"),
    *("broadcast", "malformed input", "crash", "clean stop"),
)

NOT_YET: Final = {
    "engine.url = redis://...": "the engine that distributes over Redis is refused when the settings are used",
    "GET /api/cluster": "there are no nodes to tell of without a distributing engine",
    "GET /api/health/ready without its engine's history": "the local engine has none that could be missing",
}
"""What is promised and does not exist yet, with the reason; nothing here may be a row above."""

Check = Callable[..., Awaitable[None]]


@attrs.define
class Checks:
    """The checks of one section, by row."""

    rows: tuple[str, ...]
    found: dict[str, Check] = attrs.field(factory=dict)

    def __call__(self, row: str) -> Callable[[Check], Check]:
        """A decorator: what it decorates checks *row*."""
        assert row in self.rows, f"{row!r} is no row of this section"
        assert row not in self.found, f"{row!r} is checked already"

        def keep(check: Check) -> Check:
            self.found[row] = check
            return check

        return keep

    def params(self, rows: Iterable[str] | None = None) -> list[Any]:
        """For ``pytest.mark.parametrize``: each check with its row as id."""
        return [pytest.param(check, id=row) for row, check in self.found.items()]


def has(found: Any, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """*found* is an object with exactly these keys, of which *optional* ones may be missing."""
    required, keys = set(required), set(found)
    assert required <= keys <= required | set(optional), found
