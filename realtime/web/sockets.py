"""The WebSocket paths: what each carries, and what a client may say on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from quart import Blueprint, websocket

from realtime import messages
from realtime.delivery.catalogue import UnknownTopic
from realtime.delivery.connection import Connection
from realtime.delivery.hub import TooManyTopics
from realtime.delivery.outbox import Outbox
from realtime.messages import (
    BadMessage,
    ClientMessage,
    CloseCode,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
    parse_client_message,
)
from realtime.transport.asgi import CONNECTION, open_wire
from realtime.web.backend import Backend, backend
from realtime.web.errors import ApiError
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.nodes import node_to_wire

blueprint = Blueprint("sockets", __name__)

Understand = Callable[[Connection, ClientMessage], None]


@blueprint.websocket("/ws/events")
async def events() -> None:
    """Each event, as it is committed."""
    await _serve(("events",), _fixed)


@blueprint.websocket("/ws/supervisors")
async def supervisors() -> None:
    """The whole tree once, then each change."""
    if backend().tree is None:
        wire = await open_wire(websocket)
        await wire.aclose(CloseCode.RESTART, "retry-after=1.0")  # it is still being started
        return
    await _serve((SUPERVISORS,), _fixed, first=_snapshot_of_tree)


@blueprint.websocket("/ws/tasks/<task_id>")
async def task(task_id: str) -> None:
    """A task's progress; there are no tasks yet, so every id is unknown."""
    if not messages.is_task_id(task_id):
        raise ApiError(404, f"task id {task_id!r} must be {messages.ID_GRAMMAR}")
    wire = await open_wire(websocket)
    await wire.aclose(CloseCode.NO_SUCH_TASK, "no such task")


@blueprint.websocket("/ws/<session_id>")
async def session(session_id: str) -> None:
    """The clock from the start, and every topic that the client subscribes to."""
    if not messages.is_session_id(session_id):
        raise ApiError(404, f"session id {session_id!r} must be {messages.ID_GRAMMAR}, and no stream's name")
    own = f"session/{session_id}"
    await _serve(("clock", own), _session, session=session_id)


async def _serve(
    topics: tuple[str, ...],
    understand: Understand,
    *,
    session: str | None = None,
    first: Callable[[Backend, Connection, int], None] | None = None,
) -> None:
    """One connection, from its acceptance to its end."""
    state = backend()
    settings = state.settings
    extensions: Mapping[str, Any] = websocket.scope.get("extensions") or {}
    id = str(extensions.get(CONNECTION) or secrets.token_hex(8))
    wire = await open_wire(websocket, write_timeout=settings.server.write_timeout)
    connection = Connection(
        id,
        wire,
        session=session,
        outbox=Outbox(settings.delivery.mailbox_messages, settings.delivery.mailbox_bytes),
        max_inbound_per_second=settings.delivery.max_inbound_per_second,
    )

    async def handle(text: str | bytes) -> None:
        try:
            message = parse_client_message(text)
        except BadMessage as problem:
            connection.reject(str(problem))
        else:
            understand(connection, message)

    with state.hub.registered(connection):
        for topic in topics:
            subscription = state.hub.subscribe(connection, topic)
            if first is not None:
                first(state, connection, subscription.offset)
        await connection.run(handle)


def _snapshot_of_tree(state: Backend, connection: Connection, offset: int) -> None:
    """The root node, between the confirmation and the first change."""
    if state.tree is not None:
        node = node_to_wire(state.tree.snapshot(), tracebacks=state.settings.server.debug)
        connection.reply(messages.published("snapshot", SUPERVISORS, offset, node))


def _fixed(connection: Connection, message: ClientMessage) -> None:
    """What a client says on a stream that is what it is."""
    if isinstance(message, Ping):
        connection.pong(message.timestamp)
    elif not isinstance(message, Pong):
        connection.reply(
            messages.error(
                "not_supported",
                "this stream accepts ping and pong only; use /ws/<session_id> to choose topics",
                topic=getattr(message, "topic", None),
                id=getattr(message, "id", None),
            )
        )


def _session(connection: Connection, message: ClientMessage) -> None:
    """What a client says on its session."""
    if isinstance(message, Subscribe):
        _subscribe(connection, message.topic)
    elif isinstance(message, Unsubscribe):
        if not backend().hub.unsubscribe(connection, message.topic):
            text = f"there is no subscription to {message.topic!r}"
            connection.reply(messages.error("not_subscribed", text, topic=message.topic))
    elif isinstance(message, Ping):
        connection.pong(message.timestamp)
    elif not isinstance(message, Pong):
        connection.reply(
            messages.error(
                "not_supported",
                "a session accepts subscribe, unsubscribe, ping and pong",
                topic=getattr(message, "topic", None),
                id=getattr(message, "id", None),
            )
        )


def _subscribe(connection: Connection, topic: str) -> None:
    if topic.startswith("session/") and topic != f"session/{connection.session}":
        connection.reply(messages.error("not_allowed", "this topic belongs to another session", topic=topic))
        return
    try:
        backend().hub.subscribe(connection, topic)
    except UnknownTopic as error:
        connection.reply(messages.error("unknown_topic", str(error), topic=topic))
    except TooManyTopics as error:
        connection.reply(messages.error("too_many_topics", str(error), topic=topic))
    else:
        structlog.get_logger("realtime.sockets").debug("subscribed", topic=topic)
